"""Sums of payloads that can be read at any place: some at a time, block by block, and the step along the sum with them.

Vectors are long and memory is slow: a sum that is never written down takes half of the time. Every coordinate goes
through the same operations in the same order as if one payload were added after the other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit

from relufit.compression.coding.packed import restore_block, width_of
from relufit.compression.grid import add_levels
from relufit.kernels import BLOCK, Descent, descend_block

#: How many payloads are added together at most. What came before them is decoded while others are waited for, and not
#: kept, so that it is few.
TOGETHER = 4
#: The bits of a float64 that are all set in NaN and infinity alone.
EXPONENT = np.uint64(0x7FF << 52)


def sum_vectors(vectors: Sequence[np.ndarray], total: np.ndarray, fresh: bool, descent: Descent | None) -> float | None:
    """Add vectors to `total`, or to zero if `fresh`, in their order.

    Parameters
    ----------
    vectors : sequence of (d,) float64
        At most `TOGETHER`.
    total : (d,) float64
    fresh : bool
    descent : Descent, optional
        If given `total` is set to ``w - step * sum``, and the squared distance from the target is returned, else 0.

    Returns
    -------
    float, optional
        None if not all were finite; `total` holds anything then.
    """
    w, step, target = descent or (total, 0.0, total)
    squares = _sum_vectors(*_filled(vectors), len(vectors), total, fresh, w, step, target, descent is not None)
    return None if squares < 0 else squares


def sum_packed(
    bodies: Sequence[np.ndarray],
    norms: np.ndarray,
    s: int,
    bucket: int,
    total: np.ndarray,
    fresh: bool,
    descent: Descent | None,
) -> float | None:
    """Do as `sum_vectors` with vectors that are quantized levels, packed with a fixed width.

    Parameters
    ----------
    bodies : sequence of (bytes,) uint8
        The levels, at most `TOGETHER`, each of the length that d levels have.
    norms : (bodies, buckets) float64
    s, bucket : int
        Levels, and coordinates that share a norm.
    total, fresh, descent
        As for `sum_vectors`.

    Returns
    -------
    float, optional
        None if not all levels are at most `s`; `total` holds anything then.
    """
    w, step, target = descent or (total, 0.0, total)
    squares = _sum_packed(*_filled(bodies), norms, s, bucket, total, fresh, w, step, target, descent is not None)
    return None if squares < 0 else squares


def _filled(arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """Return as many as the loops here take; the last ones do not count."""
    return (*arrays, *[arrays[0]] * (TOGETHER - len(arrays)))


@njit(nogil=True, cache=True)
def _begin(total: np.ndarray, fresh: bool, some: np.ndarray) -> None:
    if fresh:
        for k in range(some.size):
            some[k] = 0.0
    else:
        for k in range(some.size):
            some[k] = total[k]


@njit(nogil=True, cache=True)
def _end(
    some: np.ndarray, start: int, total: np.ndarray, w: np.ndarray, step: float, target: np.ndarray, descending: bool
) -> float:
    stop = start + some.size
    out = total[start:stop]
    if descending:
        return descend_block(w[start:stop], some, step, target[start:stop], out)  # type: ignore[no-any-return]
    for k in range(some.size):
        out[k] = some[k]
    return 0.0


@njit(nogil=True, cache=True)
def _sum_vectors(
    a: np.ndarray,
    b: np.ndarray,
    c: np.ndarray,
    d: np.ndarray,
    count: int,
    total: np.ndarray,
    fresh: bool,
    w: np.ndarray,
    step: float,
    target: np.ndarray,
    descending: bool,
) -> float:
    room, squares = np.empty(min(total.size, BLOCK)), 0.0
    for start in range(0, total.size, BLOCK):
        some = room[: min(BLOCK, total.size - start)]
        _begin(total[start : start + some.size], fresh, some)
        largest = np.uint64(0)
        for number in range(count):
            part = (a, b, c, d)[number][start : start + some.size]
            bits = part.view(np.uint64)
            for k in range(some.size):
                some[k] += part[k]
                largest = max(largest, bits[k] & EXPONENT)
        if largest == EXPONENT:
            return -1.0
        squares += _end(some, start, total, w, step, target, descending)
    return squares


@njit(nogil=True, cache=True)
def _sum_packed(
    a: np.ndarray,
    b: np.ndarray,
    c: np.ndarray,
    d: np.ndarray,
    norms: np.ndarray,
    s: int,
    bucket: int,
    total: np.ndarray,
    fresh: bool,
    w: np.ndarray,
    step: float,
    target: np.ndarray,
    descending: bool,
) -> float:
    room, found, squares, width = np.empty(min(total.size, BLOCK)), np.empty(BLOCK, np.int16), 0.0, width_of(s)
    for start in range(0, total.size, BLOCK):
        some = room[: min(BLOCK, total.size - start)]
        levels = found[: some.size]
        _begin(total[start : start + some.size], fresh, some)
        for number in range(norms.shape[0]):
            if not restore_block((a, b, c, d)[number], start, s, width, levels):
                return -1.0
            add_levels(some, norms[number], s, bucket, start, levels)
        squares += _end(some, start, total, w, step, target, descending)
    return squares
