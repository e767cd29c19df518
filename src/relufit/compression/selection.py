"""The largest coordinates of a vector, in one pass over it but for a sample and what is about as large."""

from __future__ import annotations

import math

import numpy as np

from relufit.compression.grid import MAGNITUDE_BITS
from relufit.numerics.compiled_cache import compiled
from relufit.numerics.simd import at_least, leading_zeros, ones

#: Coordinates of the sample, and the standard deviations by which more are taken than it says.
_SAMPLE, _MARGIN = 4096, 4.0
#: Coordinates that are looked at together.
_GROUP = 64
#: Bits of a magnitude, and those by which magnitudes are told apart at a time.
_MAGNITUDE, _DIGIT = 63, 11


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
def _rank(magnitudes: np.ndarray, least: int, rank: int) -> tuple[np.uint64, int]:
    """Return an edge and a number of ties: the largest `rank` are all above it, and that many of those equal to it.

    Bits below `least` are zero in all magnitudes.
    """
    counts, edge, shift, ties = np.empty(1 << _DIGIT, np.int64), np.uint64(0), _MAGNITUDE, rank
    while shift > least:
        below = max(shift - _DIGIT, least)
        counts[:] = 0
        digits = np.uint64((1 << (shift - below)) - 1)
        for magnitude in magnitudes:
            if magnitude >> np.uint64(shift) == edge:
                counts[magnitude >> np.uint64(below) & digits] += 1
        digit = np.int64(digits)
        while counts[digit] < ties:
            ties -= counts[digit]
            digit -= 1
        edge, shift = edge << np.uint64(shift - below) | np.uint64(digit), below
        if counts[digit] == ties:
            break
    return edge << np.uint64(shift), ties


@compiled
def _candidates(bits: np.ndarray, mask: np.uint64, up: np.uint64, edge: np.uint64) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of the magnitudes from `edge` on, in ascending order, and these magnitudes."""
    groups, found, lowest = np.empty((bits.size + _GROUP - 1) // _GROUP, np.uint64), 0, edge >> up
    for group in range(groups.size):
        start, members = _GROUP * group, np.uint64(0)
        if start + _GROUP <= bits.size:
            members = at_least(bits, np.uint64(start), mask, lowest)
        else:
            for k in range(start, bits.size):
                members |= np.uint64(bits[k] & mask >= lowest) << np.uint64(k - start)
        groups[group] = members
        found += ones(members)
    positions, magnitudes, at = np.empty(found, np.int64), np.empty(found, np.uint64), 0
    for group in range(groups.size):
        members = groups[group]
        while members:
            lowest_member = members & (~members + np.uint64(1))
            position = _GROUP * group + 63 - leading_zeros(lowest_member)
            positions[at], magnitudes[at] = position, (bits[position] & mask) << up
            members ^= lowest_member
            at += 1
    return positions, magnitudes


@compiled
def _largest(bits: np.ndarray, mask: np.uint64, up: np.uint64, count: int) -> np.ndarray:
    """Return what `largest_positions` returns, of bits that are `up` fewer than 64."""
    edge, stride, least = np.uint64(0), bits.size // _SAMPLE, np.int64(up)
    if stride > 1:
        sample = np.empty(_SAMPLE, np.uint64)
        for k in range(_SAMPLE):
            sample[k] = (bits[k * stride] & mask) << up
        expected = count * _SAMPLE / bits.size
        rank = np.int64(expected + _MARGIN * math.sqrt(expected) + _MARGIN)
        if rank < _SAMPLE:
            edge = _rank(sample, least, rank)[0]
    positions, magnitudes = _candidates(bits, mask, up, edge)
    if positions.size < count:
        positions, magnitudes = _candidates(bits, mask, up, np.uint64(0))
    edge, ties = _rank(magnitudes, least, count)
    if edge == 0:
        ties = 0
    kept = 0
    for k in range(positions.size):
        tie = np.int64(magnitudes[k] == edge) & np.int64(ties > 0)
        positions[kept] = positions[k]
        kept += np.int64(magnitudes[k] > edge) | tie
        ties -= tie
    return positions[:kept]
