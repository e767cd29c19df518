"""The compiled loops against plain numpy in float64, and against the order of summation that they promise."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from relufit.numerics import kernels

Array = NDArray[np.float64]
SIZES = range(1, 71)


def rows(n: int, d: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng([seed, n, d]).standard_normal((n, d)).astype(np.float32)


def fused(a: float, b: float, c: float) -> float:
    """a b + c, rounded once."""
    return float(Fraction(float(a)) * Fraction(float(b)) + Fraction(c))


def promised_dot(row: NDArray[np.floating], w: Array) -> float:
    """Sixteen chains of fused multiply-adds, halved by adding until one is left, then the remaining products."""
    sums, full = [0.0] * 16, len(w) - len(w) % 16
    for k in range(full):
        sums[k % 16] = fused(row[k], w[k], sums[k % 16])
    while len(sums) > 1:
        half = len(sums) // 2
        sums = [low + high for low, high in zip(sums[:half], sums[half:], strict=True)]
    total = sums[0]
    for k in range(full, len(w)):
        total = fused(row[k], w[k], total)
    return total


@pytest.mark.parametrize("d", [1, 7, 15, 16, 17, 31, 32, 33, 70])
def test_inner_products_have_the_bits_of_the_promised_order_of_summation(d: int) -> None:
    x, w, out = rows(3, d), np.random.default_rng(d).standard_normal(d), np.empty(3)
    kernels.inner_products(x, w, out)
    assert out.tolist() == [promised_dot(row, w) for row in x]
    assert kernels.squared_norm(w) == promised_dot(w, w)


def test_inner_products_are_those_of_numpy_for_every_size() -> None:
    for d in SIZES:
        x, w, out = rows(5, d), np.random.default_rng(d).standard_normal(d), np.full(5, np.nan)
        kernels.inner_products(x, w, out)
        wide = x.astype(np.float64)
        np.testing.assert_allclose(out, wide @ w, rtol=0, atol=1e-14 * d)


def test_the_product_of_a_row_does_not_depend_on_the_rows_around_it() -> None:
    x, w = rows(9, 37), np.random.default_rng(1).standard_normal(37)
    together, alone = np.empty(9), np.empty(1)
    kernels.inner_products(x, w, together)
    for i in range(9):
        kernels.inner_products(x[i : i + 1], w, alone)
        assert alone[0] == together[i]


def test_squared_norms_are_exact_to_rounding() -> None:
    for d in SIZES:
        v = np.random.default_rng(d).standard_normal(d)
        assert kernels.squared_norm(v) == pytest.approx(math.fsum(v * v), rel=1e-14)


@pytest.mark.parametrize("batch", [0, 1, 2, 3, 4, 5, 7, 8, 11, 64])
def test_gradients_are_those_of_numpy_for_every_size_and_batch(batch: int) -> None:
    for d in SIZES:
        rng = np.random.default_rng([batch, d])
        x, y, w = rows(20, d), rng.standard_normal(20), rng.standard_normal(d)
        taken, out = rng.integers(0, 20, batch), np.full(d, np.nan)
        squares, _ = kernels.gradient_sum(x, y, taken, w, 1.0, out)
        chosen = x[taken].astype(np.float64)
        products = chosen @ w
        residuals = np.maximum(products, 0) - y[taken]
        np.testing.assert_allclose(out, chosen.T @ (residuals * (products > 0)), rtol=0, atol=1e-13 * (batch + 1) * d)
        assert squares == pytest.approx(np.sum(residuals**2), rel=1e-12)


@pytest.mark.parametrize("batch", [0, 1, 3, 4, 5, 8, 23])
def test_gradients_without_the_indicator_and_over_squared_norms_are_those_of_numpy(batch: int) -> None:
    for d in SIZES:
        rng = np.random.default_rng([batch, d])
        x, y, w, taken = rows(20, d), rng.standard_normal(20), rng.standard_normal(d), rng.integers(0, 20, batch)
        y[::3] = np.maximum(x[::3].astype(np.float64) @ w, 0)  # some rows without a residual
        chosen = x[taken].astype(np.float64)
        products = chosen @ w
        residuals = np.maximum(products, 0) - y[taken]
        gated = residuals * (products > 0)
        expected = {kernels.glm_tron_sum: residuals, kernels.kaczmarz_sum: gated / np.sum(chosen**2, axis=1)}
        for add_up, scales in expected.items():
            out = np.full(d, np.nan)
            squares, energy = add_up(x, y, taken, w, 0.5, out)
            scale = 1 + np.abs(scales).max(initial=0)
            np.testing.assert_allclose(out, 0.5 * chosen.T @ scales, rtol=0, atol=1e-13 * scale * (batch + 1) * d)
            assert squares == pytest.approx(np.sum(residuals**2), rel=1e-9)
            assert energy == kernels.energy(out)


def test_only_glm_tron_leaves_zero() -> None:
    x, y, w, out = rows(9, 33), np.arange(9.0), np.zeros(33), np.empty(33)
    for add_up in (kernels.gradient_sum, kernels.kaczmarz_sum):
        add_up(x, y, np.arange(9), w, 1.0, out)
        assert not out.any()
    kernels.glm_tron_sum(x, y, np.arange(9), w, 1.0, out)
    np.testing.assert_allclose(out, -y @ x.astype(np.float64), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 5, 6, 9, 40])
def test_moments_are_those_of_numpy_for_every_size(n: int) -> None:
    for d in SIZES:
        x, out = rows(n, d), np.full(d, np.nan)
        y = np.maximum(np.random.default_rng([n, d]).standard_normal(n), 0)
        kernels.moment_sum(x, y, out)
        np.testing.assert_allclose(out, y @ x.astype(np.float64), rtol=0, atol=1e-14 * (n + 1))


@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_the_derivative_at_zero_is_zero(zero: float) -> None:
    x, y, out = rows(9, 33), np.arange(1.0, 10.0), np.full(33, np.nan)
    squares, _ = kernels.gradient_sum(x, y, np.arange(9), np.full(33, zero), 1.0, out)
    assert not out.any()
    assert squares == np.sum(y**2)


def test_the_derivative_just_above_zero_is_one() -> None:
    x, y, out = np.ones((1, 1), np.float32), np.array([3.0]), np.empty(1)
    kernels.gradient_sum(x, y, np.array([0]), np.array([5e-324]), 1.0, out)
    assert out[0] == -3.0
    kernels.gradient_sum(x, y, np.array([0]), np.array([-5e-324]), 1.0, out)
    assert out[0] == 0.0


def test_a_row_that_is_drawn_twice_counts_twice() -> None:
    x, y, w = rows(1, 20), np.array([2.0]), rows(1, 20)[0].astype(np.float64)
    once, twice = np.empty(20), np.empty(20)
    one, _ = kernels.gradient_sum(x, y, np.array([0]), w, 1.0, once)
    two, _ = kernels.gradient_sum(x, y, np.array([0, 0]), w, 1.0, twice)
    assert once.any()
    np.testing.assert_array_equal(twice, 2 * once)
    assert two == 2 * one


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_number_that_is_not_finite_is_found_wherever_it_is(kind: type, bad: float) -> None:
    for shape in [(1, 1), (1, 17), (5, 3)]:
        x = np.full(shape, np.finfo(kind).max, kind)
        assert kernels.all_finite(x)
        for index in np.ndindex(shape):
            damaged = x.copy()
            damaged[index] = bad
            assert not kernels.all_finite(damaged)


PROGRAM = """
import hashlib
from relufit import planted
from relufit.compression import make_compressor
data = planted.generate(60, 37, 3, noise_std=0.1)
gradient = planted.gradient(data.w_star * 1.3, data.x, data.y)
parts = [*data, planted.initial_weights(data.x, data.y), gradient]
bits = b"".join(part.tobytes() for part in parts) + make_compressor("qsgd", levels=7).encode(gradient, 5)
print(hashlib.sha256(bits).hexdigest())
"""


def test_the_bits_do_not_depend_on_the_number_of_threads(run_python: Callable[..., str]) -> None:
    threads = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    one, four = (run_python(PROGRAM, **dict.fromkeys(threads, count)) for count in "14")
    assert len(one.strip()) == 64
    assert one == four


def test_the_bits_do_not_depend_on_the_vector_unit(run_python: Callable[..., str], tmp_path: Path) -> None:
    plain = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(tmp_path)}
    assert run_python(PROGRAM, **plain) == run_python(PROGRAM)


@pytest.mark.parametrize("batch", [0, 1, 3, 4, 5, 8, 23])
def test_the_energy_of_a_gradient_comes_with_it(batch: int) -> None:
    for d in (7, kernels.BLOCK, 2 * kernels.BLOCK + 77):
        rng = np.random.default_rng([batch, d])
        x, y, w, out = rows(6, d), rng.standard_normal(6), rng.standard_normal(d), np.full(d, np.nan)
        _, energy = kernels.gradient_sum(x, y, rng.integers(0, 6, batch), w, 0.5, out)
        assert energy == kernels.energy(out)
        assert energy == pytest.approx(math.fsum(out * out), rel=1e-13)


def test_the_share_is_that_of_the_sum() -> None:
    rng = np.random.default_rng(0)
    x, y, w, whole, part = rows(9, 50), rng.standard_normal(9), rng.standard_normal(50), np.empty(50), np.empty(50)
    one, _ = kernels.gradient_sum(x, y, np.arange(9), w, 1.0, whole)
    other, _ = kernels.gradient_sum(x, y, np.arange(9), w, 0.25, part)
    assert one == other
    np.testing.assert_array_equal(part, 0.25 * whole)  # a power of two, so that nothing is rounded


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_weights_that_are_not_finite_are_told_by_the_residuals(bad: float) -> None:
    for n in (1, 2, 4, 7):
        for index in (0, 16, 32):
            x, y, w = rows(n, 33), np.ones(n), np.ones(33)
            w[index] = bad
            for add_up in (kernels.gradient_sum, kernels.glm_tron_sum, kernels.kaczmarz_sum):
                residuals, _ = add_up(x, y, np.arange(n), w, 1.0, np.empty(33))
                assert not residuals < math.inf


def test_a_step_may_end_in_any_of_its_arrays() -> None:
    for d in (5, kernels.BLOCK, 3 * kernels.BLOCK + 11):
        w, total, target = (np.random.default_rng(seed).standard_normal(d) for seed in range(3))
        wanted = w - 0.3 * total
        for out in (np.empty(d), "w", "total"):
            first, second = w.copy(), total.copy()
            place = {"w": first, "total": second}[out] if isinstance(out, str) else out
            squares = kernels.descend_towards(first, second, 0.3, target, place)
            assert place.tobytes() == wanted.tobytes()
            assert squares == kernels.squared_distance(wanted, target)
