"""Sets of positions in nearly log2 C(d, k) bits: the distances between neighbours, by a range coder.

A distance is the number of coordinates between a position and the one before. Its low bits are plain, and what is
above them is a symbol of a geometric law. The number of plain bits and the law follow from how many positions and
coordinates are still to come. They are computed again each time that an eighth of the positions to come has been coded:
a law that stayed the same would make no use of the number of positions, which both sides know, and would cost half of
its logarithm in bits. Distances with the same symbol count as equally likely; that costs at most .03 bits each.

Laws and intervals are computed in whole numbers, so that they are the same on every machine. The code is the shortest
fraction in the last interval, of equals the least, without zeros at its end: a set has one code, and other bytes are
refused. Decoding takes time in proportion to `size` at most, whatever the bytes are. The format is in docs/formats.md.

Sources: G. N. N. Martin, *Range encoding: an algorithm for removing redundancy from a digitised message*, 1979; for the
plain bits R. F. Rice, *Some practical universal noiseless coding techniques*, JPL publication 79-22, 1979.
"""

from __future__ import annotations

import math

import numpy as np
import scipy

from relufit.compression.base import ScratchBuffer
from relufit.errors import PayloadError
from relufit.numerics.compiled_cache import compiled
from relufit.numerics.simd import leading_zeros, load_bits, store_bits

#: The last symbol: another one follows, and is added to it.
_ESCAPE = 15
#: Bits of the bounds between symbols, and of the numbers that bounds are computed in.
_PRECISION, _HALF = np.uint64(24), np.uint64(32)
_ZERO, _ONE, _THREE, _ALL = np.uint64(0), np.uint64(1), np.uint64(3), np.uint64(2**64 - 1)
_WHOLE_BYTES = np.uint64(56)
#: The model is made for the next 2^-_SHARE of the positions to come.
_SHARE = 3
#: Bytes that are reserved for a code at first, for each position and beside them.
_EACH, _MORE = 4, 64


def write_positions(positions: np.ndarray, size: int) -> memoryview:
    """Return the code of positions.

    Parameters
    ----------
    positions : (k,) int64
        Different numbers from 0 to `size` - 1, in ascending order.
    size : int
        The number of coordinates d.
    """
    scratch, capacity = ScratchBuffer(), _EACH * positions.size + _MORE
    while True:
        length = _encode(positions, size, scratch.begin(b"", capacity, zeros=False))
        if length >= 0:
            return scratch.finish(length)
        capacity *= 2


def read_positions(body: memoryview, size: int, count: int) -> np.ndarray:
    """Return positions, (count,) int64, in ascending order.

    Raises
    ------
    PayloadError
        If `body` is not the code of `count` of `size` coordinates.
    """
    positions = np.empty(count, np.int64)
    if not _decode(np.frombuffer(b"".join((body, bytes(8))), np.uint8), size, positions):
        raise PayloadError(f"{len(body)} bytes that are not the code of {count} of {size} positions")
    return positions


def expected_bits(size: int, count: int) -> float:
    """Return the expected bits of the code of a uniformly distributed set of `count` of `size` positions.

    They are the logarithm of the number of sets, and what it costs that distances with the same symbol count as equally
    likely.
    """
    ideal = scipy.special.gammaln(size + 1) - scipy.special.gammaln(count + 1) - scipy.special.gammaln(size - count + 1)
    bounds, density = np.empty(_ESCAPE + 2, np.uint64), count / size
    plain = int(_model(size, count, bounds))
    share = int(bounds[1]) / 2 ** int(_PRECISION)
    distance = plain + _binary_entropy(share) / (1 - share)
    # The last byte is half empty on average.
    return float(ideal) / math.log(2) + count * (distance - _binary_entropy(density) / density) + 4


def _binary_entropy(p: float) -> float:
    return float(scipy.special.entr(p) + scipy.special.entr(1 - p)) / math.log(2)


@compiled
def _model(left: int, count: int, bounds: np.ndarray) -> np.uint64:
    """Return the plain bits of `count` positions among `left`; write the bounds of symbols, (_ESCAPE + 2,) uint64."""
    # A distance has the mean (left - count) / (count + 1).
    share, plain = (np.uint64(left - count) << _HALF) // np.uint64(left + 1), _ZERO
    while share * share >> _HALF >= np.uint64(1 << 31):
        share, plain = share * share >> _HALF, plain + _ONE
    bound = np.uint64(1 << 32)
    for symbol in range(_ESCAPE + 1):
        bounds[symbol] = max(bound >> (_HALF - _PRECISION), np.uint64(_ESCAPE + 1 - symbol))
        bound = bound * share >> _HALF
    bounds[_ESCAPE + 1] = 0
    return plain


