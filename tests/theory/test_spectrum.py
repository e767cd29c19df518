"""Fixed data against Monte Carlo in plain numpy, random matrices, known numbers.

Statistical tests are seeded and pass if |z| < 4: a right prediction fails one with probability 6e-5.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_vectors import Array, reproducible, sphere, thin, z_score

from relufit import theory


def active_gram(rng: np.random.Generator, n: int, d: int) -> tuple[Array, Array, Array, Array]:
    """Return active rows, the unit vector they are active for, eigenvalues and vectors of their Gram / n."""
    inputs, target = rng.standard_normal((n, d)), sphere(rng, 1, d)[0]
    rows = inputs[inputs @ target > 0]
    return rows, target, *np.linalg.eigh(rows.T @ rows / n)


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


@pytest.mark.parametrize(("n", "d"), [(300, 12), (20, 15), (1, 1)])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_the_spectrum_of_a_data_set_is_its_own(n: int, d: int, kind: type) -> None:
    rng, target = np.random.default_rng(10), 3 * sphere(np.random.default_rng(11), 1, d)[0]
    x = rng.standard_normal((n, d)).astype(kind)
    wide = x.astype(np.float64)
    y = np.maximum(wide @ target, 0)
    values, weights, start = theory.instance_spectrum(x, y, target)
    assert values.shape == weights.shape == start.shape == (d,)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(wide[y > 0].T @ wide[y > 0] / n), atol=1e-13)
    assert np.all(values >= 0)
    np.testing.assert_array_equal(weights, 1 / d)
    error = 2 / n * y @ wide - target
    # Moments of the shares: h' H^k h needs no eigenvectors.
    gram = wide[y > 0].T @ wide[y > 0] / n
    for power in range(4):
        moment = error @ np.linalg.matrix_power(gram, power) @ error / (target @ target)
        assert np.sum(start * values**power) == pytest.approx(moment, rel=1e-10)
    if n > 2 * d:
        vectors = np.linalg.eigh(gram)[1]
        np.testing.assert_allclose(start, ((2 * values - 1) * (vectors.T @ target)) ** 2 / 9, rtol=1e-6, atol=1e-12)


def test_a_data_set_of_many_blocks_has_the_spectrum_of_their_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    rng, target = np.random.default_rng(12), sphere(np.random.default_rng(13), 1, 6)[0]
    x = rng.standard_normal((101, 6)).astype(np.float32)
    y = np.maximum(x @ target, 0) + 0.1 * rng.standard_normal(101)
    whole = theory.instance_spectrum(x, y, target)
    monkeypatch.setattr("relufit.theory.spectrum._BLOCK", 60)
    for one, many in zip(whole, theory.instance_spectrum(x, y, target), strict=True):
        np.testing.assert_allclose(many, one, rtol=1e-9)
    # With noise the start is that of the labels as they are.
    assert np.sum(whole[2]) == pytest.approx(np.sum((2 / 101 * y @ x - target) ** 2), rel=1e-6)


def test_over_data_sets_the_start_is_the_profile_of_its_spectrum() -> None:
    rng, d, n, gaps = np.random.default_rng(14), 20, 80, []
    for _ in range(1000):
        x, target = rng.standard_normal((n, d)), sphere(rng, 1, d)[0]
        values, weights, start = theory.instance_spectrum(x, np.maximum(x @ target, 0), target)
        gaps.append(np.sum((start - theory.initial_profile(values, weights))[: d // 4]))
    assert abs(z_score(np.array(gaps), 0)) < 4


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


def _plain(**until: float) -> np.ndarray:
    spectrum = theory.marchenko_pastur(4)
    return theory.fixed_data_curve(*spectrum, 100, 10, 0.05, 400, initial_error_squared=1.0, **until)


def _with_feedback(**until: float) -> np.ndarray:
    spectrum = theory.marchenko_pastur(4)
    return theory.feedback_curve(*spectrum, 100, 10, 0.05, 400, initial_error_squared=1.0, delta=0.5, **until)


def _from_anywhere(**until: float) -> np.ndarray:
    return theory.global_curve(100, 10, 0.05, 400, norm_squared=1.5, inner=0.2, **until)


@pytest.mark.parametrize("curve", [_plain, _with_feedback, _from_anywhere])
def test_a_curve_ends_with_the_first_error_at_most_that_asked_for(curve: Callable[..., np.ndarray]) -> None:
    whole = curve()
    for until in (0.1, whole[17], whole[0], 0.0):
        below = np.flatnonzero(whole <= until)
        due = whole[: below[0] + 1] if below.size else whole
        assert curve(until=until).tobytes() == due.tobytes()


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
