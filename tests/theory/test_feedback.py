"""Error feedback: the rate is held against simulated steps, and limits against what they must be."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from relufit import theory

Compressor = Callable[[np.ndarray], np.ndarray]


def signs(p: np.ndarray) -> np.ndarray:
    return np.sign(p) * np.abs(p).mean()


def largest(fraction: float, *, as_signs: bool) -> Compressor:
    def keep(p: np.ndarray) -> np.ndarray:
        chosen = np.argpartition(np.abs(p), -round(fraction * p.size))[-round(fraction * p.size) :]
        kept = np.zeros_like(p)
        kept[chosen] = np.sign(p[chosen]) * np.abs(p[chosen]).mean() if as_signs else p[chosen]
        return kept

    return keep


def simulated(
    d: int, m: int, step: float, workers: int, compressor: Compressor, iterations: int, *, again: bool = False
) -> float:
    """The mean logarithm of the factor on the squared error near w*, from its own few lines of numpy.

    The mean over ranks is encoded `again`, with a residual of its own.
    """
    draw = np.random.default_rng(3)
    w_star = draw.standard_normal(d)
    h, residuals = draw.standard_normal(d) * 1e-3, np.zeros((workers, d))
    errors, left = [], np.zeros(d)
    for _ in range(iterations):
        sent = np.zeros(d)
        for rank in range(workers):
            x = draw.standard_normal((m // workers, d))
            active = x[x @ w_star > 0]
            p = step * active.T @ (active @ h) / (m // workers) + residuals[rank]
            compressed = compressor(p)
            residuals[rank] = p - compressed
            sent += compressed / workers
        if again:
            summed = sent + left
            sent = compressor(summed)
            left = summed - sent
        h = h - sent
        errors.append(math.log(h @ h))
    return float(np.polyfit(np.arange(iterations // 4, iterations), errors[iterations // 4 :], 1)[0])


@pytest.mark.parametrize(
    ("compressor", "delta"),
    [
        (signs, theory.SIGN_DELTA),
        (largest(0.2, as_signs=True), theory.top_delta(0.2, signs=True)),
        (largest(0.05, as_signs=False), theory.top_delta(0.05)),
    ],
    ids=["signs", "a fifth as signs", "a twentieth as values"],
)
@pytest.mark.parametrize("factor", [0.5, 1.0])
def test_the_rate_is_that_of_simulated_steps(compressor: Compressor, delta: float, factor: float) -> None:
    d, m, workers = 200, 16, 4
    step = factor * theory.optimal_step(d, m)
    predicted = math.log(theory.feedback_rate(d, m, step, delta=delta, workers=workers))
    # The slope of 800 iterations has a standard deviation of about sqrt(2.5 / d / (800 |rate|)), 3 % here.
    assert simulated(d, m, step, workers, compressor, 800) == pytest.approx(predicted, rel=0.1)


def test_the_rate_is_that_of_simulated_steps_where_the_mean_is_encoded_again() -> None:
    d, m, workers = 200, 32, 4
    for factor in (0.5, 0.8):
        step = factor * theory.optimal_step(d, m)
        delta = theory.top_k_delta(d, d, signs=True)
        predicted = math.log(theory.feedback_rate(d, m, step, delta=delta, workers=workers, sum_delta=delta))
        assert simulated(d, m, step, workers, signs, 800, again=True) == pytest.approx(predicted, rel=0.1)


def test_unbiased_codes_diverge_with_feedback_above_one_and_scaled_ones_do_not() -> None:
    step = 0.3 * theory.optimal_step(200, 16)
    for omega in (1.1, 3.0):
        unscaled, scaled = theory.Encoding.unbiased(omega), theory.Encoding(1 / (1 + omega), omega / (1 + omega) ** 2)
        assert theory.feedback_rate(200, 16, step, delta=unscaled, workers=4) > 1
        rate = theory.feedback_rate(200, 16, step, delta=scaled, workers=4)
        assert rate == pytest.approx(theory.feedback_rate(200, 16, step, delta=1 / (1 + omega), workers=4), rel=1e-12)
        assert rate < 1


def dithered(levels: int) -> Compressor:
    draw = np.random.default_rng(8)

    def quantize(p: np.ndarray) -> np.ndarray:
        unit = math.sqrt(p @ p) / levels
        return np.sign(p) * unit * np.floor(np.abs(p) / unit + draw.random(p.size))

    return quantize


def test_the_rate_of_an_unbiased_code_with_feedback_is_that_of_simulated_steps() -> None:
    d, m, workers, levels = 200, 16, 4, 9
    encoding = theory.Encoding.unbiased(theory.qsgd_variance(d, levels))
    assert 0.3 < encoding.noise < 0.5
    step = 0.8 * theory.optimal_step(d, m)
    predicted = math.log(theory.feedback_rate(d, m, step, delta=encoding, workers=workers))
    assert simulated(d, m, step, workers, dithered(levels), 800) == pytest.approx(predicted, rel=0.1)


@pytest.mark.parametrize("again", [False, True])
def test_the_curve_of_one_eigenvalue_falls_by_the_rate(again: bool) -> None:
    d, m, workers, delta = 4000, 80, 8, theory.SIGN_DELTA
    known = {"delta": delta, "workers": workers, **({"sum_delta": delta} if again else {})}
    step = 0.7 * theory.optimal_step(d, m)
    curve = theory.feedback_curve([0.5], [1.0], d, m, step, 3000, initial_error_squared=1.0, **known)
    assert curve[0] == 1
    # A batch of fixed rows has 2 d where one of fresh samples has 2 d + 4.
    assert curve[-1] / curve[-2] == pytest.approx(theory.feedback_rate(d, m, step, **known), rel=1e-4)


def test_a_curve_of_what_keeps_all_is_that_of_sgd() -> None:
    eigenvalues, weights = theory.marchenko_pastur(8)
    start = theory.initial_profile(eigenvalues, weights)
    known = {"initial_error_squared": start, "workers": 4}
    plain = theory.fixed_data_curve(eigenvalues, weights, 300, 24, 0.05, 500, **known)
    kept = theory.feedback_curve(eigenvalues, weights, 300, 24, 0.05, 500, delta=1.0, **known)
    np.testing.assert_allclose(kept, plain, rtol=1e-9)
    far = theory.feedback_curve(eigenvalues, weights, 300, 24, 50.0, 5000, delta=0.5, **known)
    assert far[-1] == math.inf


def test_a_compressor_that_keeps_all_leaves_the_rate_of_sgd() -> None:
    for step in (0.0, 0.01, 0.05):
        plain = theory.contraction(300, 24, step)
        assert theory.feedback_rate(300, 24, step, delta=1, workers=3) == plain
        assert theory.feedback_rate(300, 24, step, delta=1 - 1e-9, workers=3) == pytest.approx(plain, rel=1e-8)
    assert theory.feedback_optimal_step(300, 24, delta=1) == theory.optimal_step(300, 24)


def test_the_optimal_step_is_better_than_its_neighbours_and_signs_keep_nearly_the_step_of_sgd() -> None:
    best = theory.feedback_optimal_step(400, 32, delta=theory.SIGN_DELTA, workers=4)
    rates = [
        theory.feedback_rate(400, 32, factor * best, delta=theory.SIGN_DELTA, workers=4) for factor in (0.97, 1, 1.03)
    ]
    assert rates[1] < min(rates[0], rates[2])
    assert 0.8 < best / theory.optimal_step(400, 32) <= 1
    slowdown = math.log(theory.contraction(400, 32, theory.optimal_step(400, 32))) / math.log(rates[1])
    assert 1 < slowdown < 1.1


def test_what_the_largest_coordinates_keep_is_what_a_large_vector_keeps() -> None:
    vector = np.random.default_rng(0).standard_normal(10**6)
    for fraction in (0.01, 0.2, 1.0):
        for as_signs in (False, True):
            kept = largest(fraction, as_signs=as_signs)(vector)
            share = kept @ kept / (vector @ vector)
            assert theory.top_delta(fraction, signs=as_signs) == pytest.approx(share, rel=0.01)
    assert theory.top_delta(1) == 1
    assert theory.top_delta(1, signs=True) == pytest.approx(theory.SIGN_DELTA)


@pytest.mark.parametrize("delta", [0, -0.1, 1.1, math.nan])
def test_an_impossible_delta_is_refused(delta: float) -> None:
    with pytest.raises(ValueError, match="delta must be above 0 and at most 1"):
        theory.feedback_rate(10, 4, 0.1, delta=delta)
    with pytest.raises(ValueError, match="fraction must be above 0 and at most 1"):
        theory.top_delta(delta)
    with pytest.raises(ValueError, match="k must be at most d = 5"):
        theory.top_k_delta(5, 6)
    with pytest.raises(ValueError, match="gain must be a finite number above 0"):
        theory.feedback_rate(10, 4, 0.1, delta=theory.Encoding(0.0, 1.0))


@pytest.mark.parametrize(("d", "k"), [(1, 1), (5, 5), (7, 1), (7, 3), (125, 6), (1000, 50)])
def test_what_k_coordinates_keep_is_what_they_keep_of_drawn_vectors(d: int, k: int) -> None:
    magnitudes = np.sort(np.abs(np.random.default_rng([d, k]).standard_normal((200_000 // d, d))))[:, -k:]
    for shares, as_signs in ((np.sum(magnitudes**2, 1) / d, False), (np.sum(magnitudes, 1) ** 2 / (k * d), True)):
        error = shares.std() / math.sqrt(shares.size)
        assert theory.top_k_delta(d, k, signs=as_signs) == pytest.approx(shares.mean(), abs=5 * error + 1e-9)
