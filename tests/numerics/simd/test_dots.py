"""Inner products against exact ones, and bit for bit against the order of summation that is promised."""

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

from relufit.numerics.simd import dots

KINDS = [(row, weight) for row in (np.float32, np.float64) for weight in (np.float32, np.float64)]


@njit
def one(row: NDArray[Any], weights: NDArray[Any]) -> float:
    return dots((row,), weights)[0]


@njit
def three(a: NDArray[Any], b: NDArray[Any], c: NDArray[Any], weights: NDArray[Any]) -> tuple[float, float, float]:
    return dots((a, b, c), weights)


def fused(a: float, b: float, c: float) -> float:
    """a b + c, rounded once; a zero that is exact has the sign that addition gives it."""
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    return float(exact) if exact else a * b + c


def promised(row: NDArray[Any], weights: NDArray[Any]) -> float:
    """Sixteen chains of fused multiply-adds, halved by adding until one is left, then the remaining products."""
    a, b = row.tolist(), weights.tolist()
    full = len(a) - len(a) % 16
    chains = [0.0] * 16
    for k in range(full):
        chains[k % 16] = fused(a[k], b[k], chains[k % 16])
    while len(chains) > 1:
        half = len(chains) // 2
        chains = [chains[i] + chains[i + half] for i in range(half)]
    total = chains[0]
    for k in range(full, len(a)):
        total = fused(a[k], b[k], total)
    return total


def bits(number: float) -> str:
    return float(number).hex()


@pytest.mark.parametrize(("row_kind", "weight_kind"), KINDS)
def test_every_size_has_the_bits_of_the_promised_order(row_kind: type, weight_kind: type) -> None:
    for size in range(101):
        rng = np.random.default_rng(size)
        row, weights = rng.standard_normal((2, size))
        row, weights = row.astype(row_kind), weights.astype(weight_kind)
        assert bits(one(row, weights)) == bits(promised(row, weights))
        exact = math.fsum(float(x) * float(y) for x, y in zip(row, weights, strict=True))
        assert one(row, weights) == pytest.approx(exact, rel=0, abs=1e-14 * (size + 1))


@settings(deadline=None, max_examples=200)
@given(st.data(), st.sampled_from(KINDS), st.integers(0, 40))
def test_numbers_of_all_magnitudes_have_the_bits_of_the_promised_order(
    data: st.DataObject, kinds: tuple[type, type], size: int
) -> None:
    row, weights = (
        data.draw(arrays.arrays(kind, size, elements=st.floats(-(2.0**60), 2.0**60, width=8 * np.dtype(kind).itemsize)))
        for kind in kinds
    )
    assert bits(one(row, weights)) == bits(promised(row, weights))


def test_products_are_not_rounded_before_they_are_added() -> None:
    # The square of 1 + 2^-30 has a digit too many: it is left when 1 + 2^-29 is taken off.
    row = np.array([1.0, 1 + 2.0**-30])
    assert one(row, np.array([-1 - 2.0**-29, 1 + 2.0**-30])) == 2.0**-60


@pytest.mark.parametrize(("row_kind", "weight_kind"), KINDS)
def test_rows_do_not_depend_on_one_another(row_kind: type, weight_kind: type) -> None:
    rng = np.random.default_rng(0)
    for size in (0, 1, 15, 16, 17, 50):
        rows, weights = rng.standard_normal((3, size)).astype(row_kind), rng.standard_normal(size).astype(weight_kind)
        assert three(*rows, weights) == tuple(promised(row, weights) for row in rows)


@pytest.mark.parametrize("shift", range(8))
def test_rows_may_lie_anywhere_in_memory(shift: int) -> None:
    weights = np.random.default_rng(1).standard_normal(50)
    room = np.zeros(8 * 51, np.uint8)
    moved = room[shift : shift + 400].view(np.float64)
    moved[:] = weights
    assert one(moved, weights) == one(weights, moved) == promised(weights, weights)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_stays_so(bad: float) -> None:
    for size in (1, 16, 33):
        for index in range(size):
            row = np.ones(size)
            row[index] = bad
            assert not math.isfinite(one(row, np.ones(size)))
