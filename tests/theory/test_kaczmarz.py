"""Kaczmarz steps and GLM-tron against Monte Carlo in plain numpy, near w*, and against other formulas.

Statistical tests are seeded and pass if |z| < 4: a right prediction fails one with probability 6e-5.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_vectors import reproducible, sphere, thin, z_score

from relufit import theory

D, NEAR = 12, 1e-7
Gradients = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def glm_tron(x: np.ndarray, products: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.einsum("rkb,rkbd->rkd", np.maximum(products, 0) - labels, x) / x.shape[2]


def kaczmarz(x: np.ndarray, products: np.ndarray, labels: np.ndarray) -> np.ndarray:
    residuals = (np.maximum(products, 0) - labels) * (products > 0) / np.sum(x**2, axis=3)
    return np.einsum("rkb,rkbd->rkd", residuals, x) / x.shape[2]


def factors(
    gradients: Gradients, m: int, step: float, *, omega: float = 0.0, workers: int = 1, sum_omega: float = 0.0
) -> np.ndarray:
    """Factors on the squared error of single steps from random weights near random w*, in double precision."""
    rng, runs = np.random.default_rng(3), 40_000
    target = sphere(rng, runs, D)
    weights = target + NEAR * sphere(rng, runs, D)
    x = rng.standard_normal((runs, workers, m // workers, D))
    labels = np.maximum(np.einsum("rkbd,rd->rkb", x, target), 0)
    sent = thin(rng, gradients(x, np.einsum("rkbd,rd->rkb", x, weights), labels), omega)
    total = thin(rng, sent.mean(axis=1)[:, None], sum_omega)[:, 0]
    after: np.ndarray = np.sum((weights - step * total - target) ** 2, axis=1) / NEAR**2
    return after


CASES: list[tuple[int, dict[str, Any]]] = [
    (1, {}),
    (6, {}),
    (30, {}),
    (6, {"omega": 1.5, "workers": 3}),
    (6, {"omega": 0.5, "workers": 2, "sum_omega": 0.8}),
]


@pytest.mark.parametrize("share", [0.5, 1.0, 1.6])
@pytest.mark.parametrize(("m", "encoded"), CASES)
def test_a_kaczmarz_step_has_the_predicted_factor(m: int, encoded: dict[str, Any], share: float) -> None:
    step = share * theory.kaczmarz_optimal_step(D, m, **encoded)
    sample = factors(kaczmarz, m, step, **encoded)
    assert abs(z_score(sample, theory.kaczmarz_contraction(D, m, step, **encoded))) < 4


@pytest.mark.parametrize(("m", "encoded"), CASES)
def test_a_step_of_glm_tron_has_the_factor_of_sgd(m: int, encoded: dict[str, Any]) -> None:
    step = theory.optimal_step(D, m, **encoded)
    assert abs(z_score(factors(glm_tron, m, step, **encoded), theory.contraction(D, m, step, **encoded))) < 4


@reproducible
@given(d=st.integers(1, 10**6), m=st.integers(1, 10**6))
def test_the_best_step_and_its_factor_are_the_closed_forms(d: int, m: int) -> None:
    step = theory.kaczmarz_optimal_step(d, m)
    assert step == pytest.approx(2 * d * m / (2 * d + m - 1), rel=1e-12)
    assert 1 - theory.kaczmarz_contraction(d, m, step) == pytest.approx(m / (2 * d + m - 1), rel=1e-8, abs=1e-12)
    assert theory.kaczmarz_stability_limit(d, m) == pytest.approx(2 * step, rel=1e-12)
    # In place of 2 d + 3 of SGD: rows of unequal length cost a little.
    assert theory.kaczmarz_contraction(d, m, step) < theory.contraction(d, m, theory.optimal_step(d, m))


def test_a_row_alone_is_solved_by_a_step_of_one() -> None:
    assert theory.kaczmarz_optimal_step(50, 1) == pytest.approx(1.0, rel=1e-12)
    assert theory.kaczmarz_contraction(50, 1, 1.0) == pytest.approx(1 - 1 / 100, rel=1e-12)


def test_local_steps_and_error_feedback_know_the_moments_of_normalized_rows() -> None:
    d, m = 40, 12
    step = theory.kaczmarz_optimal_step(d, m) / d
    one = theory.local_contraction(d, m, step, 1, workers=3, kurtosis=1.0)
    assert one == pytest.approx(theory.kaczmarz_contraction(d, m, step * d), rel=1e-12)
    many = theory.local_contraction(d, m, step, 5, kurtosis=1.0)
    assert many == pytest.approx(theory.kaczmarz_contraction(d, m, step * d) ** 5, rel=1e-12)
    best = theory.local_optimal_step(d, m, 4, workers=3, kurtosis=1.0)
    near = [theory.local_contraction(d, m, share * best, 4, workers=3, kurtosis=1.0) for share in (0.97, 1.0, 1.03)]
    assert near[1] == min(near)
    # With nothing left out feedback changes nothing.
    assert theory.feedback_rate(d, m, step, delta=1.0, workers=3, kurtosis=1.0) == pytest.approx(one, rel=1e-12)
    assert theory.feedback_optimal_step(d, m, delta=1.0, kurtosis=1.0) == pytest.approx(step, rel=1e-12)


@pytest.mark.parametrize(("m", "workers", "delta"), [(6, 1, 0.4), (6, 3, 0.7)])
def test_error_feedback_on_kaczmarz_gradients_follows_its_moments(m: int, workers: int, delta: float) -> None:
    d, runs, steps = 30, 3000, 60
    step = 0.7 * theory.kaczmarz_optimal_step(d, m)
    rng = np.random.default_rng(11)
    target, h = sphere(rng, runs, d), sphere(rng, runs, d)
    left = np.zeros((runs, workers, d))
    squares = [1.0]
    for _ in range(steps):
        x = rng.standard_normal((runs, workers, m // workers, d))
        x /= np.linalg.norm(x, axis=3, keepdims=True)
        active = np.einsum("rkbd,rd->rkb", x, target) > 0
        products = np.einsum("rkbd,rd->rkb", x, h) * active
        p = step * np.einsum("rkb,rkbd->rkd", products, x) / (m // workers) + left
        # Coordinates that are kept with probability delta: a contraction that leaves <C(p), p> = ||C(p)||^2.
        sent = p * (rng.random(p.shape) < delta)
        left, h = p - sent, h - sent.mean(axis=1)
        squares.append(float(np.mean(np.sum(h**2, axis=1))))
    rate = theory.feedback_rate(d, m, step / d, delta=delta, workers=workers, kurtosis=1.0)
    assert math.log(squares[-1] / squares[steps // 2]) / (steps - steps // 2) == pytest.approx(math.log(rate), rel=0.05)


@pytest.mark.parametrize("values", [{"d": 0}, {"m": 0}, {"step": -1.0}, {"omega": -1.0}, {"workers": 7}])
def test_arguments_out_of_range_are_named(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        theory.kaczmarz_contraction(**{"d": D, "m": 6, "step": 1.0, **values})
