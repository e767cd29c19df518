"""Intervals and fits that verdicts rest on."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike

#: Of intervals: both bounds together are two one-sided tests at 5 % each.
CONFIDENCE = 0.9


class Interval(NamedTuple):
    """A mean and the bounds of its confidence interval."""

    mean: float
    low: float
    high: float


class Fit(NamedTuple):
    """A least-squares line: its slope and the share of variance it explains."""

    slope: float
    r_squared: float


def mean_interval(values: ArrayLike, confidence: float = CONFIDENCE) -> Interval:
    """Return Student's t interval of the mean of independent values.

    Its bounds are infinite where there are fewer than two values.
    """
    sample = np.asarray(values, np.float64)
    mean = float(sample.mean())
    if sample.size < 2:
        return Interval(mean, -math.inf, math.inf)
    half = (
        float(scipy.special.stdtrit(sample.size - 1, (1 + confidence) / 2))
        * float(sample.std(ddof=1))
        / math.sqrt(sample.size)
    )
    return Interval(mean, mean - half, mean + half)


def line_fit(x: np.ndarray, y: np.ndarray) -> Fit:
    """Return slope and R^2 of the least-squares line through at least three points.

    Raises
    ------
    ValueError
        If there are fewer.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.size < 3:
        raise ValueError(f"{x.size} points are too few for a line and its quality")
    dx, dy = x - x.mean(), y - y.mean()
    slope = float(dx @ dy / (dx @ dx))
    residual = dy - slope * dx
    return Fit(slope, 1.0 - float(residual @ residual) / float(dy @ dy))


def proportion_interval(successes: int, trials: int, confidence: float = CONFIDENCE) -> Interval:
    """Return the interval of Clopper and Pearson (1934) of a proportion: it covers at least as often as it says."""
    tail = (1 - confidence) / 2
    low = float(scipy.special.betaincinv(successes, trials - successes + 1, tail)) if successes else 0.0
    high = float(scipy.special.betaincinv(successes + 1, trials - successes, 1 - tail)) if successes < trials else 1.0
    return Interval(successes / trials, low, high)


def normal_interval(value: float, error: float, confidence: float = CONFIDENCE) -> Interval:
    """Return the interval of an estimate whose standard error is known."""
    half = float(scipy.special.ndtri((1 + confidence) / 2)) * error
    return Interval(value, value - half, value + half)


def slope_interval(x: ArrayLike, y: ArrayLike, errors: ArrayLike, confidence: float = CONFIDENCE) -> Interval:
    """Return the slope of the line through points whose standard errors are known, with its normal interval."""
    x, y, weights = np.asarray(x, np.float64), np.asarray(y, np.float64), 1 / np.asarray(errors, np.float64) ** 2
    dx = x - np.average(x, weights=weights)
    spread = float(weights @ dx**2)
    return normal_interval(float(weights @ (dx * y)) / spread, 1 / math.sqrt(spread), confidence)


class Crossing(NamedTuple):
    """Where a probability that rises with x is one half, the standard error of that place, and the width."""

    place: float
    error: float
    width: float


def crossing(x: ArrayLike, successes: ArrayLike, trials: ArrayLike) -> Crossing:
    """Return the most likely place where P(success) = 1/2, for P = Phi((x - place) / width).

    The standard error is that of the expected information; where no success turns into all of them from one point to
    the next, it is that of a place drawn evenly between the two. All nan if the successes do not rise from below to
    above one half.
    """
    x, hits, tries = (np.asarray(values, np.float64) for values in (x, successes, trials))
    share = hits / tries
    if not (share.min() < 0.5 < share.max()):
        return Crossing(math.nan, math.nan, math.nan)
    from scipy import optimize

    gap = float(np.diff(np.unique(x)).min())

    def cost(parameters: np.ndarray) -> float:
        z = (x - parameters[0]) / math.exp(parameters[1])
        return -float(hits @ scipy.special.log_ndtr(z) + (tries - hits) @ scipy.special.log_ndtr(-z))

    start = np.array([np.interp(0.5, np.maximum.accumulate(share), x), math.log(gap)])
    # A narrower transition than the points are apart cannot be seen.
    optimum = optimize.minimize(cost, start, bounds=[(x.min(), x.max()), (math.log(gap / 4), math.log(np.ptp(x)))])
    place, width = float(optimum.x[0]), math.exp(optimum.x[1])
    z = (x - place) / width
    each = np.exp(-(z**2) - scipy.special.log_ndtr(z) - scipy.special.log_ndtr(-z)) / (2 * math.pi)
    error = width / math.sqrt(float(tries @ each))
    if not np.any((share > 0) & (share < 1)):
        # From none to all at once: the place is anywhere between two points.
        error = float(x[share > 0.5].min() - x[share < 0.5].max()) / math.sqrt(12)
    return Crossing(place, error, width)
