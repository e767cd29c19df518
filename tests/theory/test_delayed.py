"""Delayed gradients: the predicted rate against Monte Carlo in plain numpy, and the step that makes it least."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from random_vectors import sphere, thin

from relufit import theory

CASES: list[dict[str, Any]] = [{}, {"omega": 0.8, "workers": 2}, {"omega": 0.4, "workers": 2, "sum_omega": 0.5}]


def products(d: int, m: int, step: float, delay: int, iterations: int, **encoded: Any) -> np.ndarray:
    """Return E||h||^2 after 0, 1, ... steps, by the matrix of all products, which grows with time."""
    curvature = theory.contraction(d, m, 1.0, **encoded)  # 1 - 1 + A_q
    known = np.zeros((iterations + 1, iterations + 1))
    known[0, 0] = 1.0
    for t in range(iterations):
        s = max(0, t - delay)
        for j in range(t + 1):
            known[t + 1, j] = known[j, t + 1] = known[t, j] - step / 2 * known[s, j]
        known[t + 1, t + 1] = known[t, t] - step * known[t, s] + step**2 * curvature * known[s, s]
    return np.diag(known)


@pytest.mark.parametrize("share", [0.5, 1.0])
@pytest.mark.parametrize("delay", [1, 3])
@pytest.mark.parametrize("encoded", CASES, ids=str)
def test_steps_near_w_star_follow_the_products_of_errors(encoded: dict[str, Any], delay: int, share: float) -> None:
    rng, d, m, runs, iterations = np.random.default_rng(4), 20, 40, 4000, 30
    workers, step = encoded.get("workers", 1), share * theory.delayed_optimal_step(20, 40, delay, **encoded)
    target = sphere(rng, runs, d)
    errors = [sphere(rng, runs, d)]
    for t in range(iterations):
        before = errors[max(0, t - delay)]
        x = rng.standard_normal((runs, workers, m // workers, d))
        active = np.einsum("rkbd,rd->rkb", x, target) > 0
        gradients = np.einsum("rkb,rkbd->rkd", np.einsum("rkbd,rd->rkb", x, before) * active, x) / (m // workers)
        mean = np.mean(thin(rng, gradients, encoded.get("omega", 0.0)), axis=1)
        errors.append(errors[-1] - step * thin(rng, mean[:, None], encoded.get("sum_omega", 0.0))[:, 0])
    measured = np.array([np.mean(np.sum(h**2, axis=1)) for h in errors])
    np.testing.assert_allclose(measured, products(d, m, step, delay, iterations, **encoded), rtol=0.25)
    np.testing.assert_allclose(measured[:8], products(d, m, step, delay, 7, **encoded), rtol=0.04)


@pytest.mark.parametrize("share", [0.2, 1.0, 1.5])
@pytest.mark.parametrize("delay", [1, 2, 5])
@pytest.mark.parametrize(("d", "m"), [(20, 40), (100, 10), (50, 400)])
def test_the_rate_is_that_of_the_products_after_many_steps(d: int, m: int, delay: int, share: float) -> None:
    step = share * theory.delayed_optimal_step(d, m, delay)
    curve = products(d, m, step, delay, 400)
    assert np.isfinite(curve).all()
    rate = theory.delayed_rate(d, m, step, delay)
    assert math.log(curve[400] / curve[200]) / 200 == pytest.approx(math.log(rate), rel=0.05, abs=2e-3)


def test_without_a_delay_it_is_a_step_of_sgd() -> None:
    for encoded in CASES:
        assert theory.delayed_rate(50, 8, 0.1, 0, **encoded) == theory.contraction(50, 8, 0.1, **encoded)
        assert theory.delayed_optimal_step(50, 8, 0, **encoded) == theory.optimal_step(50, 8, **encoded)


@pytest.mark.parametrize("delay", [1, 4, 12])
@pytest.mark.parametrize(("d", "m"), [(20, 40), (1000, 8), (50, 400)])
def test_no_other_step_takes_off_more(d: int, m: int, delay: int) -> None:
    best = theory.delayed_optimal_step(d, m, delay)
    assert 0 < best <= theory.optimal_step(d, m)
    least = theory.delayed_rate(d, m, best, delay)
    for step in np.geomspace(best / 20, 3 * best, 60).tolist():
        assert least <= theory.delayed_rate(d, m, step, delay) + 1e-7
    assert least > theory.contraction(d, m, theory.optimal_step(d, m))


def test_a_delay_costs_little_where_steps_are_short_and_a_long_step_diverges() -> None:
    short = theory.optimal_step(10_000, 8)
    costs = math.log(theory.delayed_rate(10_000, 8, short, 8)) / math.log(theory.contraction(10_000, 8, short))
    assert costs == pytest.approx(1.0, abs=0.02)
    assert theory.delayed_rate(50, 400, theory.optimal_step(50, 400), 8) > 1


@pytest.mark.parametrize(("name", "values"), [("delay", {"delay": -1}), ("step", {"step": -1.0}), ("m", {"m": 0})])
def test_arguments_out_of_range_are_named(name: str, values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=name):
        theory.delayed_rate(**{"d": 50, "m": 8, "step": 0.1, "delay": 2, **values})