@compiled
def _carry(body: np.ndarray, at: int) -> None:
    """Add one to the number that ends before `at`."""
    at -= 1
    while body[at] == 255:
        body[at] = 0
        at -= 1
    body[at] += 1


@compiled
def _last_step(low: np.uint64, width: np.uint64) -> tuple[int, np.uint64]:
    """Return the bytes of the shortest fraction in an interval, and how far it is above the lower end."""
    for length in range(8):
        step = (_ZERO - low) & (_ALL >> np.uint64(8 * length))
        if step < width:
            return length, step
    return 8, _ZERO


@compiled
def _encode(positions: np.ndarray, size: int, body: np.ndarray) -> int:
    """Return the length of the code, or -1 if `body` may be too small for it."""
    low, width, at = _ZERO, _ALL, 0
    left, end, plain, bounds = size, 0, _ZERO, np.empty(_ESCAPE + 2, np.uint64)
    for i in range(positions.size):
        if i == end:
            end += max(1, (positions.size - i) >> _SHARE)
            plain = _model(left, positions.size - i, bounds)
        distance = np.uint64(positions[i] - (size - left))
        left = size - positions[i] - 1
        unary, escaped = distance >> plain, True
        while escaped:
            if at + 16 > body.size:
                return -1
            symbol = min(unary, np.uint64(_ESCAPE))
            unary, escaped = unary - symbol, symbol == _ESCAPE
            part = width >> _PRECISION
            above, width = part * bounds[symbol + _ONE], part * (bounds[symbol] - bounds[symbol + _ONE])
            if not escaped:
                width >>= plain
                above += width * (distance & ~(_ALL << plain))
            low += above
            if low < above:
                _carry(body, at)
            # All whole bytes that are decided, up to a carry.
            bits = np.uint64(leading_zeros(width)) & _WHOLE_BYTES
            store_bits(low, body, np.uint64(at))
            low, width, at = low << bits, width << bits, at + np.int64(bits >> _THREE)
    length, least = _last_step(low, width)
    if low + least < low:
        _carry(body, at)
    store_bits(low + least, body, np.uint64(at))
    at += length
    while at and body[at - 1] == 0:
        at -= 1
    return at


@compiled
def _decode(body: np.ndarray, size: int, positions: np.ndarray) -> bool:
    """Tell whether `body`, eight zeros at its end left out, is the code of positions, and write them."""
    # `above` is how far the fraction is above the lower end of the interval.
    last, at, width, above = body.size - 8, 8, _ALL, load_bits(body, _ZERO)
    left, end, plain, bounds = size, 0, _ZERO, np.empty(_ESCAPE + 2, np.uint64)
    for i in range(positions.size):
        if i == end:
            end += max(1, (positions.size - i) >> _SHARE)
            plain = _model(left, positions.size - i, bounds)
        distance, most, escaped = _ZERO, np.uint64(left - (positions.size - i)), True
        while escaped:
            part, symbol = width >> _PRECISION, _ZERO
            if above >> _PRECISION >= part:
                return False
            while above < part * bounds[symbol + _ONE]:
                symbol += _ONE
            escaped = symbol == _ESCAPE
            above, width = above - part * bounds[symbol + _ONE], part * (bounds[symbol] - bounds[symbol + _ONE])
            distance += symbol << plain
            if not escaped:
                width >>= plain
                rest = above // width
                above -= rest * width
                distance += rest
                if rest >> plain:
                    return False
            if distance > most:
                return False
            bits = np.uint64(leading_zeros(width)) & _WHOLE_BYTES
            more = load_bits(body, np.uint64(min(at, last)))
            above = above << bits | (more >> _ONE) >> (np.uint64(63) - bits)
            width, at = width << bits, at + np.int64(bits >> _THREE)
        positions[i] = size - left + np.int64(distance)
        left -= np.int64(distance) + 1
    low = load_bits(body, np.uint64(min(at - 8, last))) - above
    return _last_step(low, width)[1] == above and last <= at and (last == 0 or body[last - 1] != 0)
