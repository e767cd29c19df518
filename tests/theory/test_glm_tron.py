"""GLM-tron far from w* against Monte Carlo in plain numpy, and against the rate near w*."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from random_vectors import sphere, thin

from relufit import theory

CASES: list[dict[str, Any]] = [{}, {"omega": 0.8, "workers": 2}, {"omega": 0.4, "workers": 2, "sum_omega": 0.5}]
STARTS = {"zero": (1.0, -1.0), "across w*": (0.2, 0.0), "the other way": (4.0, -2.0)}


def start_at(rng: np.random.Generator, target: np.ndarray, square: float, along: float) -> np.ndarray:
    direction = sphere(rng, *target.shape)
    direction -= np.sum(direction * target, axis=1, keepdims=True) * target
    direction *= math.sqrt(max(0.0, square - along**2)) / np.linalg.norm(direction, axis=1, keepdims=True)
    started: np.ndarray = (1 + along) * target + direction
    return started


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("encoded", CASES, ids=str)
def test_the_error_follows_the_curve_from_anywhere(encoded: dict[str, Any], start: str) -> None:
    rng, d, m, runs, iterations = np.random.default_rng(2), 50, 10, 600, 50
    (square, along), workers = STARTS[start], encoded.get("workers", 1)
    step = theory.optimal_step(d, m, **encoded)
    target = sphere(rng, runs, d)
    weights, measured = start_at(rng, target, square, along), []
    for _ in range(iterations + 1):
        measured.append(float(np.mean(np.sum((weights - target) ** 2, axis=1))))
        x = rng.standard_normal((runs, workers, m // workers, d))
        residuals = np.maximum(np.einsum("rkbd,rd->rkb", x, weights), 0)
        residuals -= np.maximum(np.einsum("rkbd,rd->rkb", x, target), 0)
        gradients = np.einsum("rkb,rkbd->rkd", residuals, x) / (m // workers)
        mean = np.mean(thin(rng, gradients, encoded.get("omega", 0.0)), axis=1)
        weights = weights - step * thin(rng, mean[:, None], encoded.get("sum_omega", 0.0))[:, 0]
    curve = theory.glm_tron_curve(d, m, step, iterations, initial_error_squared=square, along=along, **encoded)
    np.testing.assert_allclose(measured, curve, rtol=0.06)


@pytest.mark.parametrize("encoded", CASES, ids=str)
def test_near_w_star_and_along_it_a_step_is_one_of_sgd(encoded: dict[str, Any]) -> None:
    d, m, step = 50, 10, 0.1
    factor = theory.contraction(d, m, step, **encoded)
    for square, along in ((1e-16, 0.0), (1e-16, 1e-8), (1.0, -1.0), (0.25, -0.5), (9.0, 3.0)):
        curve = theory.glm_tron_curve(d, m, step, 1, initial_error_squared=square, along=along, **encoded)
        assert curve[1] / curve[0] == pytest.approx(factor, rel=1e-6)
    # Across w* rows that are active on one side alone have smaller residuals than those on both.
    away = theory.glm_tron_curve(d, m, step, 1, initial_error_squared=0.2, **encoded)
    assert away[1] / away[0] < factor


@pytest.mark.parametrize(("d", "m", "step", "along"), [(50, 10, 5.0, 0.0), (1, 1, 50.0, -0.7)])
def test_a_curve_that_diverges_ends_in_infinity(d: int, m: int, step: float, along: float) -> None:
    curve = theory.glm_tron_curve(d, m, step, 3000, initial_error_squared=1.0, along=along)
    finite = np.isfinite(curve)
    assert np.all(curve[~finite] == np.inf)
    assert np.all(np.diff(curve[finite]) > 0)
    assert not finite[-1]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("step", {"step": -0.1}),
        ("iterations", {"iterations": -1}),
        ("initial_error_squared", {"initial_error_squared": -1.0}),
        ("along", {"along": 2.0}),
        ("along", {"along": math.nan}),
        ("workers", {"workers": 11}),
    ],
)
def test_arguments_out_of_range_are_named(name: str, values: dict[str, Any]) -> None:
    given = {"d": 50, "m": 10, "step": 0.1, "iterations": 3, "initial_error_squared": 1.0, **values}
    with pytest.raises(ValueError, match=name):
        theory.glm_tron_curve(**given)
