"""A random orthogonal map on any number of dimensions, made of signs and Walsh-Hadamard transforms.

The map transforms rows, which are groups of 2^k neighbours, then columns, which are groups of 2^a numbers at equal
distances, and so on, always ending with rows. Numbers get random signs before rows, and between two transforms of
columns, which are one pass over memory. With rows and columns that fill the vector, rows and columns are a transform
of all 2^(k + a) numbers, and columns and rows another one, with signs between them. After two transforms each
coordinate is, for every vector, within O(d^(-1/2)) of its law under a uniformly distributed rotation, and after one
it may not be: R. Ben-Basat, W. Kuszmaul, M. Mitzenmacher, A. Portnoy, S. Vargaftik, *Quantizing With Randomized
Hadamard Transforms: Efficient Heuristic Now Proven*, 2026, arXiv:2605.06014. Short vectors, where this is little and
time does not matter, get columns and rows once more.

Nothing is padded. The numbers that fill no row belong to one more row, the last 2^k numbers of the vector, which
overlaps the row before. Less than 2^a numbers at the end are in no column; rows mix them with the others.

Numbers are float32: errors of rounding are about 1e-7 of the norm, far below those of the quantization.
"""

from __future__ import annotations

import math

import numpy as np

from relufit.numerics.compiled_cache import compiled
from relufit.numerics.simd import (
    butterflies_2,
    butterflies_4,
    butterflies_8,
    copy_run,
    draw,
    flip_signs,
    hadamard_128,
    scale_with_signs,
)

#: Numbers that are given signs and transformed before the next ones; rows are no longer.
_TILE, _LOG_TILE = 8192, 13
#: Columns that are transformed together: as many as a word has signs.
_STRIP = 32
#: Vectors of at most this size are transformed in five passes, longer ones in three.
_SHORT = 8192
#: The words of a pass begin at a multiple of this, and those of the row that overlaps at half of it further on.
_WORDS = 2**29


@compiled
def split(size: int) -> tuple[int, int]:
    """Return k and a of a vector of `size` numbers."""
    p = 0
    while 1 << p < size:
        p += 1
    a = min(p, max(p - _LOG_TILE, min(4, p - 7), 1))
    return p - a, a


@compiled
def passes(size: int) -> int:
    """Return how often rows or columns of a vector of `size` numbers are transformed."""
    return 3 if size > _SHORT else 5


