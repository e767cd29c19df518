"""The predictions against Monte Carlo in plain numpy, other formulas of the same quantity, known numbers.

Statistical tests are seeded and pass if |z| < 4: a right prediction fails one with probability 6e-5.
"""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import special

from relufit import theory

Array = NDArray[np.float64]
dimensions = st.integers(1, 10**9)
level_counts = st.integers(1, 2**15 - 1)
reproducible = settings(deadline=None, derandomize=True)


def z_score(sample: Array, expected: float) -> float:
    return float((np.mean(sample) - expected) / (np.std(sample, ddof=1) / math.sqrt(len(sample))))


def sphere(rng: np.random.Generator, count: int, d: int) -> Array:
    points = rng.standard_normal((count, d))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return points


def thin(rng: np.random.Generator, vectors: Array, omega: float) -> Array:
    """Keep coordinates at random: the relative variance is omega for every vector, not on average."""
    return np.where(rng.random(vectors.shape) * (1 + omega) < 1, vectors * (1 + omega), 0.0)


def quantize(rng: np.random.Generator, vectors: Array, levels: int) -> Array:
    norms: Array = np.linalg.norm(vectors, axis=-1, keepdims=True)
    shares = np.abs(vectors) / np.where(norms > 0, norms, 1)
    return np.sign(vectors) * norms / levels * np.floor(shares * levels + rng.random(vectors.shape))


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


def active_gram(rng: np.random.Generator, n: int, d: int) -> tuple[Array, Array, Array, Array]:
    """Return active rows, the unit vector they are active for, eigenvalues and vectors of their Gram / n."""
    inputs, target = rng.standard_normal((n, d)), sphere(rng, 1, d)[0]
    rows = inputs[inputs @ target > 0]
    return rows, target, *np.linalg.eigh(rows.T @ rows / n)


# One step on fresh samples.


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
@given(d=dimensions, b=st.integers(1, 10**6), workers=st.integers(1, 1000), omega=st.floats(0, 1e5))
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


# Initial weights and recovery.


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
        found = np.linalg.lstsq(inputs[labels > 0], labels[labels > 0])[0]
        hits.append(np.allclose(found, target, atol=1e-6))
    assert abs(z_score(np.array(hits, dtype=float), theory.recovery_probability(n, d))) < 4


# The quantizer.


def variance_by_incomplete_beta(d: int, levels: int) -> float:
    """Sum the tails E(|u| - l/s)_+ in closed form: exact, but cancelling where the variance is small."""
    mean = special.beta(d / 2, 0.5) / np.pi
    t = np.arange(1, levels) / levels
    above = special.betaincc(0.5, (d - 1) / 2, t**2)
    excess = mean * np.exp((d - 1) / 2 * np.log1p(-(t**2))) - t * above
    return float(d / levels * mean - 1 + 2 * d / levels * np.sum(excess))


def variance_by_fourier_series(d: int, levels: int) -> float:
    """Sum the series of f(1-f) with the characteristic function of a coordinate, for d of 8 or more."""
    k = np.arange(1, 400)
    order, half = d / 2 - 1, np.pi * k * levels
    log_scale = special.gammaln(d / 2) - order * np.log(half)
    characteristic = np.exp(log_scale) * special.jv(order, 2 * half)
    return float(d / levels**2 * (1 / 6 - np.sum(characteristic / k**2) / np.pi**2))


