"""SGD from any start against Monte Carlo in plain numpy and quadrature over the plane of the two weights.

Statistical tests are seeded and pass if |z| < 4: a right prediction fails one with probability 6e-5.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_vectors import Array, reproducible, sphere, thin, z_score

from relufit import theory

NODES, WEIGHTS = np.polynomial.legendre.leggauss(40)


class Plane(NamedTuple):
    """Expectations at ``w = (1 + gap) w* + across e``, e perpendicular to w*, integrated in polar coordinates."""

    second: float
    along: float
    across: float
    fourth: float  # E[r^2 1{<w, x> > 0} |x_plane|^2]
    unseen: float  # E[r^2 1{<w, x> <= 0}]


def integrate(gap: float, across: float) -> Plane:
    norm, angle = math.hypot(1 + gap, across), math.atan2(across, 1 + gap)

    def rule(start: float, width: float) -> tuple[Array, Array]:
        return start + width * (NODES + 1) / 2, width * WEIGHTS / 2 / (2 * math.pi)

    # Where both are active the residual is <h, x>, where w alone is, <w, x> = norm sin(offset).
    both, both_weights = rule(angle - math.pi / 2, math.pi - angle)
    offset, alone_weights = rule(0.0, angle)
    places = np.append(both, math.pi / 2 + angle - offset)
    residual = np.append(gap * np.cos(both) + across * np.sin(both), norm * np.sin(offset))
    weights = np.append(both_weights, alone_weights)
    # The mean of the radius squared is 2, that of its fourth power 8.
    square = float(weights @ residual**2)
    return Plane(
        second=2 * square,
        along=2 * float(weights @ (residual * np.cos(places))),
        across=2 * float(weights @ (residual * np.sin(places))),
        fourth=8 * square,
        unseen=2 * float(alone_weights @ np.sin(offset) ** 2),
    )


def curve_by_quadrature(
    d: int, m: int, step: float, iterations: int, gap: float, across: float, omega: float = 0.0, workers: int = 1
) -> Array:
    """Follow the recursion of the two coordinates with expectations by quadrature."""
    errors, b = [], m // workers
    for _ in range(iterations + 1):
        errors.append(gap**2 + across**2)
        at = integrate(gap, across)
        sample, batch = (d - 2) * at.second + at.fourth, at.along**2 + at.across**2
        noise = sample / m - batch / m + omega / workers * (sample / b + (1 - 1 / b) * batch)
        gap, across = gap - step * at.along, math.sqrt((across - step * at.across) ** 2 + step**2 * noise)
    return np.array(errors)


STARTS = [(0.0, 0.5), (1.5, 0.3), (-1.4, 0.8), (-2.5, 0.01), (-1.01, 0.02), (-1.0, 1.0), (-2.0, 1e-9), (9.0, 0.0)]


@pytest.mark.parametrize(("gap", "across"), STARTS)
@pytest.mark.parametrize(("omega", "workers"), [(0.0, 1), (3.0, 5)])
def test_the_curve_is_that_of_expectations_by_quadrature(gap: float, across: float, omega: float, workers: int) -> None:
    d, m = 60, 20
    step, iterations = theory.optimal_step(d, m, omega=omega, workers=workers), 1500 if omega else 500
    curve = theory.global_curve(
        d, m, step, iterations, norm_squared=(1 + gap) ** 2 + across**2, inner=1 + gap, omega=omega, workers=workers
    )
    expected = curve_by_quadrature(d, m, step, iterations, gap, across, omega, workers)
    assert curve[-1] < 1e-22
    np.testing.assert_allclose(curve, expected, rtol=1e-9)


@pytest.mark.parametrize(("norm_squared", "inner"), [(1.7, -0.4), (0.3, 0.5), (1.3, 1.0), (2.0, -1.414), (1e-6, 0.0)])
@pytest.mark.parametrize(("omega", "workers"), [(0.0, 1), (1.0, 3)])
def test_one_step_from_anywhere_leaves_the_predicted_error(
    norm_squared: float, inner: float, omega: float, workers: int
) -> None:
    rng, d, m, step, runs = np.random.default_rng(1), 5, 6, 0.6, 60_000
    target, start = np.zeros(d), np.zeros(d)
    target[0] = 1
    start[:2] = inner, math.sqrt(norm_squared - inner**2)
    x = rng.standard_normal((runs, workers, m // workers, d))
    active = x @ start
    residuals = (np.maximum(active, 0) - np.maximum(x[..., 0], 0)) * (active > 0)
    gradients = np.mean(residuals[..., None] * x, axis=2)
    after = start - step * np.mean(thin(rng, gradients, omega), axis=1)
    arguments = {"norm_squared": norm_squared, "inner": inner, "omega": omega, "workers": workers}
    curve = theory.global_curve(d, m, step, 1, **arguments)  # type: ignore[arg-type]
    assert curve[0] == pytest.approx(np.sum((start - target) ** 2), rel=1e-12)
    assert abs(z_score(np.sum((after - target) ** 2, axis=1), curve[1])) < 4


@pytest.mark.parametrize(("omega", "workers"), [(0.0, 1), (2.0, 4)])
def test_runs_in_high_dimension_stay_near_the_curve(omega: float, workers: int) -> None:
    rng, d, n, m, runs = np.random.default_rng(2), 300, 600, 24, 12
    step = theory.optimal_step(d, m, omega=omega, workers=workers)
    iterations = round(6 / step)
    target = sphere(rng, runs, d)
    x = rng.standard_normal((runs, n, d), dtype=np.float32)
    weights = 2 / n * np.einsum("rn,rnd->rd", np.maximum(np.einsum("rnd,rd->rn", x, target), 0), x)
    norm_squared, inner = theory.initial_moments(n, d)
    errors = [np.sum((weights - target) ** 2, axis=1)]
    for _ in range(iterations):
        x = rng.standard_normal((runs, m, d), dtype=np.float32)
        active, labels = (x @ weights[..., None])[..., 0], np.maximum((x @ target[..., None])[..., 0], 0)
        rows = ((np.maximum(active, 0) - labels) * (active > 0))[..., None] * x
        gradients = rows.reshape(runs, workers, m // workers, d).mean(axis=2)
        weights = weights - step * thin(rng, gradients, omega).mean(axis=1)
        errors.append(np.sum((weights - target) ** 2, axis=1))
    curve = theory.global_curve(
        d, m, step, iterations, norm_squared=norm_squared, inner=inner, omega=omega, workers=workers
    )
    mean = np.mean(errors, axis=1)
    assert curve[-1] < 0.1 * curve[0]
    # Twelve runs' mean has a standard error of 2 to 6%, and the recursion leaves out terms of order 1/d.
    assert np.max(np.abs(np.log(mean / curve))) < 0.25
    assert np.mean(np.abs(np.log(mean / curve))) < 0.12


@reproducible
@given(d=st.integers(1, 10**6), b=st.integers(1, 100), workers=st.integers(1, 10), omega=st.floats(0, 10))
def test_near_the_solution_the_error_contracts_as_there(d: int, b: int, workers: int, omega: float) -> None:
    m = b * workers
    step = theory.optimal_step(d, m, omega=omega, workers=workers)
    # Exact in floats: 1 + 2^-50 is ||w||^2 for a perpendicular part of 2^-25, and the error is 2^-50.
    curve = theory.global_curve(d, m, step, 50, norm_squared=1 + 2**-50, inner=1.0, omega=omega, workers=workers)
    factor = theory.contraction(d, m, step, omega=omega, workers=workers)
    np.testing.assert_allclose(curve, 2**-50 * factor ** np.arange(51), rtol=1e-5)


def test_the_rate_of_the_solution_is_reached_to_rounding() -> None:
    d, m, workers, omega = 100, 12, 3, 0.8
    step = theory.optimal_step(d, m, omega=omega, workers=workers)
    curve = theory.global_curve(d, m, step, 4000, norm_squared=2.0, inner=-0.5, omega=omega, workers=workers)
    small = curve[(curve < 1e-28) & (curve > 1e-100)]
    assert len(small) > 100
    factor = theory.contraction(d, m, step, omega=omega, workers=workers)
    np.testing.assert_allclose(small[1:] / small[:-1], factor, rtol=1e-13)


@reproducible
@given(gap=st.floats(-5, 5), across=st.floats(0, 5))
def test_the_loss_is_its_integral_over_the_plane(gap: float, across: float) -> None:
    if math.hypot(1 + gap, across) < 1e-6:
        return
    at = integrate(gap, across)
    loss = theory.population_loss((1 + gap) ** 2 + across**2, 1 + gap)
    # What is given to the function is the squared norm, rounded.
    assert loss == pytest.approx((at.second + at.unseen) / 2, rel=1e-9, abs=1e-15 * (1 + gap**2 + across**2))


@pytest.mark.parametrize("power", [4, 10, 16, 22, 25])
def test_near_the_solution_the_loss_keeps_its_digits(power: int) -> None:
    # (1 + gap)^2 + across^2 has no rounding: all of its bits are above 2^-52.
    gap, square = 2.0**-power, 2.0 ** -(2 * power)
    at = integrate(gap, math.sqrt(square))
    loss = theory.population_loss(1 + 2 * gap + gap**2 + square, 1 + gap)
    assert loss == pytest.approx((at.second + at.unseen) / 2, rel=1e-12)
    assert loss == pytest.approx((gap**2 + square) / 4, rel=2 * gap)


def test_the_loss_has_its_known_values() -> None:
    assert theory.population_loss(1.0, 1.0) == 0
    assert theory.population_loss(0.0, 0.0) == 0.25
    assert theory.population_loss(1.0, -1.0) == pytest.approx(0.5, rel=1e-14)
    assert theory.population_loss(4.0, 2.0) == pytest.approx(0.25, rel=1e-14)
    # Perpendicular: E max(0, u) max(0, v) = 1 / (2 pi).
    assert theory.population_loss(1.0, 0.0) == pytest.approx(0.5 - 1 / (2 * math.pi), rel=1e-14)
    for small in (1e-3, 1e-8, 1e-150):
        assert theory.population_loss(small**2, -small) == pytest.approx((1 + small**2) / 4, rel=1e-14)
        assert theory.population_loss(small**2, small) == pytest.approx((1 - small) ** 2 / 4, rel=1e-14)


def test_weights_of_zero_do_not_move_and_those_beside_it_do() -> None:
    np.testing.assert_array_equal(theory.global_curve(50, 10, 0.1, 5, norm_squared=0.0, inner=0.0), 1)
    for inner in (-1e-9, 0.0, 1e-9):
        curve = theory.global_curve(50, 10, theory.optimal_step(50, 10), 1500, norm_squared=1e-18, inner=inner)
        assert curve[-1] < 1e-20


def test_opposite_weights_shrink_before_they_turn() -> None:
    # On that side only <w, x> is fitted, to zero: the gradient is w / 2, its sample (d + 2) ||w||^2 / 2 in square.
    d, m, step = 1000, 100, 0.1
    norms = 4 * (1 - step + step**2 * ((d + 2) / (2 * m) + (1 - 1 / m) / 4))
    inner = -2 * (1 - step / 2)
    curve = theory.global_curve(d, m, step, 1, norm_squared=4.0, inner=-2.0)
    np.testing.assert_allclose(curve, [9, norms - 2 * inner + 1], rtol=1e-14)


def test_a_diverging_curve_ends_in_infinity() -> None:
    curve = theory.global_curve(10, 2, 3.0, 3000, norm_squared=1.5, inner=1.0)
    finite = curve[np.isfinite(curve)]
    assert np.all(np.diff(finite) > 0)
    assert curve[-1] == np.inf
    assert np.all(curve[len(finite) :] == np.inf)


def test_no_iterations_leave_the_start_and_a_step_of_zero_keeps_it() -> None:
    assert theory.global_curve(10, 2, 0.1, 0, norm_squared=1.5, inner=1.0) == pytest.approx([0.5], rel=1e-15)
    np.testing.assert_allclose(theory.global_curve(10, 2, 0.0, 4, norm_squared=1.5, inner=1.0), 0.5, rtol=1e-15)


@pytest.mark.parametrize(("n", "d"), [(60, 20), (10, 20), (200, 3)])
def test_the_initial_weights_have_the_predicted_moments(n: int, d: int) -> None:
    rng, norms, inners = np.random.default_rng(3), [], []
    for _ in range(3000):
        x, target = rng.standard_normal((n, d)), sphere(rng, 1, d)[0]
        start = 2 / n * np.maximum(x @ target, 0) @ x
        norms.append(start @ start)
        inners.append(start @ target)
    norm_squared, inner = theory.initial_moments(n, d)
    assert abs(z_score(np.array(norms), norm_squared)) < 4
    assert abs(z_score(np.array(inners), inner)) < 4
    assert norm_squared - 2 * inner + 1 == pytest.approx(theory.initial_error(n, d), rel=1e-12)
