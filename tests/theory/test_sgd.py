"""Steps of SGD against Monte Carlo in plain numpy, other formulas of the same quantity, known numbers.

Statistical tests are seeded and pass if |z| < 4: a right prediction fails one with probability 6e-5.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_vectors import Array, quantize, reproducible, sphere, thin, z_score

from relufit import theory


def one_step(
    rng: np.random.Generator,
    d: int,
    m: int,
    step: float,
    workers: int = 1,
    compress: Callable[[Array], Array] = lambda gradients: gradients,
) -> float:
    target, start = sphere(rng, 2, d)
    weights = target + 1e-7 * start
    inputs = rng.standard_normal((workers, m // workers, d))
    active = inputs @ weights
    residuals = np.maximum(active, 0) - np.maximum(inputs @ target, 0)
    gradients = np.mean((residuals * (active > 0))[..., None] * inputs, axis=1)
    after = weights - step * np.mean(compress(gradients), axis=0)
    return float(np.sum((after - target) ** 2) / np.sum((weights - target) ** 2))


@pytest.mark.parametrize(("d", "m", "step"), [(5, 1, 0.1), (5, 1, 0.3), (8, 4, 0.5), (20, 40, 0.9), (20, 40, 2.0)])
def test_one_step_contracts_the_squared_error_as_predicted(d: int, m: int, step: float) -> None:
    rng = np.random.default_rng(1)
    sample = np.array([one_step(rng, d, m, step) for _ in range(2500)])
    assert abs(z_score(sample, theory.contraction(d, m, step))) < 4


@pytest.mark.parametrize(
    ("d", "m", "workers", "omega", "step"),
    [(6, 4, 4, 3.0, 0.3), (10, 12, 3, 1.0, 0.5), (16, 8, 1, 0.25, 0.3)],
)
def test_one_compressed_step_contracts_the_squared_error_as_predicted(
    d: int, m: int, workers: int, omega: float, step: float
) -> None:
    rng = np.random.default_rng(2)
    sample = np.array([one_step(rng, d, m, step, workers, lambda g: thin(rng, g, omega)) for _ in range(2500)])
    assert abs(z_score(sample, theory.contraction(d, m, step, omega=omega, workers=workers))) < 4


def test_one_step_of_quantized_sgd_contracts_as_its_variance_predicts() -> None:
    d, m, workers, levels = 200, 32, 4, 2
    omega, rng = theory.qsgd_variance(d, levels), np.random.default_rng(3)
    step = theory.optimal_step(d, m, omega=omega, workers=workers)
    sample = np.array([one_step(rng, d, m, step, workers, lambda g: quantize(rng, g, levels)) for _ in range(1500)])
    assert abs(z_score(sample, theory.contraction(d, m, step, omega=omega, workers=workers))) < 4


def test_without_compression_the_optimal_step_and_its_factor_have_their_short_form() -> None:
    assert theory.optimal_step(400, 40) == pytest.approx(80 / 843, rel=1e-14)
    assert theory.contraction(400, 40, 80 / 843) == pytest.approx(1 - 40 / 843, rel=1e-14)
    assert theory.critical_batch(400) == 803
    assert theory.contraction(400, 803, theory.optimal_step(400, 803)) == pytest.approx(0.5, rel=1e-14)


@pytest.mark.parametrize(("levels", "diverges"), [(1, True), (2, True), (4, True), (8, False)])
def test_the_step_of_plain_sgd_diverges_where_the_variance_exceeds_one(levels: int, diverges: bool) -> None:
    d, m, workers = 200, 8, 4
    omega = theory.qsgd_variance(d, levels)
    factor = theory.contraction(d, m, theory.optimal_step(d, m), omega=omega, workers=workers)
    assert (factor > 1) == diverges == (omega > 1)


@reproducible
@given(d=st.integers(1, 10**9), b=st.integers(1, 10**6), workers=st.integers(1, 1000), omega=st.floats(0, 1e5))
def test_no_step_contracts_more_than_the_optimal_one(d: int, b: int, workers: int, omega: float) -> None:
    m = b * workers
    best = theory.optimal_step(d, m, omega=omega, workers=workers)
    factors = [theory.contraction(d, m, best * f, omega=omega, workers=workers) for f in (0.8, 1.0, 1.2)]
    assert 0 <= factors[1] <= min(factors) <= 1
    limit = theory.stability_limit(d, m, omega=omega, workers=workers)
    assert limit == pytest.approx(2 * best, rel=1e-12)
    assert theory.contraction(d, m, limit, omega=omega, workers=workers) == pytest.approx(1, abs=1e-9)


@reproducible
@given(d=st.integers(1, 10**6), b=st.integers(1, 1000), omega=st.floats(0, 100))
def test_batches_much_smaller_than_the_dimension_pay_one_plus_omega(d: int, b: int, omega: float) -> None:
    for workers in (1, 8):
        m = b * workers
        slowdown = theory.optimal_step(d, m) / theory.optimal_step(d, m, omega=omega, workers=workers)
        assert slowdown * (1 + 1e-12) >= 1
        assert (1 + omega) * d / (d + m) <= slowdown * (1 + 1e-12) <= (1 + omega) * (1 + 1e-9)


@pytest.mark.parametrize(("d", "m", "share"), [(100, 2, 1.0), (60, 12, 1.0), (60, 12, 0.5), (60, 120, 1.0)])
def test_the_logarithm_of_the_error_spreads_and_falls_as_predicted(d: int, m: int, share: float) -> None:
    rng, runs, iterations = np.random.default_rng(6), 1500, max(3, 120 // m)
    step = share * theory.optimal_step(d, m)
    target, error = np.eye(d)[0], np.tile(np.eye(d)[1], (runs, 1))
    for _ in range(iterations):
        x = rng.standard_normal((runs, m, d), dtype=np.float32)
        along = np.matmul(x, error[..., None])[..., 0] * (x @ target > 0)
        error = error - step / m * np.matmul(along[:, None], x)[:, 0]
    logs = np.log(np.sum(error**2, axis=1))
    variance = theory.log_error_variance(d, m, step, iterations)
    # The sample's variance has a relative standard error of 4%; terms of order 1/d are left out.
    assert np.var(logs) == pytest.approx(variance, rel=0.2)
    typical = iterations * theory.log_contraction(d, m, step)
    assert typical == pytest.approx(iterations * math.log(theory.contraction(d, m, step)) - variance / 2, rel=1e-12)
    assert np.mean(logs) == pytest.approx(typical, abs=4 * math.sqrt(variance / runs) + 0.02 * variance)


@pytest.mark.parametrize("d", [1000, 10**5])
@pytest.mark.parametrize("share", [0.01, 1.0, 4.0])
@pytest.mark.parametrize("factor", [0.3, 1.0, 1.5])
def test_in_high_dimension_the_spread_is_that_of_two_random_numbers(d: int, share: float, factor: float) -> None:
    # The active rows' components along the error, and across it, are all that the factor depends on.
    rng, m, draws = np.random.default_rng(7), round(share * d), 40_000
    step = factor * theory.optimal_step(d, m)
    active = rng.binomial(m, 0.5, draws)
    projection = np.where(active > 0, rng.chisquare(np.maximum(active, 1)), 0) / m
    factors = (1 - step * projection) ** 2 + step**2 / m * projection * rng.chisquare(d - 1, draws)
    # The standard error of a variance is 0.7% here, somewhat more where rows are few.
    assert np.var(np.log(factors)) == pytest.approx(theory.log_error_variance(d, m, step, 1), rel=0.05)


@pytest.mark.parametrize(
    ("d", "m", "factor", "error"),
    [(30, 3, 1.0, 0.005), (37, 4, 1.0, 0.004), (100, 10, 1.5, 0.003), (200, 20, 1.9, 0.005)],
)
def test_the_mean_logarithm_is_that_of_two_random_numbers_from_thirty_dimensions_on(
    d: int, m: int, factor: float, error: float
) -> None:
    rng, draws = np.random.default_rng(8), 1_000_000
    step = factor * theory.optimal_step(d, m)
    active = rng.binomial(m, 0.5, draws)
    projection = np.where(active > 0, rng.chisquare(np.maximum(active, 1)), 0) / m
    logs = np.log((1 - step * projection) ** 2 + step**2 / m * projection * rng.chisquare(d - 1, draws))
    predicted = theory.log_contraction(d, m, step)
    assert abs(np.mean(logs) - predicted) < 4 * np.std(logs) / math.sqrt(draws) + error * abs(predicted)
    # What is predicted for the mean square is farther off.
    assert abs(np.mean(logs) - math.log(theory.contraction(d, m, step))) > 2 * abs(np.mean(logs) - predicted)


@pytest.mark.parametrize(
    ("d", "m", "workers", "levels", "norm"), [(37, 8, 2, 3, "max"), (37, 8, 2, 1, "l2"), (64, 16, 4, 4, "l2")]
)
def test_runs_of_quantized_sgd_fall_by_the_mean_logarithm(d: int, m: int, workers: int, levels: int, norm: str) -> None:
    omega, rng = theory.qsgd_variance(d, levels, norm=norm), np.random.default_rng(9)
    step = theory.optimal_step(d, m, omega=omega, workers=workers)
    sample = [one_step(rng, d, m, step, workers, lambda g: quantize(rng, g, levels, norm)) for _ in range(6000)]
    assert abs(z_score(np.log(sample), theory.log_contraction(d, m, step, omega=omega, workers=workers))) < 4


@pytest.mark.parametrize(("kurtosis", "draw"), [(1.0, "signs"), (1.8, "uniform"), (9.0, "t5")])
def test_heavy_tails_enter_by_the_kurtosis(kurtosis: float, draw: str) -> None:
    d, m, rng = 20, 4, np.random.default_rng(10)
    step = theory.optimal_step(d, m)

    def inputs() -> Array:
        if draw == "signs":
            return rng.choice([-1.0, 1.0], (m, d))
        return (
            rng.uniform(-1, 1, (m, d)) * math.sqrt(3)
            if draw == "uniform"
            else rng.standard_t(5, (m, d)) * math.sqrt(0.6)
        )

    factors = np.empty(40_000)
    for i in range(len(factors)):
        x, error = inputs(), sphere(rng, 1, d)[0]
        along = (x @ error) * (rng.random(m) < 0.5)
        factors[i] = np.sum((error - step * along @ x / m) ** 2)
    predicted = theory.contraction(d, m, step, kurtosis=kurtosis)
    assert abs(z_score(factors, predicted)) < 4
    assert abs(z_score(factors, theory.contraction(d, m, step))) > 4, "the test could not tell them apart"


def test_the_spread_of_the_logarithm_has_its_known_values() -> None:
    for d, m, expected in ((400, 40, 8.2), (10**6, 1, 8.31), (10**6, 2 * 10**6, 6.7)):
        step = theory.optimal_step(d, m)
        iterations = round(theory.iterations_fresh(d, m, 1.0, 1e-6))
        spread = math.sqrt(theory.log_error_variance(d, m, step, iterations))
        assert spread * math.sqrt(d) == pytest.approx(expected, abs=0.07)
    assert theory.log_error_variance(400, 40, 0.1, 0) == theory.log_error_variance(400, 40, 0.0, 9) == 0
    # -2.5 ln(e) / d for batches much smaller than the dimension.
    iterations = round(theory.iterations_fresh(10**6, 1, 1.0, 1e-6))
    small = theory.log_error_variance(10**6, 1, theory.optimal_step(10**6, 1), iterations)
    assert small == pytest.approx(2.5 * 12 * math.log(10) / 1e6, rel=1e-3)


@pytest.mark.parametrize(("n", "d"), [(60, 20), (10, 20), (200, 3)])
def test_the_initial_weights_have_the_predicted_error(n: int, d: int) -> None:
    rng, sample = np.random.default_rng(4), []
    for _ in range(3000):
        inputs, target = rng.standard_normal((n, d)), sphere(rng, 1, d)[0]
        start = 2 / n * np.maximum(inputs @ target, 0) @ inputs
        sample.append(np.sum((start - target) ** 2))
    assert abs(z_score(np.array(sample), theory.initial_error(n, d))) < 4
    assert theory.initial_error(400, 100) == 0.5075


@reproducible
@given(n=st.integers(1, 300), d=st.integers(1, 300))
def test_recovery_has_the_probability_of_d_heads(n: int, d: int) -> None:
    heads = sum(math.comb(n, k) for k in range(d, n + 1))
    assert theory.recovery_probability(n, d) == pytest.approx(heads / 2**n, rel=1e-10)


@pytest.mark.parametrize("d", [1, 50, 10**4, 10**6, 10**8])
def test_recovery_is_a_coin_toss_at_one_sample_less_than_two_a_dimension(d: int) -> None:
    assert theory.recovery_probability(2 * d - 1, d) == pytest.approx(0.5, rel=1e-9)
    assert theory.recovery_probability(d, d) == pytest.approx(0.5**d, rel=1e-9)
    assert theory.recovery_probability(d, d + 1) == 0


def test_least_squares_recovers_the_weights_as_often_as_predicted() -> None:
    rng, n, d, hits = np.random.default_rng(5), 22, 10, []
    for _ in range(1500):
        inputs, target = rng.standard_normal((n, d)), rng.standard_normal(d)
        labels = np.maximum(inputs @ target, 0)
        solution = np.linalg.lstsq(inputs[labels > 0], labels[labels > 0])[0]
        hits.append(np.allclose(solution, target, atol=1e-6))
    assert abs(z_score(np.array(hits, dtype=float), theory.recovery_probability(n, d))) < 4
