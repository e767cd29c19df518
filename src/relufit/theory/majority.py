"""signSGD with a majority vote: where it comes to rest at a constant step, and how fast it is where that is halved.

Source: J. Bernstein, J. Zhao, K. Azizzadenesheli, A. Anandkumar, *signSGD with Majority Vote is Communication Efficient
and Fault Tolerant*, 2019, arXiv:1810.05291.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import scipy

from relufit.theory._checks import nonnegative, positive, whole, worker_batch

#: Of the Gauss-Hermite rule over the coordinates of the error.
_NODES = 128
#: Iterations between two halvings of the step, over the fewest with which the error follows.
_SLACK = 1.25


@lru_cache(maxsize=256)
def majority_drift(d: int, m: int, *, workers: int = 1) -> float:
    """Return c of signSGD by majority vote: a step changes the squared error H by ``-2 step c sqrt(d H) + step^2 d``.

    A rank has b = m / workers fresh samples. Coordinate i of its gradient at the error h, that is of
    ``(1/b) sum_active <x, h> x``, has the sign of h_i with the probability ``P(T_A < |z| sqrt(A / d))``, with
    ``z = h_i sqrt(d) / ||h||``, A the number of active samples, which is binomial, and T_A Student's t with A degrees
    of freedom: given the products ``<x, h>`` the coordinate is normal. The majority of independent ranks is right with
    the probability P(z), an even vote half of the time. With z standard normal, ``c = E |z| (2 P(z) - 1)``.

    Parameters
    ----------
    d, m, workers : int
        Dimension; samples in a step, over all ranks; number of ranks, at most `m`, each with as many samples.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """
    d, b = whole("d", d), round(worker_batch(whole("m", m), workers))
    z, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    active = np.arange(b + 1)
    share = (
        np.exp(scipy.special.gammaln(b + 1) - scipy.special.gammaln(active + 1) - scipy.special.gammaln(b - active + 1))
        / 2.0**b
    )
    # Without an active sample there is no vote, which is neither right nor wrong.
    right = share[0] / 2 + share[1:] @ scipy.special.stdtr(active[1:, None], np.abs(z) * np.sqrt(active[1:, None] / d))
    votes = np.arange(workers + 1)
    counted = np.where(2 * votes == workers, 0.5, 2 * votes > workers)
    of_votes = (
        scipy.special.comb(workers, votes)[:, None]
        * right ** votes[:, None]
        * (1 - right) ** (workers - votes[:, None])
    )
    return float(weights @ (np.abs(z) * (2 * (counted @ of_votes) - 1)) / weights.sum())


def majority_floor(d: int, m: int, step: float, *, workers: int = 1) -> float:
    """Return the squared error at which SGD by the majority of the ranks' signs comes to rest, near the solution.

    It is ``H = step^2 d / (4 c^2)``, where a step changes H no more, with c of `majority_drift`.

    Parameters
    ----------
    d, m, workers : int
        As of `majority_drift`.
    step : float
        What a coordinate of the weights moves by in a step, at least 0.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """
    return nonnegative("step", step) ** 2 * d / (4 * majority_drift(d, m, workers=workers) ** 2)


class HalvedStep(NamedTuple):
    """A step that is halved again and again: the first one, and the iterations between two halvings."""

    step: float
    every: int


def majority_halving(d: int, m: int, error_squared: float, *, workers: int = 1) -> HalvedStep:
    """Return the step, halved again and again, with which signSGD by majority vote converges.

    The dynamics do not change if errors and steps are scaled alike, so that a step that is halved every T iterations
    halves the error as often, if T is long enough. With ``y = sqrt(H)`` over that of `majority_floor` a small step has
    ``dy/dt = -2 c^2 (1 - 1/y)``: from y to y/2 it takes ``(y/2 + ln((y - 1) / (y/2 - 1))) / (2 c^2)`` iterations, the
    fewest from y = 3, which are ``(3/2 + ln 4) / (2 c^2)``. With so few an error that lags behind by chance would
    lag further with each halving. T is a quarter more, and the first step the one with the lesser of the two y from
    which T iterations halve the error: one that lags behind by less than 2.4 times catches up. The logarithm of the
    squared error falls by ``.77 c^2`` an iteration; no sequence of steps could have it fall by more than
    ``-ln(1 - c^2)``, which takes ``step = c sqrt(H / d)`` each time.

    Parameters
    ----------
    d, m, workers : int
        As of `majority_drift`.
    error_squared : float
        Squared error at the beginning, above 0.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """
    c = majority_drift(d, m, workers=workers)
    longer = _SLACK * _halving(3.0)
    start = scipy.optimize.brentq(lambda y: _halving(y) - longer, 2 + 1e-12, 3.0)
    step = 2 * c * math.sqrt(positive("error_squared", error_squared) / d) / start
    return HalvedStep(step, max(1, round(longer / (2 * c**2))))


def _halving(y: float) -> float:
    """Return 2 c^2 times the iterations in which an error of y times that of the floor is halved."""
    return y / 2 + math.log((y - 1) / (y / 2 - 1))


def majority_curve(
    d: int, m: int, halved: HalvedStep, iterations: int, *, error_squared: float, workers: int = 1
) -> np.ndarray:
    """Return the squared error after 0, 1, ... steps of signSGD by majority vote, whose step is halved.

    It is that of the change of H in `majority_drift`, from step to step.

    Parameters
    ----------
    d, m, workers : int
        As of `majority_drift`.
    halved : HalvedStep
        As of `majority_halving`.
    iterations : int
        0 or more.
    error_squared : float
        Squared error at the beginning.

    Returns
    -------
    array, shape (iterations + 1,)

    Raises
    ------
    ValueError
        If a number is out of its range.
    """
    c, every = majority_drift(d, m, workers=workers), whole("every", halved.every)
    curve = np.empty(whole("iterations", iterations, least=0) + 1)
    curve[0] = nonnegative("error_squared", error_squared)
    for t in range(len(curve) - 1):
        step = math.ldexp(nonnegative("step", halved.step), -(t // every))
        curve[t + 1] = max(0.0, curve[t] - 2 * step * c * math.sqrt(d * curve[t]) + step**2 * d)
    return curve
