"""Iterations to an accuracy on fixed data, without following the curve: in time that grows as their logarithm."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from relufit.numerics.blas import one_blas_thread
from relufit.theory._checks import nonnegative, positive, whole, worker_batch
from relufit.theory.encodings import EXACT, Encoding
from relufit.theory.feedback import MOMENTS, feedback_optimal_step, fixed_data_moments
from relufit.theory.sgd import initial_error, optimal_step
from relufit.theory.spectrum import compression_noise, initial_profile, marchenko_pastur

#: Powers of two of iterations that are tried.
_DOUBLINGS = 60
#: Eigenvalues of the spectrum with error feedback, at least and at most: the recursion is good to some percent, and has
#: seven numbers for each.
_FEW, _MOST = 12, 48


@lru_cache(maxsize=100_000)
def iterations_fixed(
    d: int,
    m: int,
    ratio: float,
    tolerance: float,
    *,
    omega: float = 0.0,
    workers: int = 1,
    step: float | None = None,
    sum_omega: float = 0.0,
) -> float:
    """Return after how many steps the mean squared error comes to ``tolerance^2`` on n = ratio d rows.

    The recursion is that of `fixed_data_curve` on the spectrum of `marchenko_pastur`, started at the initial weights
    ``(2/n) sum y_i x_i`` with the squared error (2 d + 3) / n. One step is a matrix M on the squared errors along the
    eigenvalues; the powers M, M^2, M^4, ... bracket the step looked for, which is interpolated in the logarithm. Not
    rounded; infinite where the error does not come down so far, as beyond the largest step that the data bear.

    Parameters
    ----------
    d, m, workers, omega, sum_omega
        As in `fixed_data_curve`.
    ratio : float
        n / d, above 2.
    tolerance : float
        Relative error, not squared.
    step : float, optional
        Step size; `optimal_step` by default.

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """
    d, m, b = whole("d", d), whole("m", m), worker_batch(m, workers)
    omega, goal = nonnegative("omega", omega), positive("tolerance", tolerance) ** 2
    if step is None:
        step = optimal_step(d, m, omega=omega, workers=workers, sum_omega=sum_omega)
    nonnegative("step", step)
    eigenvalues, weights, p = _beginning(d, ratio, 24, 400, 60)
    by_first, by_second = compression_noise(d, m, b, omega / workers, nonnegative("sum_omega", sum_omega))
    matrix = np.outer(2 * d / m * eigenvalues * weights + by_first * weights, eigenvalues)
    matrix += np.outer(by_second * weights, eigenvalues**2)
    matrix *= step**2
    matrix[np.diag_indices(p.size)] += (1 - step * eigenvalues) ** 2 - (step * eigenvalues) ** 2 / m
    return _steps(matrix, p, np.ones(p.size), goal)


@lru_cache(maxsize=100_000)
def iterations_feedback(
    d: int,
    m: int,
    ratio: float,
    tolerance: float,
    *,
    delta: float | Encoding,
    workers: int = 1,
    step: float | None = None,
    sum_delta: float | Encoding = EXACT,
) -> float:
    """Return after how many steps with error feedback the mean squared error comes to ``tolerance^2``.

    As `iterations_fixed` does, with the recursion of `feedback_curve` in place of that of `fixed_data_curve`. It is
    good to some percent where m is much smaller than d, and no compressor leaves out nearly all of a vector, see
    `feedback_rate`.

    Parameters
    ----------
    d, m, ratio, tolerance
        As of `iterations_fixed`.
    delta, workers, sum_delta
        As of `feedback_rate`.
    step : float, optional
        Step size; `feedback_optimal_step` by default.

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """
    goal = positive("tolerance", tolerance) ** 2
    if step is None:
        step = feedback_optimal_step(d, m, delta=delta, workers=workers, sum_delta=sum_delta)
    eigenvalues, weights, p = _beginning(d, ratio, _FEW, _MOST, 28)
    advance, squared = fixed_data_moments(
        eigenvalues, weights, d, m, step, delta=delta, workers=workers, sum_delta=sum_delta
    )
    moments = np.zeros(MOMENTS * p.size)
    moments[: p.size] = p
    # Units one beside the other, of which each is a set of moments.
    units = np.eye(moments.size).reshape(MOMENTS, p.size, -1).swapaxes(1, 2)
    matrix = advance(units).swapaxes(1, 2).reshape(moments.size, -1)
    measure = squared(units).sum(-1)
    # What stays at zero is left out: moments of a sum that is not encoded, or of ranks that lose nothing.
    reached = np.zeros(moments.size, bool)
    grown = moments != 0
    while (grown & ~reached).any():
        reached |= grown
        grown = reached | (matrix[:, reached] != 0).any(axis=1)
    return _steps(matrix[np.ix_(reached, reached)], moments[reached], measure[reached], goal)


def _beginning(
    d: int, ratio: float, fewest: int, most: int, exponent: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return eigenvalues, weights and the squared error along each at the initial weights of n = ratio d rows.

    The rule's error falls as ``(2 / ratio)^nodes``: there are as many nodes as take it to ``exp(-exponent)``, within
    bounds.
    """
    nodes = min(most, max(fewest, math.ceil(exponent / math.log(ratio / 2)))) if ratio > 2 else 1
    eigenvalues, weights = marchenko_pastur(ratio, nodes)
    profile = initial_profile(eigenvalues, weights)
    return eigenvalues, weights, profile * (initial_error(round(ratio * d), d) / profile.sum())


@one_blas_thread()
def _steps(matrix: np.ndarray, p: np.ndarray, measure: np.ndarray, goal: float) -> float:
    """Return after how many applications of `matrix` the error ``measure @ p`` is at most `goal`."""
    if measure @ p <= goal:
        return 0.0
    powers = [matrix]
    with np.errstate(over="ignore", invalid="ignore"):
        while not measure @ (powers[-1] @ p) <= goal:
            if len(powers) > _DOUBLINGS or not np.isfinite(powers[-1]).all():
                return math.inf
            powers.append(powers[-1] @ powers[-1])
        done = 0
        for exponent in reversed(range(len(powers) - 1)):
            further = powers[exponent] @ p
            if not measure @ further <= goal:
                p, done = further, done + 2**exponent
        before, after = float(measure @ p), float(measure @ (matrix @ p))
    return done + (math.log(before / goal) / math.log(before / after) if after > 0 else 1.0)
