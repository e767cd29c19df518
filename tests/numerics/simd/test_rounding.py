"""Random words against their definition in plain Python, and rounding with them against exact arithmetic.

Statistical tests are seeded and state their level.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numba import njit
from numpy.typing import NDArray

from relufit import streams
from relufit.numerics import simd

Words = NDArray[np.uint32]
MASK = 2**32 - 1
KEYS = [0, 1, 2**128 - 1, streams.key(0), streams.key(1, iteration=7)]
FIRSTS = [0, 1, 15, 16, 2560, 2**31 - 5, 2**31, 2**32 - 40, 2**32 - 17, 2**32 - 1]


@njit
def _draw(first: Any, key: Words, out: Words) -> None:
    simd.draw(first, (key[0], key[1], key[2], key[3]), out)


@njit
def _round_levels(v: NDArray[Any], scale: float, first: Any, key: Words, levels: NDArray[np.int16]) -> None:
    simd.round_levels(v, scale, first, (key[0], key[1], key[2], key[3]), levels)


def drawn(first: int, key: int, size: int) -> list[int]:
    out = np.zeros(size, np.uint32)
    _draw(np.uint32(first), streams.words(key), out)
    return out.tolist()


def rounded(v: NDArray[Any], scale: float, first: int, key: int) -> list[int]:
    levels = np.full(v.size, 99, np.int16)
    _round_levels(v, float(scale), np.uint32(first), streams.words(key), levels)
    return levels.tolist()


def word(index: int, key: int) -> int:
    """Word `index` of a stream: three rounds, with a fourth of the key before each and after the last."""
    a, b, c, d = (key >> (32 * k) & MASK for k in range(4))
    x = (index & MASK) * 0x9E3779B1 & MASK ^ a
    x = ((x ^ x >> 16) * 0x21F0AAAD + b) & MASK
    x = (x ^ x >> 15) * 0x735A2D97 & MASK ^ c
    x = ((x ^ x >> 15) * 0xD168AAAD + d) & MASK
    return x ^ x >> 16


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("first", FIRSTS)
def test_words_are_those_of_the_definition(first: int, key: int) -> None:
    for size in (0, 1, 2, 15, 16, 17, 31, 32, 33, 100):
        assert drawn(first, key, size) == [word(first + i, key) for i in range(size)]


@settings(deadline=None)
@given(st.integers(0, MASK), st.integers(0, 2**128 - 1), st.integers(0, 70))
def test_words_of_any_stream_are_those_of_the_definition(first: int, key: int, size: int) -> None:
    assert drawn(first, key, size) == [word(first + i, key) for i in range(size)]


def test_the_number_of_a_word_starts_again_after_2_to_the_32() -> None:
    key = streams.key(3)
    assert drawn(2**32 - 20, key, 60)[20:] == drawn(0, key, 40)


def test_a_word_does_not_depend_on_where_a_block_starts() -> None:
    key = streams.key(4)
    together = drawn(1000, key, 200)
    for start in range(60):
        assert drawn(1000 + start, key, 77) == together[start : start + 77]


def test_the_first_words_of_a_stream_are_a_permutation() -> None:
    # For a key every step can be undone: no word of 2^32 comes twice.
    key = streams.key(5)
    assert len(set(drawn(0, key, 200_000))) == 200_000


def test_bits_are_even_and_neighbours_and_streams_uncorrelated() -> None:
    # |z| < 5 for each of 32 bits, 32 pairs with the next word and 32 with another stream: 6e-5 in all.
    size = 100_000
    table, other = (np.array(drawn(0, streams.key(6, iteration=t), size), np.uint32) for t in (0, 1))
    for bit in range(32):
        ones, others = table >> np.uint32(bit) & 1, other >> np.uint32(bit) & 1
        for heads in (ones, ones[1:] ^ ones[:-1], ones ^ others):
            assert abs(float(heads.mean()) - 0.5) < 5 * 0.5 / math.sqrt(heads.size)


# Rounding.


def in_floating_point(v: NDArray[Any], scale: float, first: int, key: int) -> list[int]:
    """Product and sum are rounded once each."""
    return [math.trunc(x * scale + math.copysign(word(first + i, key) * 2.0**-32, x)) for i, x in enumerate(v.tolist())]


def exactly(v: NDArray[Any], scale: float, first: int, key: int) -> list[int]:
    sums = (
        Fraction(x) * Fraction(scale) + int(math.copysign(1, x)) * Fraction(word(first + i, key), 2**32)
        for i, x in enumerate(v.tolist())
    )
    return [math.trunc(total) for total in sums]


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 3.7, 1000.0, 8000.0])
def test_levels_are_those_of_the_definition_for_every_size(kind: type, scale: float) -> None:
    for size in range(70):
        v, key = np.random.default_rng(size).uniform(-4, 4, size).astype(kind), streams.key(size)
        for first in (0, size, 2**32 - 7):
            assert rounded(v, scale, first, key) == in_floating_point(v, scale, first, key)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_levels_are_exact_where_products_and_sums_are(kind: type) -> None:
    # Up to 2^14 in steps of 2^-32, which is also the step of the random part: 46 digits of 53.
    rng = np.random.default_rng(0)
    for bits in (0, 1, 5, 14):
        v = np.ldexp(rng.integers(-(2**23), 2**23 + 1, 500), bits - 23).astype(kind)
        for scale in (1.0, 0.5, 2.0**-9):
            assert rounded(v, scale, 5, 7) == exactly(v, scale, 5, 7) == in_floating_point(v, scale, 5, 7)


@settings(deadline=None, max_examples=200)
@given(st.data(), st.sampled_from([np.float32, np.float64]), st.integers(1, 2**15 - 2), st.integers(0, 2**128 - 1))
def test_levels_of_any_numbers_are_those_of_the_definition(data: st.DataObject, kind: type, s: int, key: int) -> None:
    width = 8 * np.dtype(kind).itemsize
    v = data.draw(arrays.arrays(kind, st.integers(1, 40), elements=st.floats(-1, 1, width=width)))
    levels = rounded(v, s, 0, key)
    assert levels == in_floating_point(v, s, 0, key)
    for level, exact, x in zip(levels, exactly(v, s, 0, key), v.tolist(), strict=True):
        # A sum that is within a rounding error of a whole number may be rounded to it.
        assert level == exact or abs(abs(x) * s + word(v.tolist().index(x), key) * 2.0**-32 - abs(level)) < 1e-11


def test_single_precision_gives_the_same_levels() -> None:
    v = np.random.default_rng(0).uniform(-1, 1, 333).astype(np.float32)
    assert rounded(v, 77.7, 3, 4) == rounded(v.astype(np.float64), 77.7, 3, 4)


def test_levels_do_not_depend_on_where_a_block_starts() -> None:
    v, key = np.random.default_rng(1).uniform(-1, 1, 300), streams.key(0)
    together = rounded(v, 20.0, 0, key)
    for start in range(50):
        assert rounded(v[start : start + 90], 20.0, start, key) == together[start : start + 90]


def test_whole_numbers_stay_and_zeros_have_no_level() -> None:
    v = np.array([0.0, -0.0, 1, -1, 2, -2, 100, -100, 5e-324, -5e-324] * 4)
    assert rounded(v, 1.0, 0, streams.key(1)) == (np.rint(v).astype(int)).tolist()
    assert rounded(np.full(40, 2.0**15 - 1), 1.0, 0, streams.key(2)) == [2**15 - 1] * 40
    assert rounded(np.full(40, 1 - 2.0**15), 1.0, 0, streams.key(2)) == [1 - 2**15] * 40


@pytest.mark.parametrize("place", [0.0001, 0.01, 0.5, 3.25, 3.999, -0.3, -7.75])
def test_a_number_is_rounded_up_with_the_probability_of_its_fraction(place: float) -> None:
    # |z| < 4.5 for each of seven: 5e-5 in all.
    count = 100_000
    levels = np.array(rounded(np.full(count, place), 1.0, 0, streams.key(9)))
    below, p = math.floor(abs(place)), abs(place) % 1
    assert set(np.abs(levels)) <= {below, below + 1}
    assert np.all(levels * place >= 0)
    assert abs(float(np.mean(np.abs(levels) - below)) - p) < 4.5 * math.sqrt(p * (1 - p) / count)