@pytest.mark.parametrize(("d", "levels"), [(2, 1), (2, 5), (3, 2), (7, 1), (40, 3), (40, 13), (300, 1), (300, 8)])
def test_the_quantizer_has_the_predicted_variance_and_entropy(d: int, levels: int) -> None:
    rng = np.random.default_rng(6)
    points = sphere(rng, 400_000 // d, d)
    rounded = quantize(rng, points, levels)
    assert abs(z_score(np.sum((rounded - points) ** 2, axis=1), theory.qsgd_variance(d, levels))) < 4
    counts = np.unique(np.rint(rounded * levels), return_counts=True)[1]
    shares = counts / counts.sum()
    surprise = -np.log2(shares)
    entropy = np.sum(shares * surprise)
    # Coordinates of one point depend on each other: four standard errors for points, not for coordinates.
    slack = 4 * math.sqrt(np.sum(shares * (surprise - entropy) ** 2) / len(points)) + 1e-4
    assert theory.level_entropy(d, levels) == pytest.approx(entropy, abs=slack)


@pytest.mark.parametrize("d", [2, 3, 4, 5, 10, 63, 64, 1000, 10**5, 10**7])
@pytest.mark.parametrize("ratio", [0, 0.1, 0.4, 0.49, 0.51, 0.9, 1.4, 2.0, 3.0])
def test_the_variance_equals_its_closed_form(d: int, ratio: float) -> None:
    levels = max(1, round(ratio * math.sqrt(d)))
    assert theory.qsgd_variance(d, levels) == pytest.approx(variance_by_incomplete_beta(d, levels), rel=1e-8)


@pytest.mark.parametrize(("d", "levels"), [(8, 3), (8, 300), (20, 5), (30, 2), (60, 4), (100, 7), (200, 10)])
def test_the_variance_equals_its_fourier_series(d: int, levels: int) -> None:
    assert theory.qsgd_variance(d, levels) == pytest.approx(variance_by_fourier_series(d, levels), rel=1e-10)


@pytest.mark.parametrize("levels", [1, 2, 3, 10, 1000, 2**15 - 1])
def test_in_three_dimensions_a_coordinate_is_uniform(levels: int) -> None:
    assert theory.qsgd_variance(3, levels) == pytest.approx(1 / (2 * levels**2), rel=1e-11)
    # Zero and the outermost level collect half a cell each, the others a whole one, in two signs.
    half, cell = 1 / (2 * levels), 1 / levels
    entropy = half * math.log2(1 / half) + half * math.log2(2 / half) + (levels - 1) * cell * math.log2(2 / cell)
    assert theory.level_entropy(3, levels) == pytest.approx(entropy, rel=1e-11)


def test_the_variance_and_the_entropy_have_their_known_values() -> None:
    assert theory.qsgd_variance(2, 1) == pytest.approx(4 / math.pi - 1, rel=1e-11)
    for levels, variance, digit in (
        (1, 24.24, 0.01),
        (4, 5.31, 0.01),
        (16, 0.649, 0.001),
        (64, 0.041, 0.001),
    ):
        assert theory.qsgd_variance(1000, levels) == pytest.approx(variance, abs=digit / 2)
    entropies = [theory.level_entropy(1000, s) for s in (1, 4, 16, 64)]
    np.testing.assert_allclose(entropies, [0.195, 0.573, 1.425, 3.093], rtol=0, atol=5.1e-4)


@pytest.mark.parametrize("d", [10**4, 10**6, 10**9])
def test_the_variance_has_its_two_limits_in_high_dimension(d: int) -> None:
    few, many = max(1, round(0.02 * math.sqrt(d))), min(2**15 - 1, math.ceil(1.01 * math.sqrt(d)))
    assert theory.qsgd_variance(d, few) == pytest.approx(math.sqrt(2 / math.pi * d) / few - 1, rel=2 / d + 1e-9)
    assert theory.qsgd_variance(d, many) == pytest.approx(d / (6 * many**2), rel=1e-8)


@reproducible
@given(levels=level_counts)
def test_in_one_dimension_only_the_sign_is_random(levels: int) -> None:
    assert theory.qsgd_variance(1, levels) == 0
    assert theory.level_entropy(1, levels) == 1


@reproducible
@given(d=dimensions, levels=level_counts)
def test_the_variance_never_exceeds_its_bound(d: int, levels: int) -> None:
    assert 0 <= theory.qsgd_variance(d, levels) <= theory.qsgd_variance_bound(d, levels)


def test_the_bound_is_the_smaller_of_its_two_parts() -> None:
    assert theory.qsgd_variance_bound(1000, 64) == pytest.approx(1000 / 4096, rel=1e-15)
    assert theory.qsgd_variance_bound(100, 2) == pytest.approx(5, rel=1e-15)


@reproducible
@given(d=st.integers(2, 10**9), levels=st.integers(1, 2**14 - 1))
def test_halving_the_cells_lowers_the_variance_and_raises_the_entropy(d: int, levels: int) -> None:
    assert theory.qsgd_variance(d, 2 * levels) < theory.qsgd_variance(d, levels)
    assert theory.level_entropy(d, levels) < theory.level_entropy(d, 2 * levels) < math.log2(4 * levels + 1)


# Fixed data.


@pytest.mark.parametrize("ratio", [2.2, 3, 10, 50, 1e4])
def test_the_limiting_spectrum_has_the_moments_and_edges_of_marchenko_and_pastur(ratio: float) -> None:
    values, weights = theory.marchenko_pastur(ratio)
    g = 2 / ratio
    expected = {-1: 1 / (1 - g), 0: 1, 1: 1, 2: 1 + g, 3: 1 + 3 * g + g**2, 4: 1 + 6 * g + 6 * g**2 + g**3}
    for power, moment in expected.items():
        assert np.sum(weights * (2 * values) ** power) == pytest.approx(moment, rel=1e-9)
    low, high = (1 - math.sqrt(g)) ** 2 / 2, (1 + math.sqrt(g)) ** 2 / 2
    assert low < values[-1] < low + 1e-3
    assert high - 1e-3 < values[0] < high


def test_the_eigenvalues_of_active_rows_follow_the_limiting_spectrum() -> None:
    d, ratio = 300, 5
    sample = active_gram(np.random.default_rng(7), ratio * d, d)[2]
    values, weights = theory.marchenko_pastur(ratio)
    predicted = np.interp(sample, values[::-1], np.cumsum(weights[::-1]))
    # Eigenvalues repel: their distribution function is within a few 1/d, and n/2 fluctuates by 1/sqrt(n).
    assert np.max(np.abs(predicted - (np.arange(d) + 0.5) / d)) < 0.05


def test_the_error_of_the_initial_weights_lies_along_the_eigenvectors_as_predicted() -> None:
    rng, d, n, gaps = np.random.default_rng(8), 20, 80, []
    for _ in range(2000):
        rows, target, values, vectors = active_gram(rng, n, d)
        error = 2 / n * (rows @ target) @ rows - target
        measured = (vectors.T @ error) ** 2
        gaps.append(np.sum((measured - theory.initial_profile(values, np.full(d, 1 / d)))[: d // 4]))
    assert abs(z_score(np.array(gaps), 0)) < 4
    assert np.sum(theory.initial_profile(*theory.marchenko_pastur(7))) == pytest.approx(2 / 7, rel=1e-12)


@pytest.mark.parametrize(("omega", "workers"), [(0.0, 1), (2.0, 4)])
def test_sgd_with_replacement_follows_the_curve_of_its_own_spectrum(omega: float, workers: int) -> None:
    d, n, m, iterations = 60, 240, 12, 100
    step = theory.optimal_step(d, m, omega=omega, workers=workers)
    rng, ratios = np.random.default_rng(9), []
    for _ in range(100):
        rows, target, values, _ = active_gram(rng, n, d)
        samples, error = np.zeros((n, d)), 2 / n * (rows @ target) @ rows - target
        samples[: len(rows)] = rows
        for _ in range(iterations):
            batch = samples[rng.integers(0, n, (workers, m // workers))]
            gradients = np.mean(np.sum(batch * error, axis=2, keepdims=True) * batch, axis=1)
            error = error - step * np.mean(thin(rng, gradients, omega), axis=0)
        spectrum = values, np.full(d, 1 / d)
        curve = theory.fixed_data_curve(
            *spectrum,
            d,
            m,
            step,
            iterations,
            initial_error_squared=theory.initial_profile(*spectrum),
            omega=omega,
            workers=workers,
        )
        ratios.append(np.sum(error**2) / curve[-1])
    # The recursion leaves out about 2/d of the rate, which is less than the standard error here.
    assert abs(z_score(np.array(ratios), 1)) < 4
    assert np.std(ratios) / math.sqrt(len(ratios)) < 0.08


@pytest.mark.parametrize(("ratio", "expected"), [(3, -5.37), (4, -8.12), (6, -12.39), (10, -17.35), (50, -23.38)])
def test_the_error_after_500_steps_has_its_known_value(ratio: float, expected: float) -> None:
    curve = theory.fixed_data_curve(*theory.marchenko_pastur(ratio), 400, 40, 80 / 843, 500, initial_error_squared=1.0)
    assert math.log(curve[-1]) == pytest.approx(expected, abs=0.006)


@pytest.mark.parametrize(("levels", "expected"), [(None, 963), (1, 26347), (4, 6525), (16, 1644), (64, 1006)])
def test_the_iterations_to_an_accuracy_have_their_known_values(levels: int | None, expected: int) -> None:
    d, m, workers, ratio = 1000, 80, 8, 10
    omega = 0.0 if levels is None else theory.qsgd_variance(d, levels)
    curve = theory.fixed_data_curve(
        *theory.marchenko_pastur(ratio),
        d,
        m,
        theory.optimal_step(d, m, omega=omega, workers=workers),
        30_000 if levels == 1 else 7_000,
        initial_error_squared=theory.initial_error(ratio * d, d),
        omega=omega,
        workers=workers,
    )
    assert math.ceil(theory.iterations_to(curve, 1e-6)) == expected


@reproducible
@given(d=st.integers(10, 1000), b=st.integers(1, 50), workers=st.integers(1, 16), omega=st.floats(0, 20))
def test_with_unlimited_data_the_curve_falls_as_on_fresh_samples(d: int, b: int, workers: int, omega: float) -> None:
    m = b * workers
    step = 1.0 / (1 + d / m * (1 + omega))
    curve = theory.fixed_data_curve(
        [0.5], [1.0], d, m, step, 2, initial_error_squared=1.0, omega=omega, workers=workers
    )
    left_out = step**2 / m * (1 + omega)  # d for d + 2 in the second moment of a gradient
    factor = theory.contraction(d, m, step, omega=omega, workers=workers) - left_out
    np.testing.assert_allclose(curve, [1, factor, factor**2], rtol=1e-9)


def test_the_curve_is_linear_in_its_start_and_takes_it_by_node() -> None:
    spectrum = theory.marchenko_pastur(4, 50)
    slow, fast = np.zeros(50), np.zeros(50)
    slow[40:], fast[:40] = spectrum[1][40:], spectrum[1][:40]
    curves = [theory.fixed_data_curve(*spectrum, 100, 10, 0.05, 40, initial_error_squared=p) for p in (slow, fast, 1.0)]
    np.testing.assert_allclose(curves[0] + curves[1], curves[2], rtol=1e-12)
    assert curves[0][-1] / curves[0][0] > curves[1][-1] / curves[1][0]


def test_a_step_of_zero_keeps_the_error_and_no_iterations_leave_the_start() -> None:
    spectrum = theory.marchenko_pastur(4)
    np.testing.assert_allclose(
        theory.fixed_data_curve(*spectrum, 100, 10, 0.0, 5, initial_error_squared=0.3), 0.3, rtol=1e-14
    )
    assert theory.fixed_data_curve(*spectrum, 100, 10, 0.1, 0, initial_error_squared=0.3).shape == (1,)


def test_a_diverging_curve_ends_in_infinity_and_never_reaches_the_tolerance() -> None:
    curve = theory.fixed_data_curve(*theory.marchenko_pastur(4), 100, 10, 3.0, 3000, initial_error_squared=1.0)
    assert np.all(np.diff(curve[np.isfinite(curve)]) > 0)
    assert curve[-1] == np.inf
    assert math.isnan(theory.iterations_to(curve, 0.1))


@reproducible
@given(rate=st.floats(0.05, 0.999), tolerance=st.floats(1e-8, 0.9))
def test_a_geometric_curve_reaches_the_tolerance_where_its_logarithm_says(rate: float, tolerance: float) -> None:
    exact = 2 * math.log(tolerance) / math.log(rate)
    curve = rate ** np.arange(math.ceil(exact) + 2)
    assert theory.iterations_to(curve, tolerance) == pytest.approx(exact, rel=1e-6, abs=1e-6)


def test_the_first_iteration_at_the_tolerance_counts() -> None:
    assert theory.iterations_to([0.01, 0.0], 0.1) == 0
    assert theory.iterations_to([1.0, 1e-4, 1.0, 1e-8], 0.1) == pytest.approx(0.5)
    assert theory.iterations_to([1.0, 0.5, 0.0], 1e-3) == 2
    assert theory.iterations_to([math.inf, 1e-8], 1e-3) == 1
    assert math.isnan(theory.iterations_to([1.0, 0.5], 1e-3))


# Mistakes.

SPECTRUM = ([0.4, 0.6], [0.5, 0.5])


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("d", lambda: theory.critical_batch(0)),
        ("d", lambda: theory.optimal_step(2.5, 4)),  # type: ignore[arg-type]
        ("m", lambda: theory.stability_limit(2, 0)),
        ("workers", lambda: theory.optimal_step(2, 4, workers=5)),
        ("workers", lambda: theory.contraction(2, 4, 0.1, workers=0)),
        ("omega", lambda: theory.optimal_step(2, 4, omega=-0.1)),
        ("omega", lambda: theory.contraction(2, 4, 0.1, omega=math.nan)),
        ("step", lambda: theory.contraction(2, 4, -0.1)),
        ("step", lambda: theory.contraction(2, 4, math.inf)),
        ("n", lambda: theory.initial_error(0, 3)),
        ("n", lambda: theory.recovery_probability(-1, 3)),
        ("d", lambda: theory.recovery_probability(3, 0)),
        ("levels", lambda: theory.qsgd_variance(3, 0)),
        ("d", lambda: theory.qsgd_variance_bound(-3, 1)),
        ("levels", lambda: theory.level_entropy(3, math.nan)),  # type: ignore[arg-type]
        ("ratio", lambda: theory.marchenko_pastur(2.0)),
        ("nodes", lambda: theory.marchenko_pastur(3.0, 0)),
        ("eigenvalues", lambda: theory.initial_profile([-0.1, 0.6], [0.5, 0.5])),
        ("weights", lambda: theory.initial_profile([0.4, 0.6], [0.5, 0.6])),
        ("weights", lambda: theory.initial_profile([0.4, 0.6], [1.0])),
        ("iterations", lambda: theory.fixed_data_curve(*SPECTRUM, 2, 1, 0.1, -1, initial_error_squared=1.0)),
        (
            "initial_error_squared",
            lambda: theory.fixed_data_curve(*SPECTRUM, 2, 1, 0.1, 3, initial_error_squared=-1.0),
        ),
        (
            "initial_error_squared",
            lambda: theory.fixed_data_curve(*SPECTRUM, 2, 1, 0.1, 3, initial_error_squared=[1]),
        ),
        ("tolerance", lambda: theory.iterations_to([1.0], 0.0)),
        ("curve", lambda: theory.iterations_to([], 0.1)),
        ("curve", lambda: theory.iterations_to([1.0, math.nan], 0.1)),
    ],
)
def test_an_impossible_argument_is_named(argument: str, call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=rf"^{argument} "):
        call()


def test_importing_the_predictions_loads_neither_statistics_nor_compilers() -> None:
    code = "import sys, relufit.theory; sys.exit(any(name in sys.modules for name in ('scipy.stats', 'numba')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
