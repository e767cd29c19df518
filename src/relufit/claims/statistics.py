"""Intervals and fits that verdicts rest on."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit


class Interval(NamedTuple):
    """A mean and the bounds of its confidence interval."""

    mean: float
    low: float
    high: float


class Fit(NamedTuple):
    """A least-squares line: its slope and the share of variance it explains."""

    slope: float
    r_squared: float


def mean_interval(values: ArrayLike, confidence: float = 0.9) -> Interval:
    """Return Student's t interval of the mean of independent values.

    Its bounds are infinite where there are fewer than two values.
    """
    sample = np.asarray(values, np.float64)
    mean = float(sample.mean())
    if sample.size < 2:
        return Interval(mean, -math.inf, math.inf)
    half = float(stdtrit(sample.size - 1, (1 + confidence) / 2)) * float(sample.std(ddof=1)) / math.sqrt(sample.size)
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
