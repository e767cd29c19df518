"""Range asymmetric numeral systems: close to the entropy of the levels, whatever their law.

A level is a symbol and a few plain bits. Magnitudes below 16 are symbols of their own; above, a symbol is a sign and
one of eight equal parts of an octave, and the place in that part follows in plain bits. The frequencies of symbols
are not sent exactly: each magnitude has a weight of 6 bits, in steps of a quarter of an octave, and both signs share
it. So the table costs .75 bytes a magnitude, and its coarseness about .002 bits a coordinate.

Layout of the body, integers in little-endian order:

=========  ========================================================================================================
bytes      content
=========  ========================================================================================================
1          bits 0-1: log2 of the number of states; bit 2: frequencies are of 2^16 in place of 2^12; bits 3-4: 0 for
           both signs, 1 for no level below zero, 2 for none above
1          T - 1, where T is the number of weights
ceil(T     the weights of symbols of magnitude 0, 1, ..., 6 bits each from the low bit on, zeros up to a whole byte
.75)
2 each     words, in the order in which the encoder wrote them
6 each     the states at the end of encoding, state 0 first
=========  ========================================================================================================

The encoder runs backwards, from the last coordinate to the first, and the decoder forwards, taking words from the
end; coordinate i belongs to state i modulo their number. States start and must end at 2^32, a check of the whole.
With so much room above the frequencies nothing is lost by rounding, even where nearly all levels are zero.

Source: J. Duda, *Asymmetric numeral systems*, 2013, arXiv:1311.2540; interleaving: F. Giesen, *Interleaved entropy
coders*, 2014, arXiv:1402.3392.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import scipy

from relufit.compression.base import ScratchBuffer
from relufit.compression.coding.base import Coding, Law, no_code
from relufit.compression.coding.symbols import SYMBOLS, TOKENS, base_of, plain_bits, symbol_of, token_of
from relufit.compression.coding.weights import BOTH, NEGATIVE, POSITIVE, cost, frequencies, weigh
from relufit.compression.levels import BLOCK, Levels, put, take
from relufit.numerics.compiled_cache import compiled
from relufit.numerics.simd import count, multiply_high

_FINE, _FINE_FROM, _COARSE_SYMBOLS = 4, 1 << 15, 32
#: Where all magnitudes of a block are below this, it is looked through for each.
_FEW = 16
_LEAST, _LARGEST = 1 << 32, 2**15 - 1
#: Bits and bytes of a state.
_STATE_BITS, _WIDTH = 48, 6
#: The first token with plain bits, and its first symbol.
_PLAIN_FROM = 16
_PLAIN_SYMBOL = np.uint64(2 * _PLAIN_FROM - 1)
#: Bytes that a state should code, so that the 5 bytes that it costs are little beside them.
_STATE_BYTES = 1024


class Rans(Coding):
    """The coding ``"rans"``."""

    kind: ClassVar[int] = 18

    def write(self, levels: Levels, s: int, start: bytes, scratch: ScratchBuffer) -> memoryview:
        """Return `start` and the bytes of `levels`."""
        size = levels.size
        table = np.empty(2 + TOKENS, np.uint8)
        bits = _describe(levels, size, table)
        capacity = table.size + bits // 8 + bits // 1024 + 128
        while True:
            length = _encode(levels, size, table, scratch.begin(start, capacity))
            if length:
                return scratch.finish(length)
            capacity *= 2

    def restore(self, body: np.ndarray, into: Levels, s: int) -> None:
        """Give the levels of `body` to `into`."""
        if not _decode(body, into, into.size, s):
            raise no_code(into.size, s)

    def expected_bits(self, laws: Sequence[Law], s: int) -> float:
        """Return the entropy, and what the table and the states cost."""
        bits = sum(size * float(np.sum(scipy.special.entr(law)) / math.log(2) + np.sum(law[1:])) for size, law in laws)
        # Up to the magnitude that every other vector exceeds somewhere, or about so.
        largest = max(int(np.count_nonzero(size * np.cumsum(law[::-1]) > 0.5)) for size, law in laws) - 1
        tokens = token_of(min(max(largest, 0), _LARGEST)) + 1
        return bits + 16 + 8 * math.ceil(0.75 * tokens) + 40 * 2 ** _log2_states(int(bits))


@compiled
def _log2_states(bits: int) -> int:
    """Return log2 of the number of states for so many bits."""
    number = 0
    while number < 3 and bits >> (number + 1) >= 8 * _STATE_BYTES:
        number += 1
    return number


@compiled
def _reach(levels: np.ndarray) -> int:
    """Return a bound on the magnitudes of levels: all bits that are set in any."""
    bits = np.int16(0)
    for level in levels:
        bits |= np.int16(abs(level))
    return np.int64(bits)  # type: ignore[return-value]


@compiled
def _count(levels: Levels, size: int) -> np.ndarray:
    """Return how often each symbol occurs."""
    # Four counters in turn, so that no count waits for the one before.
    counts, taken = np.zeros((4, SYMBOLS), np.int64), np.empty(BLOCK, np.int16)
    for start in range(0, size, BLOCK):
        some = taken[: min(BLOCK, size - start)]
        take(levels, start, some)
        reach = _reach(some)
        if reach < _FEW:
            zeros = some.size
            for level in range(1, reach + 1):
                above, below = count(some, np.int16(level)), count(some, np.int16(-level))
                counts[0, 2 * level - 1] += above
                counts[0, 2 * level] += below
                zeros -= above + below
            counts[0, 0] += zeros
        else:
            for i in range(some.size):
                counts[i & 3, symbol_of(np.int64(some[i]))] += 1
    for symbol in range(SYMBOLS):
        counts[0, symbol] += counts[1, symbol] + counts[2, symbol] + counts[3, symbol]
    return counts[0]


@compiled
def _describe(levels: Levels, size: int, table: np.ndarray) -> int:
    """Write the table that suits the levels to `table`; return how many bits they will cost."""
    counts, frequency = _count(levels, size), np.empty(SYMBOLS, np.int64)
    tokens, above, below = 1, 0, 0
    for symbol in range(1, SYMBOLS):
        if counts[symbol]:
            tokens = (symbol + 1) // 2 + 1
            above += symbol & 1
            below += 1 - symbol & 1
    signs = BOTH if above and below else NEGATIVE if below else POSITIVE
    weights = np.empty(tokens, np.uint8)
    weigh(counts, tokens, signs, weights)
    fine = size >= _FINE_FROM or 2 * tokens - 1 > _COARSE_SYMBOLS
    precision = 16 if fine else 12
    frequencies(weights, signs, 1 << precision, frequency)
    bits = cost(counts, frequency, precision)
    for token in range(_PLAIN_FROM, tokens):
        bits += plain_bits(token) * (counts[2 * token - 1] + counts[2 * token])
    states = _log2_states(bits)
    table[:] = 0
    table[0], table[1] = states | (_FINE if fine else 0) | signs << 3, tokens - 1
    for token in range(tokens):
        bit = 6 * token
        held = np.int64(weights[token]) << (bit & 7)
        table[2 + bit // 8] |= np.uint8(held & 255)
        if held >> 8:
            table[3 + bit // 8] |= np.uint8(held >> 8)
    return bits


@compiled
def _read_table(body: np.ndarray, s: int, frequency: np.ndarray) -> tuple[int, int, int]:
    """Write the frequencies; return the length of the table (0 if it is none), log2 of the states, the precision."""
    if body.size < 2 or body[0] >> 5 or body[0] >> 3 == 3:
        return 0, 0, 0
    tokens, precision = np.int64(body[1]) + 1, 16 if body[0] & _FINE else 12
    length = 2 + (6 * tokens + 7) // 8
    if body.size < length or tokens > TOKENS or base_of(tokens - 1) > s:
        return 0, 0, 0
    if precision == 12 and 2 * tokens - 1 > _COARSE_SYMBOLS:
        return 0, 0, 0
    weights = np.empty(tokens, np.uint8)
    held, bits, at = 0, 0, 2
    for token in range(tokens):
        if bits < 6:
            held |= np.int64(body[at]) << bits
            bits, at = bits + 8, at + 1
        weights[token] = held & 63
        held, bits = held >> 6, bits - 6
    if held:
        return 0, 0, 0
    frequencies(weights, np.int64(body[0] >> 3), 1 << precision, frequency)
    return length, np.int64(body[0] & 3), precision


@compiled
def _spill(x: np.uint64, limit: np.uint64, at: np.uint64, body: np.ndarray) -> tuple[np.uint64, np.uint64]:
    """Move the low word of a state to the body if it is not below a limit."""
    full = np.uint64(x >= limit)
    body[at], body[at + np.uint64(1)] = np.uint8(x), np.uint8(x >> np.uint64(8))
    return x >> (full << np.uint64(4)), at + (full << np.uint64(1))


@compiled
def _refill(x: int, at: int, body: np.ndarray) -> tuple[int, int]:
    """Take back the last word of the body if a state is too small."""
    few = np.int64(x < _LEAST)
    at -= 2 * few
    word = np.int64(body[np.uint64(max(at, 0))]) | np.int64(body[np.uint64(max(at, 0) + 1)]) << 8
    return x << (16 * few) | word & -few, at


@compiled
def _encode(levels: Levels, size: int, table: np.ndarray, body: np.ndarray) -> int:
    """Return the length of the body, or 0 if it is too small for the code."""
    frequency = np.empty(SYMBOLS, np.int64)
    length, log2_states, precision = _read_table(table, _LARGEST, frequency)
    for index in range(length):
        body[index] = table[index]
    used, total = 2 * np.int64(table[1]) + 1, 0
    symbols = np.empty((used, 4), np.uint64)
    for symbol in range(used):
        f = frequency[symbol]
        # 2^64 / f, rounded up: exact for quotients of numbers below 2^48 by f <= 2^16.
        inverse = np.uint64(2**64 - 1) // np.uint64(max(2, f)) + np.uint64(1)
        row = symbols[symbol]
        row[0], row[1] = np.uint64(f << (_STATE_BITS - precision)), inverse
        row[2], row[3] = np.uint64((1 << precision) - f), np.uint64(total)
        total += f
    states, lane = np.full(1 << log2_states, _LEAST, np.uint64), np.uint64((1 << log2_states) - 1)
    taken, at, end = np.empty(BLOCK, np.int16), np.uint64(length), np.uint64(body.size - _WIDTH * states.size)
    for start in range((size - 1) // BLOCK * BLOCK, -1, -BLOCK):
        some = taken[: min(BLOCK, size - start)]
        take(levels, start, some)
        few = _reach(some) < _PLAIN_FROM
        # A coordinate moves two words at most to the body.
        for i in range(some.size - 1, -1, -1):
            if at + np.uint64(4) > end:
                return 0
            level, number = np.int64(some[i]), np.uint64(i) & lane
            x = states[number]
            if few:
                symbol = np.uint64(2 * abs(level) - (level > 0))
            else:
                symbol = np.uint64(symbol_of(level))
                plain = np.uint64(plain_bits((np.int64(symbol) + 1) >> 1))
                x, at = _spill(x, np.uint64(1) << (np.uint64(_STATE_BITS) - plain), at, body)
                x = x << plain | np.uint64(abs(level)) & ((np.uint64(1) << plain) - np.uint64(1))
            row = symbols[symbol]
            x, at = _spill(x, row[0], at, body)
            # (x div f) 2^precision + x mod f + the frequencies of the symbols before.
            states[number] = x + multiply_high(x, row[1]) * row[2] + row[3]
    at = np.int64(at)
    for x in states:
        for k in range(_WIDTH):
            body[at + k] = np.int64(x) >> (8 * k) & 255
        at += _WIDTH
    return at


@compiled
def _decode(body: np.ndarray, into: Levels, size: int, s: int) -> bool:
    frequency = np.empty(SYMBOLS, np.int64)
    length, log2_states, precision = _read_table(body, s, frequency)
    states, lane = np.empty(1 << log2_states, np.int64), np.uint64((1 << log2_states) - 1)
    at = body.size - _WIDTH * states.size
    if not length or at < length or at - length & 1:
        return False
    for number in range(states.size):
        x = 0
        for k in range(_WIDTH - 1, -1, -1):
            x = x << 8 | body[at + _WIDTH * number + k]
        if x < _LEAST:
            return False
        states[number] = x
    used, total = 2 * np.int64(body[1]) + 1, 0
    base, plain, before = np.empty(used, np.int64), np.empty(used, np.int64), np.empty(used, np.int64)
    symbols = np.empty(1 << precision, np.uint8)
    for symbol in range(used):
        token = (symbol + 1) >> 1
        base[symbol], plain[symbol] = base_of(token) if symbol & 1 else -base_of(token), plain_bits(token)
        before[symbol] = total
        symbols[total : total + frequency[symbol]] = symbol
        total += frequency[symbol]
    # Where most levels are zero a look at the state tells so sooner than a look at the table.
    zeros = frequency[0] if frequency[0] > total - (total >> 3) else 0
    decoded, slots = np.empty(BLOCK, np.int16), (1 << precision) - 1
    for start in range(0, size, BLOCK):
        some = decoded[: min(BLOCK, size - start)]
        for i in range(some.size):
            number = np.uint64(i) & lane
            x = states[number]
            slot = x & slots
            if slot < zeros:
                x, at = _refill(zeros * (x >> precision) + slot, at, body)
                level = 0
            else:
                symbol = np.uint64(symbols[np.uint64(slot)])
                x, at = _refill(frequency[symbol] * (x >> precision) + slot - before[symbol], at, body)
                level = base[symbol]
                if symbol >= _PLAIN_SYMBOL:
                    rest = x & ((1 << plain[symbol]) - 1)
                    x, at = _refill(x >> plain[symbol], at, body)
                    level = level + rest if level > 0 else level - rest
                    if abs(level) > s:
                        return False
            # A table is 3 bytes at least: no more than two words too many were taken, and read within the body.
            if at < length:
                return False
            states[number] = x
            some[i] = level
        put(into, start, some)
    for x in states:
        if x != _LEAST:
            return False
    return at == length
