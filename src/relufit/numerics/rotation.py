"""A random orthogonal map on any number of dimensions, made of signs and Walsh-Hadamard transforms.

With 2^p the least power of two that is not below d, p is split into k and a. A round over rows gives numbers random
signs and transforms groups of 2^k neighbours; a round over columns transforms groups of 2^a numbers at equal distances.
A pair of rounds has p levels and spreads a number over all others. What fills no group is left out: it is at the end of
the vector in one round and at its beginning in another, and is less than 2^k or 2^a numbers.

Groups of neighbours fit the fastest cache; columns are read as eight streams, three levels at a time.
"""

from __future__ import annotations

import math

import numpy as np

from relufit.numerics.compiled_cache import compiled
from relufit.numerics.simd import butterflies_2, butterflies_4, butterflies_8, draw, flip_signs, hadamard_64

#: Three transforms of all numbers: the first spreads them, the others give sums of many random terms.
ROUNDS = 6
#: Numbers that are given signs and transformed before the next ones.
_TILE = 4096


@compiled
def split(size: int) -> tuple[int, int]:
    """Return k and a of a vector of `size` numbers."""
    p = 0
    while 1 << p < size:
        p += 1
    a = max(min(p // 2, 8), p - 12)
    return p - a, a


@compiled
def rotate(x: np.ndarray, key: np.ndarray) -> None:
    """Apply the map with that key, (4,) uint32, to `x`, (d,) float64, in place."""
    for number in range(ROUNDS):
        _round(x, number, key, True)


@compiled
def rotate_back(x: np.ndarray, key: np.ndarray) -> None:
    """Apply the inverse of `rotate` to `x`, (d,) float64, in place."""
    for number in range(ROUNDS - 1, -1, -1):
        _round(x, number, key, False)


@compiled
def hadamard(x: np.ndarray, factor: float) -> None:
    """Replace the 2^k numbers `x`, float64, k above 0, by `factor` times their transform, in natural order."""
    if x.size >= 64:
        hadamard_64(x, factor)
        _levels(x, 64, 1.0)
    else:
        _levels(x, 1, factor)


@compiled
def _levels(x: np.ndarray, stride: int, factor: float) -> None:
    """Transform groups of numbers that are `stride` apart, each as many as there are, `factor` times them."""
    while stride < x.size:
        count, apart = x.size // stride, np.int64(stride)
        if count >= 8:
            butterflies_8(x, apart, factor)
            stride *= 8
        elif count == 4:
            butterflies_4(x, apart, factor)
            stride *= 4
        else:
            butterflies_2(x, apart, factor)
            stride *= 2
        factor = 1.0


@compiled
def _round(x: np.ndarray, number: int, key: np.ndarray, forward: bool) -> None:
    k, a = split(x.size)
    levels = k if number % 2 == 0 else a
    size = x.size >> levels << levels
    start = 0 if number % 4 in (0, 3) else x.size - size
    some, factor = x[start : start + size], math.sqrt(1.0 / (1 << levels))
    if number % 2:
        _levels(some, size >> levels, factor)
    else:
        _rows(some, 1 << k, factor, number // 2 * -(-x.size // 32), key, forward)


@compiled
def _rows(x: np.ndarray, row: int, factor: float, first: int, key: np.ndarray, forward: bool) -> None:
    """Transform groups of `row` neighbours, after signs from word `first` on were given to them, or before."""
    drawn, words = np.empty(_TILE // 32, np.uint32), (key[0], key[1], key[2], key[3])
    for start in range(0, x.size, _TILE):
        some = x[start : start + _TILE]
        signs = drawn[: -(-some.size // 32)]
        draw(np.uint32(first + start // 32), words, signs)
        if forward:
            flip_signs(some, signs)
        for i in range(0, some.size, row):
            hadamard(some[i : i + row], factor)
        if not forward:
            flip_signs(some, signs)
