"""Tests of exact predictions over a grid: each cell at a level, and what all cells say together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import scipy
from numpy.typing import ArrayLike

from relufit.claims.statistics import CONFIDENCE, Interval, mean_interval
from relufit.claims.verdict import CONFIRMED, INCONCLUSIVE, REFUTED, Verdict, agrees

_UNDEFINED = Interval(float("nan"), float("nan"), float("nan"))
_ORDER = (REFUTED, INCONCLUSIVE, CONFIRMED)


def within(z: float) -> float:
    """Return the confidence of a test that refutes from `z` standard errors on: P(|N(0, 1)| < z)."""
    return float(1 - 2 * scipy.special.ndtr(-z))


def shared(level: float, tests: int) -> float:
    """Return the confidence of each of some tests that together refute what is true at most at `level` (Bonferroni)."""
    return 1 - level / tests


def family_level(confidence: float, tests: int) -> float:
    """Return the probability that one or more of so many independent tests refute what is true."""
    return float(-np.expm1(tests * np.log(confidence)))


def mean_over(values: ArrayLike, expected: float, confidence: float = CONFIDENCE) -> Interval:
    """Return the mean of independent values over `expected`, which is above 0, with Student's interval.

    All is NaN where there are no values, or one of them is not finite.
    """
    sample = np.asarray(values, np.float64)
    if not sample.size or not np.isfinite(sample).all():
        return _UNDEFINED
    with np.errstate(over="ignore", invalid="ignore"):
        return Interval(*(bound / expected for bound in mean_interval(sample, confidence)))


def standard_errors(values: ArrayLike, expected: float) -> float:
    """Return z: the distance of the mean from `expected` in standard errors of the mean, NaN where there are none."""
    sample = np.asarray(values, np.float64)
    if sample.size < 2 or not np.isfinite(sample).all():
        return float("nan")
    with np.errstate(over="ignore", invalid="ignore"):
        error = sample.std(ddof=1) / np.sqrt(sample.size)
    return float((sample.mean() - expected) / error) if error else float("nan")


def vanishes(
    statistic: str,
    setting: str,
    mean: Interval,
    *,
    resolution: float,
    trials: int,
    evidence: str,
    confidence: float,
    note: str = "",
) -> Verdict:
    """Return the verdict on a mean that must be 0, a test at level 1 - confidence; see `agrees`."""
    found = agrees(
        statistic,
        setting,
        Interval(*(1 + bound for bound in mean)),
        resolution=resolution,
        trials=trials,
        evidence=evidence,
        confidence=confidence,
        note=note,
    )
    value, low, high = mean
    return replace(found, value=value, low=low, high=high, least=-resolution, most=resolution)


def off_by(target: float) -> Callable[[Verdict], float]:
    """Return a function that tells how far the value of a verdict is from `target`, in units of its interval."""

    def distance(verdict: Verdict) -> float:
        width = verdict.high - verdict.low
        return abs(verdict.value - target) / width if width > 0 else 0.0

    return distance


def weakest(verdicts: Sequence[Verdict], distance: Callable[[Verdict], float]) -> Verdict:
    """Return the verdict that decides what all of them say together.

    It is one that is refuted if there is any, else inconclusive; of equals the one with the largest `distance`.
    """

    def rank(verdict: Verdict) -> tuple[int, float]:
        far = distance(verdict)
        return _ORDER.index(verdict.verdict), -far if np.isfinite(far) else 0.0

    found = min(verdicts, key=rank)
    return replace(found, setting=f"{found.setting}, the weakest of {len(verdicts)}") if len(verdicts) > 1 else found
