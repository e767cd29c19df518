"""Gradient descent on fixed data against runs in plain numpy, other formulas of the same quantity, known numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_vectors import reproducible, sphere
from scipy import optimize

from relufit import theory

ratios = st.floats(2.01, 1e4)


@reproducible
@given(ratio=ratios, step=st.floats(0, 5))
def test_the_factor_is_that_of_the_slowest_direction(ratio: float, step: float) -> None:
    values, _ = theory.marchenko_pastur(ratio, 4000)
    assert theory.descent_factor(ratio, step) == pytest.approx(np.max(np.abs(1 - step * values)), abs=1e-5)


@reproducible
@given(ratio=ratios, other=st.floats(0, 5))
def test_no_step_has_a_lower_factor_than_the_optimal_one(ratio: float, other: float) -> None:
    best, g = theory.descent_factor(ratio, theory.descent_optimal_step(ratio)), 2 / ratio
    assert best == pytest.approx(2 * math.sqrt(g) / (1 + g), rel=1e-12)
    assert best <= theory.descent_factor(ratio, other) * (1 + 1e-12)


def test_a_run_follows_the_curve_of_its_own_spectrum_to_the_end() -> None:
    rng, n, d, step = np.random.default_rng(1), 150, 30, 1.2
    x, target = rng.standard_normal((n, d)), sphere(rng, 1, d)[0]
    y = np.maximum(x @ target, 0)
    # From so near that no row changes its side, along all directions.
    start = target + 1e-5 * sphere(rng, 1, d)[0]
    values, vectors = np.linalg.eigh(x[y > 0].T @ x[y > 0] / n)
    along = (vectors.T @ (start - target)) ** 2
    weights, errors = start.copy(), []
    for _ in range(61):
        errors.append(np.sum((weights - target) ** 2))
        active = x @ weights
        weights = weights - step / n * ((np.maximum(active, 0) - y) * (active > 0)) @ x
    curve = theory.descent_curve(values, np.full(d, 1 / d), step, 60, initial_error_squared=along)
    assert curve[-1] < 1e-7 * curve[0]
    np.testing.assert_allclose(curve, errors, rtol=1e-6)


@pytest.mark.parametrize("iterations", [0, 1, 2, 3, 8, 9, 10, 99, 100])
def test_the_curve_has_every_iteration_and_is_that_of_sgd_with_an_endless_batch(iterations: int) -> None:
    spectrum = theory.marchenko_pastur(5, 60)
    for start in (0.3, theory.initial_profile(*spectrum)):
        curve = theory.descent_curve(*spectrum, 0.9, iterations, initial_error_squared=start)
        endless = theory.fixed_data_curve(*spectrum, 50, 10**18, 0.9, iterations, initial_error_squared=start)
        np.testing.assert_allclose(curve, endless, rtol=1e-10)


def test_the_last_factors_of_a_long_curve_are_the_predicted_one() -> None:
    spectrum = theory.marchenko_pastur(4, 3)
    step = 0.7
    curve = theory.descent_curve(*spectrum, step, 400, initial_error_squared=1.0)
    slowest = np.max((1 - step * spectrum[0]) ** 2)
    assert curve[-1] / curve[-2] == pytest.approx(slowest, rel=1e-12)
    assert curve[-1] == pytest.approx(spectrum[1][-1] * slowest**400, rel=1e-9)


def test_a_diverging_direction_counts_only_if_there_is_an_error_along_it() -> None:
    shares = [0.5, 0.5]
    curve = theory.descent_curve([2.0, 0.2], shares, 1.5, 3000, initial_error_squared=[0.0, 1.0])
    np.testing.assert_allclose(curve, 0.49 ** np.arange(3001), rtol=1e-9, atol=1e-300)
    diverging = theory.descent_curve([2.0, 0.2], shares, 1.5, 3000, initial_error_squared=1.0)
    assert diverging[1] == pytest.approx(0.5 * 4 + 0.5 * 0.49)
    assert diverging[-1] == np.inf
    assert not np.isnan(diverging).any()


@reproducible
@given(
    start=st.floats(0.01, 10), accuracy=st.floats(1e-9, 0.9), step=st.floats(0.01, 3.9), budget=st.integers(1, 10**6)
)
def test_the_ratio_is_where_the_budget_just_suffices(start: float, accuracy: float, step: float, budget: int) -> None:
    ratio = theory.recovery_ratio(start, start * accuracy, step, budget)
    if ratio < 1e12:
        assert theory.descent_factor(ratio, step) == pytest.approx(accuracy ** (1 / budget), rel=1e-6)
        assert theory.descent_factor(ratio * 1.01, step) < theory.descent_factor(ratio, step)
    elif math.isinf(ratio):
        assert theory.descent_factor(1e12, step) > accuracy ** (1 / budget)


def test_the_ratio_falls_to_two_as_the_budget_grows() -> None:
    recovery_ratios = [theory.recovery_ratio(1.0, 1e-6, 1.0, 10**k) for k in range(2, 12)]
    assert np.all(np.diff(recovery_ratios) < 0)
    assert 2 < recovery_ratios[-1] < 2.0001
    # For a large budget, lambda_min >= ln(start / tolerance) / (step iterations).
    least = math.log(1e6) / 1e8
    assert recovery_ratios[6] == pytest.approx(2 / (1 - math.sqrt(2 * least)) ** 2, rel=1e-9)
    assert theory.recovery_ratio(1.0, 1e-6, 0.5, 10) == math.inf
    assert theory.recovery_ratio(1.0, 1e-6, 4.1, 10**6) == math.inf


def crossing_of_the_curve(tolerance: float, budget: int) -> float:
    """Return the ratio at which the curve of the limiting spectrum ends at the tolerance, at a step of 1."""

    def excess(ratio: float) -> float:
        spectrum = theory.marchenko_pastur(ratio, 4000)
        profile = theory.initial_profile(*spectrum)
        return math.log(theory.descent_curve(*spectrum, 1.0, budget, initial_error_squared=profile)[-1] / tolerance**2)

    return float(optimize.brentq(excess, 2.01, 3, xtol=1e-3))


@pytest.mark.parametrize(("tolerance", "simple", "curved"), [(1e-3, 2.26, 2.17), (1e-6, 2.38, 2.31)])
def test_the_ratio_is_somewhat_above_that_of_the_whole_curve(tolerance: float, simple: float, curved: float) -> None:
    assert theory.recovery_ratio(1.0, tolerance, 1.0, 4000) == pytest.approx(simple, abs=0.005)
    assert crossing_of_the_curve(tolerance, 4000) == pytest.approx(curved, abs=0.006)


def test_descent_succeeds_half_of_the_time_at_the_ratio_of_the_curve_and_mostly_at_the_simple_one() -> None:
    rng, d, runs, budget, tolerance = np.random.default_rng(2), 40, 60, 400, 1e-2
    curved = crossing_of_the_curve(tolerance, budget)
    rates = []
    for ratio in (curved - 0.4, curved, theory.recovery_ratio(1.0, tolerance, 1.0, budget)):
        n, hits = round(ratio * d), 0
        for _ in range(runs):
            x, target = rng.standard_normal((n, d)), sphere(rng, 1, d)[0]
            y = np.maximum(x @ target, 0)
            weights = 2 / n * y @ x
            for _ in range(budget):
                active = x @ weights
                weights -= 1 / n * ((np.maximum(active, 0) - y) * (active > 0)) @ x
            hits += np.linalg.norm(weights - target) <= tolerance
        rates.append(hits / runs)
    # Within four standard errors of rates of 0.1, 0.5 and 0.87, which 200 other runs had.
    assert rates[0] < 0.26
    assert 0.24 < rates[1] < 0.76
    assert rates[2] > 0.69
    # It is the budget that fails: as many samples determine the weights more often than not.
    assert theory.recovery_probability(round((curved - 0.4) * d), d) > 0.5
