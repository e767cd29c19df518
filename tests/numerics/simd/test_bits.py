"""Bit operations against whole numbers of any size."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from relufit.numerics import simd

EDGES = sorted({0, *(2**k + step for k in range(64) for step in (-1, 0, 1) if 2**k + step >= 0), 2**64 - 1})
words = st.integers(0, 2**64 - 1) | st.sampled_from(EDGES)


@njit
def leading_zeros(number: Any) -> int:
    return simd.leading_zeros(number)


@njit
def multiply_high(a: Any, b: Any) -> int:
    return simd.multiply_high(a, b)


def test_zeros_before_the_first_one_are_counted() -> None:
    assert leading_zeros(np.uint64(0)) == 64
    for number in EDGES:
        assert leading_zeros(np.uint64(number)) == 64 - number.bit_length()


def test_the_upper_half_of_a_product_is_exact_at_the_edges() -> None:
    for a in EDGES:
        for b in EDGES[::5]:
            assert multiply_high(np.uint64(a), np.uint64(b)) == a * b >> 64


@settings(deadline=None)
@given(words, words)
def test_any_numbers_give_what_whole_numbers_of_any_size_give(a: int, b: int) -> None:
    assert leading_zeros(np.uint64(a)) == 64 - a.bit_length()
    assert multiply_high(np.uint64(a), np.uint64(b)) == multiply_high(np.uint64(b), np.uint64(a)) == a * b >> 64
