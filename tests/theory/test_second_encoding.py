"""A second encoding, of the average of the decoded gradients: predictions with `sum_omega` against simulated steps."""

from __future__ import annotations

import math

import numpy as np
import pytest

from relufit import theory

D, M, WORKERS, OMEGA, SUM_OMEGA = 60, 12, 3, 0.5, 0.8


def noisy(v: np.ndarray, omega: float, draw: np.random.Generator) -> np.ndarray:
    """An unbiased encoding with the relative variance omega, even over all directions."""
    return v + math.sqrt(omega / v.size) * np.linalg.norm(v) * draw.standard_normal(v.size)


def simulated(steps: int, step: float, *, label_noise: float = 0.0) -> np.ndarray:
    """Squared errors after single steps from a random h of length 1 (0 with label noise), near w*."""
    draw, errors = np.random.default_rng(5), np.empty(steps)
    w_star = draw.standard_normal(D)
    for index in range(steps):
        h = draw.standard_normal(D) * (label_noise == 0)
        h /= np.linalg.norm(h) or 1.0
        total = np.zeros(D)
        for _ in range(WORKERS):
            x = draw.standard_normal((M // WORKERS, D))
            x = x[x @ w_star > 0]
            residual = x @ h - label_noise * draw.standard_normal(len(x))
            total += noisy(x.T @ residual / (M // WORKERS), OMEGA, draw) / WORKERS
        errors[index] = np.sum((h - step * noisy(total, SUM_OMEGA, draw)) ** 2)
    return errors


def test_the_mean_of_a_step_is_the_contraction() -> None:
    step = theory.optimal_step(D, M, omega=OMEGA, workers=WORKERS, sum_omega=SUM_OMEGA)
    errors = simulated(20_000, step)
    expected = theory.contraction(D, M, step, omega=OMEGA, workers=WORKERS, sum_omega=SUM_OMEGA)
    # At a level of .01 % of a correct prediction.
    assert abs(errors.mean() - expected) < 3.9 * errors.std() / math.sqrt(errors.size)
    assert expected == pytest.approx(1 - step / 2)
    logarithm = theory.log_contraction(D, M, step, omega=OMEGA, workers=WORKERS, sum_omega=SUM_OMEGA)
    assert np.log(errors).mean() == pytest.approx(logarithm, rel=0.08)


def test_label_noise_adds_what_it_adds_through_both_encodings() -> None:
    step, std = 0.05, 0.3
    errors = simulated(4000, step, label_noise=std)
    curve = theory.label_noise_curve(
        D, M, step, std, 1, initial_error_squared=0.0, omega=OMEGA, workers=WORKERS, sum_omega=SUM_OMEGA
    )
    assert abs(errors.mean() - curve[1]) < 3.9 * errors.std() / math.sqrt(errors.size)


def test_curves_on_much_data_and_near_the_solution_fall_by_the_contraction() -> None:
    chosen = {"omega": OMEGA, "workers": WORKERS, "sum_omega": SUM_OMEGA}
    step = theory.optimal_step(D, M, **chosen)
    expected = theory.contraction(D, M, step, **chosen)
    eigenvalues, weights = theory.marchenko_pastur(1e6)
    curve = theory.fixed_data_curve(eigenvalues, weights, D, M, step, 50, initial_error_squared=1.0, **chosen)
    # About 2/d of the rate is left out on fixed data.
    assert math.log(curve[50]) / 50 == pytest.approx(math.log(expected), rel=3 / D)
    near = theory.global_curve(D, M, step, 50, norm_squared=1 + 1e-12, inner=1.0, **chosen)
    assert near[50] / near[0] == pytest.approx(expected**50, rel=1e-5)


def test_iterations_follow_the_curve_and_the_rate() -> None:
    chosen = {"omega": OMEGA, "workers": WORKERS, "sum_omega": SUM_OMEGA}
    step = theory.optimal_step(D, M, **chosen)
    eigenvalues, weights = theory.marchenko_pastur(10)
    start = theory.initial_profile(eigenvalues, weights)
    start *= theory.initial_error(10 * D, D) / start.sum()
    curve = theory.fixed_data_curve(eigenvalues, weights, D, M, step, 8000, initial_error_squared=start, **chosen)
    assert theory.iterations_fixed(D, M, 10, 1e-4, **chosen) == pytest.approx(
        theory.iterations_to(curve, 1e-4), rel=1e-6
    )
    fresh = theory.iterations_fresh(D, M, 1.0, 1e-3, **chosen)
    assert fresh == pytest.approx(-2 * math.log(1e3) / math.log(theory.contraction(D, M, step, **chosen)))
    saved = theory.saving(D, M, 2.0, omega=OMEGA, workers=WORKERS, sum_omega=SUM_OMEGA)
    slower = fresh / theory.iterations_fresh(D, M, 1.0, 1e-3, workers=WORKERS)
    assert saved == pytest.approx(32 / 2 / slower)


def test_without_a_second_encoding_all_is_as_before() -> None:
    for function in (theory.optimal_step, theory.stability_limit):
        assert function(D, M, omega=OMEGA, workers=WORKERS, sum_omega=0) == function(D, M, omega=OMEGA, workers=WORKERS)
    with pytest.raises(ValueError, match="sum_omega must be finite and at least 0"):
        theory.contraction(D, M, 0.1, sum_omega=-1)
