"""Bits to an accuracy against counted runs of the recursion, known numbers, and maxima found by search."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_vectors import reproducible
from scipy import optimize

from relufit import theory


@reproducible
@given(
    d=st.integers(1, 300),
    m=st.integers(1, 300),
    start=st.floats(1e-3, 10),
    tolerance=st.floats(1e-6, 0.9),
    share=st.floats(0.2, 1.8),
)
def test_the_iterations_are_those_at_which_a_geometric_curve_arrives(
    d: int, m: int, start: float, tolerance: float, share: float
) -> None:
    step = share * theory.optimal_step(d, m)
    iterations = theory.iterations_fresh(d, m, start, tolerance, step=step)
    curve = start * theory.contraction(d, m, step) ** np.arange(math.ceil(iterations) + 2)
    assert iterations == pytest.approx(theory.iterations_to(curve, tolerance), rel=1e-6, abs=1e-6)


def test_the_iterations_have_their_limits() -> None:
    assert theory.iterations_fresh(1000, 10, 1e-4, 1e-2) == 0
    assert theory.iterations_fresh(1000, 10, 1e-5, 1e-2) == 0
    stable = theory.stability_limit(1000, 10)
    assert theory.iterations_fresh(1000, 10, 1.0, 1e-2, step=stable) == math.inf
    assert theory.iterations_fresh(1000, 10, 1.0, 1e-2, step=2 * stable) == math.inf
    assert theory.iterations_fresh(1000, 10, 1.0, 1e-2, step=0.0) == math.inf
    # 1 - 1 / (2 d) a step for single samples, also where that is 1 to nine digits.
    assert theory.iterations_fresh(10**9, 1, 1.0, 1e-6) == pytest.approx(12 * math.log(10) * (2e9 + 4), rel=1e-9)


@pytest.mark.parametrize(("d", "m", "workers"), [(1000, 80, 8), (1000, 1000, 10), (50, 400, 4), (3, 3, 1)])
@pytest.mark.parametrize("omega", [0.0, 0.5, 24.0])
def test_the_saving_is_the_ratio_of_the_bits_of_two_runs(d: int, m: int, workers: int, omega: float) -> None:
    down = 5.0

    def bits(a_coordinate: float, variance: float) -> float:
        iterations = theory.iterations_fresh(d, m, 0.7, 1e-5, omega=variance, workers=workers)
        return iterations * workers * d * (a_coordinate + down)

    saved = theory.saving(d, m, 1.5, omega=omega, workers=workers, downlink_bits=down)
    assert saved == pytest.approx(bits(32, 0) / bits(1.5, omega), rel=1e-9)
    assert theory.saving(d, m, 1.5, omega=omega, workers=workers, reference_bits=64) == pytest.approx(
        2 * theory.saving(d, m, 1.5, omega=omega, workers=workers), rel=1e-12
    )


@reproducible
@given(d=st.integers(10**5, 10**9), b=st.integers(1, 10), omega=st.floats(0, 1000))
def test_for_batches_much_smaller_than_the_dimension_the_slowdown_is_one_plus_omega(
    d: int, b: int, omega: float
) -> None:
    saved = theory.saving(d, 4 * b, 2.0, omega=omega, workers=4)
    assert saved == pytest.approx(16 / (1 + omega), rel=1e-3)


def test_the_savings_have_their_known_values() -> None:
    # Two bits a coordinate at one level are worse than fp32; d = 1000, small batches.
    one, sixteen = theory.qsgd_variance(1000, 1), theory.qsgd_variance(1000, 16)
    assert theory.saving(1000, 1, 2.0, omega=one) == pytest.approx(0.63, abs=0.005)
    # A code of 2.04 bits at 16 levels, 8 workers: the uplink alone, a broadcast heard by all, a copy for each.
    for down, expected in ((0.0, 9.5), (32 / 8, 3.6), (32.0, 1.14)):
        saved = theory.saving(1000, 8, 2.04, omega=sixteen, workers=8, downlink_bits=down)
        assert saved == pytest.approx(expected, abs=0.03)


def test_the_most_that_qsgd_saves_is_13_8_near_0_6() -> None:
    best = optimize.minimize_scalar(lambda sigma: -theory.saving_limit(sigma), bounds=(0.05, 3), method="bounded")
    omega, entropy = theory.qsgd_limit(best.x)
    assert -best.fun == pytest.approx(13.81, abs=0.005)
    assert best.x == pytest.approx(0.60, abs=0.015)
    assert omega == pytest.approx(0.46, abs=0.015)
    assert entropy == pytest.approx(1.58, abs=0.015)
    grid = [theory.saving_limit(sigma) for sigma in np.geomspace(1e-4, 1e3, 80)]
    assert max(grid) <= -best.fun * (1 + 1e-9)
    assert theory.saving_limit(0.6, reference_bits=64) == pytest.approx(2 * theory.saving_limit(0.6), rel=1e-12)


def test_the_limit_of_the_saving_is_reached_in_high_dimension() -> None:
    d, levels = 10**6, 600
    omega, entropy = theory.qsgd_variance(d, levels), theory.level_entropy(d, levels)
    assert theory.saving(d, 1, entropy, omega=omega) == pytest.approx(theory.saving_limit(0.6), rel=1e-5)


def test_unbiased_compression_without_memory_saves_less_than_44_4() -> None:
    omegas = np.geomspace(1e-9, 1e12, 200)
    savings = np.array([theory.rate_distortion_saving(omega) for omega in omegas])
    assert np.all(np.diff(savings) > 0)
    optimum = optimize.minimize_scalar(
        lambda log: -theory.rate_distortion_saving(math.exp(log)), bounds=(-10, 30), method="bounded"
    )
    assert -optimum.fun == pytest.approx(64 * math.log(2), rel=1e-4)
    assert savings[-1] <= 64 * math.log(2) * (1 + 1e-9)
    assert theory.rate_distortion_saving(0.0) == 0
    assert theory.rate_distortion_saving(1.0, reference_bits=64) == 64


@reproducible
@given(sigma=st.floats(0.01, 100))
def test_qsgd_never_saves_more_than_the_rate_distortion_function_allows(sigma: float) -> None:
    assert theory.saving_limit(sigma) < theory.rate_distortion_saving(theory.qsgd_limit(sigma)[0])


def test_the_rows_that_are_shipped_are_those_with_a_label() -> None:
    rng, n, d, bits = np.random.default_rng(1), 60, 7, []
    for _ in range(2000):
        labels = np.maximum(rng.standard_normal((n, d)) @ np.ones(d), 0)
        bits.append(np.count_nonzero(labels) * (d + 1) * 16)
    # |z| < 4: fails with probability 6e-5 if right.
    error = np.std(bits) / math.sqrt(len(bits))
    assert abs(np.mean(bits) - theory.row_shipping_bits(n, d, bits_per_number=16)) < 4 * error
    assert theory.row_shipping_bits(n, d) == 2 * theory.row_shipping_bits(n, d, bits_per_number=16)
