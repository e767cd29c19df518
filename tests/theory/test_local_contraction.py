"""Local steps: the predicted factor of an exchange against simulated ones, and the step that makes it least."""

from __future__ import annotations

import math

import numpy as np
import pytest
from random_vectors import thin, z_score

from relufit import theory

D, M, WORKERS = 60, 12, 3
CHOICES = {"exact": {}, "encoded": {"omega": 0.5}, "encoded twice": {"omega": 0.5, "sum_omega": 0.8}}


def simulated(exchanges: int, step: float, local_steps: int, omega: float = 0.0, sum_omega: float = 0.0) -> np.ndarray:
    """Squared errors after single exchanges from a random h of length 1, near w*."""
    draw, errors = np.random.default_rng(5), np.empty(exchanges)
    w_star = draw.standard_normal(D)
    for index in range(exchanges):
        h = draw.standard_normal(D)
        h /= np.linalg.norm(h)
        total = np.zeros(D)
        for _ in range(WORKERS):
            own = h.copy()
            for _ in range(local_steps):
                x = draw.standard_normal((M // WORKERS, D))
                x = x[x @ w_star > 0]
                own -= step * x.T @ (x @ own) / (M // WORKERS)
            total += thin(draw, h - own, omega) / WORKERS
        errors[index] = np.sum((h - thin(draw, total, sum_omega)) ** 2)
    return errors


@pytest.mark.parametrize("local_steps", [1, 2, 5])
@pytest.mark.parametrize("encoded", CHOICES.values(), ids=CHOICES)
def test_the_mean_of_an_exchange_is_the_predicted_factor(local_steps: int, encoded: dict[str, float]) -> None:
    step = theory.local_optimal_step(D, M, local_steps, workers=WORKERS, **encoded)
    errors = simulated(6000, step, local_steps, **encoded)
    expected = theory.local_contraction(D, M, step, local_steps, workers=WORKERS, **encoded)
    assert abs(z_score(errors, expected)) < 3.9


@pytest.mark.parametrize("encoded", CHOICES.values(), ids=CHOICES)
def test_one_local_step_is_a_step_of_sgd(encoded: dict[str, float]) -> None:
    step = theory.optimal_step(D, M, workers=WORKERS, **encoded)
    assert theory.local_optimal_step(D, M, 1, workers=WORKERS, **encoded) == step
    for factor in (0.3, 1.0, 1.7):
        assert theory.local_contraction(D, M, factor * step, 1, workers=WORKERS, **encoded) == pytest.approx(
            theory.contraction(D, M, factor * step, workers=WORKERS, **encoded), rel=1e-12
        )


def test_local_steps_of_a_single_exact_worker_are_steps_of_sgd() -> None:
    step = theory.optimal_step(D, M)
    assert theory.local_contraction(D, M, step, 7) == pytest.approx(theory.contraction(D, M, step) ** 7)
    assert theory.local_optimal_step(D, M, 7) == pytest.approx(step, rel=1e-5)


@pytest.mark.parametrize("encoded", CHOICES.values(), ids=CHOICES)
@pytest.mark.parametrize("local_steps", [2, 6, 40, 10_000])
@pytest.mark.parametrize(("d", "m", "workers"), [(1000, 80, 8), (400, 256, 4), (30, 600, 2), (1000, 8, 8)])
def test_no_other_step_takes_off_more(
    d: int, m: int, workers: int, local_steps: int, encoded: dict[str, float]
) -> None:
    best = theory.local_optimal_step(d, m, local_steps, workers=workers, **encoded)
    assert best > 0
    least = theory.local_contraction(d, m, best, local_steps, workers=workers, **encoded)
    longest = theory.stability_limit(d, m, workers=workers, **encoded)
    grid = [
        theory.local_contraction(d, m, step, local_steps, workers=workers, **encoded)
        for step in [*np.linspace(0, longest, 2001).tolist(), *np.geomspace(best / 30, 30 * best, 500).tolist()]
    ]
    assert least <= min(grid) + 1e-9


def test_arguments_out_of_range_are_named() -> None:
    for name, values in {
        "local_steps": {"local_steps": 0},
        "step": {"step": -1.0},
        "omega": {"omega": -1.0},
        "sum_omega": {"sum_omega": math.inf},
        "workers": {"workers": 13},
        "d must": {"d": 0},
    }.items():
        with pytest.raises(ValueError, match=name):
            theory.local_contraction(**{"d": D, "m": M, "step": 0.1, "local_steps": 2, **values})


def test_a_factor_beyond_the_range_of_floats_is_infinite() -> None:
    assert theory.local_contraction(D, M, 3.0, 10_000, workers=WORKERS) == math.inf