@compiled
def rotate(vector: np.ndarray, factor: float, key: np.ndarray, x: np.ndarray) -> None:
    """Write the image of `factor` times `vector` to `x`.

    Parameters
    ----------
    vector : (d,) float64 or float32
    factor : float
    key : (4,) uint32
        The key of the stream of signs, see `relufit.streams.words`.
    x : (d,) float32
    """
    k, a = split(vector.size)
    row, whole = 1 << k, vector.size >> k << k
    words, drawn = (key[0], key[1], key[2], key[3]), np.empty(_TILE // 32, np.uint32)
    for start in range(0, vector.size, _TILE):
        end = min(start + _TILE, vector.size)
        signs = _drawn(0, start, end, words, drawn)
        scale_with_signs(vector[start:end], factor, signs, x[start:end])
        _rows(x[start : min(end, whole)], row)
    _last_row(x, whole, row, 0, words, True)
    for number in range(2, passes(x.size), 2):
        _columns(x, a, number - 1, words)
        for start in range(0, x.size, _TILE):
            end = min(start + _TILE, x.size)
            flip_signs(x[start:end], _drawn(number, start, end, words, drawn))
            _rows(x[start : min(end, whole)], row)
        _last_row(x, whole, row, number, words, True)


@compiled
def rotate_back(x: np.ndarray, key: np.ndarray, factor: float, out: np.ndarray) -> None:
    """Write `factor` times the vector whose image under `rotate` is `x` to `out`; `x` is destroyed.

    Parameters
    ----------
    x : (d,) float32
        It may be the second half of the memory of a float64 `out`, or a float32 `out` itself.
    key : (4,) uint32
    factor : float
    out : (d,) float64 or float32
    """
    k, a = split(x.size)
    row, whole = 1 << k, x.size >> k << k
    words, drawn = (key[0], key[1], key[2], key[3]), np.empty(_TILE // 32, np.uint32)
    for number in range(passes(x.size) - 1, 1, -2):
        _last_row(x, whole, row, number, words, False)
        for start in range(0, x.size, _TILE):
            end = min(start + _TILE, x.size)
            _rows(x[start : min(end, whole)], row)
            flip_signs(x[start:end], _drawn(number, start, end, words, drawn))
        _columns(x, a, number - 1, words)
    _last_row(x, whole, row, 0, words, False)
    for start in range(0, x.size, _TILE):
        end = min(start + _TILE, x.size)
        _rows(x[start : min(end, whole)], row)
        scale_with_signs(x[start:end], factor, _drawn(0, start, end, words, drawn), out[start:end])


@compiled
def _drawn(number: int, start: int, end: int, words: tuple[int, int, int, int], drawn: np.ndarray) -> np.ndarray:
    """Return the signs that pass `number` gives to numbers from `start`, a multiple of 32, to `end`."""
    signs = drawn[: -(-(end - start) // 32)]
    draw(np.uint32(number * _WORDS + start // 32), words, signs)
    return signs


@compiled
def _last_row(
    x: np.ndarray, whole: int, row: int, number: int, words: tuple[int, int, int, int], forward: bool
) -> None:
    """Give the last `row` numbers signs of pass `number` and transform them, or undo it; nothing if all rows fit."""
    if whole == x.size:
        return
    some, signs = x[x.size - row :], np.empty(-(-row // 32), np.uint32)
    draw(np.uint32(number * _WORDS + _WORDS // 2), words, signs)
    if forward:
        flip_signs(some, signs)
    _rows(some, row)
    if not forward:
        flip_signs(some, signs)


@compiled
def _rows(x: np.ndarray, row: int) -> None:
    """Transform groups of `row` neighbours."""
    factor = np.float32(math.sqrt(1.0 / row))
    if row >= 128:
        hadamard_128(x, factor)
        _levels(x, 128, row, np.float32(1.0))
    else:
        _levels(x, 1, row, factor)


@compiled
def _columns(x: np.ndarray, a: int, number: int, words: tuple[int, int, int, int]) -> None:
    """Transform columns, give their numbers signs, and transform them again: the inverse is the same."""
    count, factor = x.size >> a, np.float32(math.sqrt(1.0 / (1 << a)))
    strip, signs = np.zeros(_STRIP << a, np.float32), np.empty(1 << a, np.uint32)
    for first in range(0, count, _STRIP):
        width = min(_STRIP, count - first)
        for i in range(1 << a):
            copy_run(x, i * count + first, strip, i * _STRIP, width)
        draw(np.uint32(number * _WORDS + (first // _STRIP << a)), words, signs)
        _levels(strip, _STRIP, strip.size, factor)
        flip_signs(strip, signs)
        _levels(strip, _STRIP, strip.size, factor)
        for i in range(1 << a):
            copy_run(strip, i * _STRIP, x, i * count + first, width)


@compiled
def _levels(x: np.ndarray, stride: int, span: int, factor: np.float32) -> None:
    """Transform the numbers that are `stride` apart in groups of `span` neighbours, `factor` times them."""
    while stride < span:
        ratio, apart = span // stride, np.int64(stride)
        if ratio >= 8:
            butterflies_8(x, apart, factor)
            stride *= 8
        elif ratio == 4:
            butterflies_4(x, apart, factor)
            stride *= 4
        else:
            butterflies_2(x, apart, factor)
            stride *= 2
        factor = np.float32(1.0)
