"""What holds in the mean over draws: no bias, the variance that is said, and draws that do not depend on each other.

Each test has the level `LEVEL`, under the normal limit of a mean over many draws; there are some 200 a compressor.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from relufit import streams
from relufit.compression import Compressor
from relufit.testing.check import Check, gaussian, is_random, sent

#: The probability with which one test of a right compressor fails.
LEVEL = 5e-8
_LIMIT = NormalDist().inv_cdf(1 - LEVEL / 2)
_TRIALS = 600
#: Relative errors of formats that round to nearest, where nothing is drawn: those of half precision.
_ROUNDED = 2.0**-10
#: Shifts between streams, and repetitions.
_REACH, _TIMES = 16, 64


def check_unbiased(compressor: Compressor) -> None:
    """Unless `variance` is None, the mean of decoded vectors is the vector, along it and in many directions."""
    size = 120
    if compressor.variance(size) is None:
        return
    rng = np.random.default_rng(2)
    for vector in (gaussian(size, 1), rng.uniform(0.1, 1, size), gaussian(size, 2) * np.logspace(0, -2, size)):
        errors = np.array([sent(compressor, vector, streams.key(2, iteration=t)) for t in range(_TRIALS)]) - vector
        signs = rng.choice((-1.0, 1.0), (8, size))
        for number, direction in enumerate((vector, np.sign(vector), *signs)):
            products = errors @ direction
            slack = _ROUNDED * float(np.abs(vector) @ np.abs(direction))
            limit = _LIMIT * products.std(ddof=1) / math.sqrt(_TRIALS) + slack
            mean = float(products.mean())
            assert abs(mean) <= limit, f"the mean error along direction {number} is {mean:.3g}, beyond {limit:.3g}"


def check_variance(compressor: Compressor) -> None:
    """The mean squared error over directions is `variance` times the squared norm."""
    for size in (7, 100):
        omega = compressor.variance(size)
        if omega is None:
            continue
        rng, ratios = np.random.default_rng(3), np.empty(_TRIALS)
        for trial in range(_TRIALS):
            # The length is log-uniform over a factor of two: powers of two depend on it.
            vector = rng.standard_normal(size)
            vector *= 2.0 ** rng.random() / math.sqrt(vector @ vector)
            ratios[trial] = _squared_error(compressor, vector, trial)
        off = abs(float(ratios.mean()) - omega)
        limit = _LIMIT * ratios.std(ddof=1) / math.sqrt(_TRIALS) + _ROUNDED**2
        assert off <= limit, f"omega is {ratios.mean():.6g} in {size} dimensions, not {omega:.6g} within {limit:.2g}"


def check_contraction(compressor: Compressor) -> None:
    """The means over directions of ``<C(v), v>`` and of ``||C(v)||^2`` are `contraction` times the squared norm."""
    for size in (7, 100):
        delta = compressor.contraction(size)
        if delta is None:
            continue
        rng, ratios = np.random.default_rng(6), np.empty((_TRIALS, 2))
        for trial in range(_TRIALS):
            vector = rng.standard_normal(size)
            decoded = sent(compressor, vector, streams.key(6, iteration=trial))
            ratios[trial] = decoded @ vector / (vector @ vector), decoded @ decoded / (vector @ vector)
        for what, measured in zip(("<C(v), v>", "||C(v)||^2"), ratios.T, strict=True):
            off = abs(float(measured.mean()) - delta)
            limit = _LIMIT * measured.std(ddof=1) / math.sqrt(_TRIALS) + _ROUNDED
            assert off <= limit, f"{what} is {measured.mean():.6g} in {size} dimensions, not {delta:.6g}"


def check_variance_bound(compressor: Compressor) -> None:
    """The mean squared error of no vector is above `variance_bound` times the squared norm."""
    for size in (1, 7, 100):
        bound = compressor.variance_bound(size)
        if bound is None:
            continue
        # One large coordinate among equal ones is where the error of norms is largest.
        spikes = [np.append(2.0**power, np.ones(size - 1)) for power in (0, 3, 6)]
        for vector in (*spikes, 1.5 * np.ones(size), gaussian(size) * np.logspace(0, -3, size)):
            ratios = np.array([_squared_error(compressor, vector, trial) for trial in range(100)])
            limit = bound + _LIMIT * ratios.std(ddof=1) / math.sqrt(ratios.size) + _ROUNDED**2
            assert ratios.mean() <= limit, (
                f"a squared error of {ratios.mean():.4g} in {size} dimensions, above {bound:.4g}"
            )


def check_independent_draws(compressor: Compressor) -> None:
    """Errors with keys that differ by one in seed, rank or iteration do not correlate, shifted copies neither."""
    size = 128
    if not is_random(compressor, size):
        return
    vector = gaussian(size, 4)
    for step in ((1, 0, 0), (0, 1, 0), (0, 0, 1)):
        sums, squares = np.zeros(2 * _REACH + 1), np.zeros(2 * _REACH + 1)
        for time in range(_TIMES):
            one = _error(compressor, vector, 10 * time, 3, 7)
            other = _error(compressor, vector, 10 * time + step[0], 3 + step[1], 7 + step[2])
            padded = np.pad(one, _REACH)
            sums += np.correlate(padded, other, "valid")
            squares += np.correlate(padded**2, other**2, "valid")
        scores = np.abs(sums) / np.sqrt(np.maximum(squares, np.finfo(float).tiny))
        worst = int(scores.argmax())
        assert scores[worst] <= _LIMIT, (
            f"the errors of keys that differ by (seed, rank, iteration) = {step} correlate at a shift of "
            f"{worst - _REACH} coordinates, {scores[worst]:.1f} standard deviations"
        )


def _error(compressor: Compressor, vector: np.ndarray, seed: int, rank: int, iteration: int) -> np.ndarray:
    error: np.ndarray = sent(compressor, vector, streams.key(seed, rank=rank, iteration=iteration)) - vector
    return error


def _squared_error(compressor: Compressor, vector: np.ndarray, trial: int) -> float:
    error = sent(compressor, vector, streams.key(5, iteration=trial)) - vector
    return float(error @ error) / float(vector @ vector)


CHECKS = tuple(
    map(Check, (check_unbiased, check_variance, check_contraction, check_variance_bound, check_independent_draws))
)
