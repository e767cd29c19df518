"""The largest coordinates of a vector, in one pass over it.

A sample tells two magnitudes between which the least one that is sent almost surely lies. The pass finds, 64
coordinates at a time, which are above both; those in between are few, and are ranked by counting their digits. Where
the sample has misled, the pass is repeated without the bound that was wrong, so that time is linear for every vector.
"""

from __future__ import annotations

import math

import numpy as np

from relufit.compression.grid import MAGNITUDE_BITS
from relufit.numerics.compiled_cache import compiled
from relufit.numerics.simd import at_least, leading_zeros, ones

#: Coordinates of the sample, and the standard deviations by which its two magnitudes are apart from their mean.
_SAMPLE, _MARGIN = 4096, 3.0
#: Coordinates that are looked at together.
_GROUP = 64
#: Bits by which magnitudes are told apart at a time.
_DIGIT = 11
#: Above the bits of every magnitude.
_ABOVE_ALL = np.uint64(2**63)
_ZERO, _ONE = np.uint64(0), np.uint64(1)


def largest_positions(vector: np.ndarray, count: int) -> np.ndarray:
    """Return the positions of the coordinates that are largest in magnitude, in ascending order, int64.

    Of equal ones those with the lower index come first. Zeros are left out, so that there may be fewer than `count`.
    NaN and infinity count as larger than all numbers.

    Parameters
    ----------
    vector : (d,) float64 or float32
        Contiguous.
    count : int
        From 1 to d.
    """
    # Magnitudes are ordered as their bits are, infinity and NaN above all numbers.
    kind, mask = MAGNITUDE_BITS[vector.dtype.char]
    bits, up = vector.view(kind), np.uint64(64 - 8 * vector.itemsize)
    return _largest(bits, np.uint64(mask), up, count)  # type: ignore[no-any-return]


@compiled
def _rank(magnitudes: np.ndarray, rank: int) -> tuple[np.uint64, int]:
    """Return the magnitude of that rank, 1 for the largest, and how many equal to it are among the largest `rank`.

    `magnitudes` are overwritten.
    """
    size, ties, counts = magnitudes.size, rank, np.empty(1 << _DIGIT, np.int64)
    while True:
        least, most = magnitudes[0], magnitudes[0]
        for k in range(1, size):
            least, most = min(least, magnitudes[k]), max(most, magnitudes[k])
        if least == most:
            return least, ties
        shift = np.uint64(max(0, 64 - leading_zeros(most - least) - _DIGIT))
        counts[:] = 0
        for k in range(size):
            counts[(magnitudes[k] - least) >> shift] += 1
        digit = (most - least) >> shift
        while counts[digit] < ties:
            ties -= counts[digit]
            digit -= _ONE
        kept = 0
        for k in range(size):
            magnitude = magnitudes[k]
            magnitudes[kept] = magnitude
            kept += np.int64((magnitude - least) >> shift == digit)
        size = kept


@compiled
def _bounds(bits: np.ndarray, mask: np.uint64, up: np.uint64, count: int) -> tuple[np.uint64, np.uint64]:
    """Return two magnitudes by a sample: most likely at least `count` are from the first on, fewer from the second.

    The first is above zero.
    """
    low, high, stride = _ONE << up, _ABOVE_ALL, bits.size // _SAMPLE
    if stride > 1:
        sample = np.empty(_SAMPLE, np.uint64)
        for k in range(_SAMPLE):
            sample[k] = (bits[k * stride] & mask) << up
        share = count / bits.size
        expected = share * _SAMPLE
        margin = _MARGIN * math.sqrt(expected * (1 - share)) + _MARGIN
        more, fewer = np.int64(expected + margin), np.int64(expected - margin)
        if more < _SAMPLE:
            low = max(low, _rank(sample.copy(), more)[0])
        if fewer > 0:
            # Those that are equal to it are left to be ranked: there may be many.
            high = _rank(sample, fewer)[0] + (_ONE << up)
    return low, high


@compiled
def _scan(
    bits: np.ndarray, mask: np.uint64, low: np.uint64, high: np.uint64, above: np.ndarray, near: np.ndarray
) -> tuple[int, int]:
    """Mark the magnitudes from `high` on in `above` and those from `low` on below it in `near`; return both numbers."""
    certain, between = 0, 0
    for group in range(above.size):
        start, upper, lower = _GROUP * group, _ZERO, _ZERO
        if start + _GROUP <= bits.size:
            upper = at_least(bits, np.uint64(start), mask, high)
            lower = at_least(bits, np.uint64(start), mask, low)
        else:
            for k in range(start, bits.size):
                magnitude, at = np.uint64(bits[k] & mask), np.uint64(k - start)
                upper |= np.uint64(magnitude >= high) << at
                lower |= np.uint64(magnitude >= low) << at
        lower ^= upper
        above[group], near[group] = upper, lower
        certain, between = certain + ones(upper), between + ones(lower)
    return certain, between


@compiled
def _members(groups: np.ndarray, count: int) -> np.ndarray:
    """Return the positions that are marked, of which there are `count`, in ascending order."""
    positions, at = np.empty(count, np.int64), 0
    for group in range(groups.size):
        members = groups[group]
        while members:
            lowest = members & (~members + _ONE)
            positions[at] = _GROUP * group + 63 - leading_zeros(lowest)
            members ^= lowest
            at += 1
    return positions


@compiled
def _mark(
    bits: np.ndarray, mask: np.uint64, up: np.uint64, near: np.ndarray, between: int, count: int, above: np.ndarray
) -> None:
    """Mark in `above` the largest `count` of the `between` magnitudes that `near` marks."""
    magnitudes, at = np.empty(between, np.uint64), 0
    for group in range(near.size):
        members = near[group]
        while members:
            lowest = members & (~members + _ONE)
            magnitudes[at] = (bits[_GROUP * group + 63 - leading_zeros(lowest)] & mask) << up
            members ^= lowest
            at += 1
    edge, ties = _rank(magnitudes, count)
    for group in range(near.size):
        members, marked = near[group], _ZERO
        while members:
            lowest = members & (~members + _ONE)
            magnitude = np.uint64(bits[_GROUP * group + 63 - leading_zeros(lowest)] & mask) << up
            tie = np.int64(magnitude == edge) & np.int64(ties > 0)
            ties -= tie
            marked |= lowest * np.uint64(np.int64(magnitude > edge) | tie)
            members ^= lowest
        above[group] |= marked


@compiled
def _largest(bits: np.ndarray, mask: np.uint64, up: np.uint64, count: int) -> np.ndarray:
    """Return what `largest_positions` returns, of bits that are `up` fewer than 64."""
    low, high = _bounds(bits, mask, up, count)
    above = np.empty((bits.size + _GROUP - 1) // _GROUP, np.uint64)
    near = np.empty_like(above)
    certain, between = _scan(bits, mask, low >> up, high >> up, above, near)
    if certain > count or certain + between < count:
        high, low = (_ABOVE_ALL, low) if certain > count else (high, _ONE << up)
        certain, between = _scan(bits, mask, low >> up, high >> up, above, near)
    if certain + between <= count:
        above |= near
    elif certain < count:
        _mark(bits, mask, up, near, between, count - certain, above)
    return _members(above, min(count, certain + between))
