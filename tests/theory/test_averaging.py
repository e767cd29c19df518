"""The mean of the weights under label noise against Monte Carlo in plain numpy, and against sums written out.

Statistical tests are seeded and pass if |z| < 4: a right prediction fails one with probability 6e-5.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from random_vectors import sphere, thin, z_score

from relufit import theory

CASES: list[dict[str, Any]] = [
    {"workers": 1},
    {"omega": 1.5, "workers": 4},
    {"omega": 0.6, "workers": 2, "sum_omega": 0.5},
]


@pytest.mark.parametrize("average_from", [0, 40])
@pytest.mark.parametrize("encoded", CASES)
def test_the_mean_of_the_weights_follows_the_curve(encoded: dict[str, Any], average_from: int) -> None:
    rng, d, m, noise_std, runs, iterations = np.random.default_rng(1), 15, 8, 1e-4, 800, 160
    workers, step = encoded["workers"], 0.8 * theory.optimal_step(15, 8, **encoded)
    target, errors = sphere(rng, runs, d), {}
    weights, total = target + 1e-3 * sphere(rng, runs, d), np.zeros((runs, d))
    for t in range(iterations + 1):
        if t >= average_from:
            total += weights - target
        if t in (average_from, 60, 110, iterations):
            errors[t] = np.sum((total / max(1, t - average_from + 1)) ** 2, axis=1)
        x = rng.standard_normal((runs, workers, m // workers, d))
        active = np.einsum("rkbd,rd->rkb", x, weights)
        labels = np.maximum(np.einsum("rkbd,rd->rkb", x, target), 0) + noise_std * rng.standard_normal(active.shape)
        gradients = np.einsum("rkb,rkbd->rkd", (np.maximum(active, 0) - labels) * (active > 0), x) / (m // workers)
        mean = np.mean(thin(rng, gradients, encoded.get("omega", 0.0)), axis=1)
        weights = weights - step * thin(rng, mean[:, None], encoded.get("sum_omega", 0.0))[:, 0]
    curve = theory.averaged_noise_curve(
        d, m, step, noise_std, iterations, initial_error_squared=1e-6, average_from=average_from, **encoded
    )
    assert np.isnan(curve[:average_from]).all()
    for t, sample in errors.items():
        if t:  # at first all are alike
            assert abs(z_score(sample, curve[t])) < 4, t


@pytest.mark.parametrize("encoded", CASES)
@pytest.mark.parametrize("share", [0.1, 1.0, 1.7])
def test_the_curve_is_the_sum_over_pairs_of_iterations(share: float, encoded: dict[str, Any]) -> None:
    d, m, noise_std, first, last = 30, 8, 0.1, 3, 40
    step = share * theory.optimal_step(d, m, **encoded)
    squares = theory.label_noise_curve(d, m, step, noise_std, last, initial_error_squared=0.3, **encoded)
    curve = theory.averaged_noise_curve(
        d, m, step, noise_std, last, initial_error_squared=0.3, average_from=first, **encoded
    )
    for t in (first, first + 1, last):
        pairs = [
            (1 - step / 2) ** abs(i - j) * squares[min(i, j)] for i in range(first, t + 1) for j in range(first, t + 1)
        ]
        assert curve[t] == pytest.approx(sum(pairs) / (t - first + 1) ** 2, rel=1e-12)


@pytest.mark.parametrize("encoded", CASES)
@pytest.mark.parametrize("share", [0.05, 0.5, 1.0, 1.5])
def test_at_rest_the_curve_falls_as_the_limit_over_the_iterations(share: float, encoded: dict[str, Any]) -> None:
    d, m, noise_std, iterations = 50, 8, 0.01, 100_000
    step = share * theory.optimal_step(d, m, **encoded)
    floor = theory.label_noise_floor(d, m, step, noise_std, **encoded)
    limit = theory.averaged_noise_limit(d, m, step, noise_std, **encoded)
    curve = theory.averaged_noise_curve(d, m, step, noise_std, iterations, initial_error_squared=floor, **encoded)
    assert iterations * curve[-1] == pytest.approx(limit, rel=3 / (step * iterations))
    assert curve[0] == floor


@pytest.mark.parametrize("encoded", CASES)
def test_for_a_short_step_the_limit_is_that_of_the_noise_alone(encoded: dict[str, Any]) -> None:
    d, m, noise_std = 50, 8, 0.01
    raised = (1 + encoded.get("omega", 0.0)) * (1 + encoded.get("sum_omega", 0.0))
    limit = theory.averaged_noise_limit(d, m, 1e-9, noise_std, **encoded)
    assert limit == pytest.approx(2 * d * noise_std**2 / m * raised, rel=1e-6)
    assert theory.averaged_noise_limit(d, m, theory.stability_limit(d, m, **encoded), noise_std, **encoded) == math.inf


def test_arguments_out_of_range_are_named() -> None:
    values = {"d": 50, "m": 8, "step": 0.1, "noise_std": 0.1, "iterations": 10, "initial_error_squared": 1.0}
    for name, wrong in {"average_from": 11, "iterations": -1, "noise_std": -0.1, "m": 0}.items():
        with pytest.raises(ValueError, match=name):
            theory.averaged_noise_curve(**{**values, name: wrong})
    with pytest.raises(ValueError, match="average_from"):
        theory.averaged_noise_curve(**values, average_from=-1)
    with pytest.raises(ValueError, match="step"):
        theory.averaged_noise_limit(50, 8, 0.0, 0.1)
