"""Tests of exact predictions over a grid: each cell at a level, and what all cells say together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import scipy
from numpy.typing import ArrayLike

from relufit.claims.statistics import CONFIDENCE, Interval, mean_interval
from relufit.claims.verdict import CONFIRMED, DESCRIBED, INCONCLUSIVE, REFUTED, Verdict, agrees

#: What is true is refuted in one or more exact tests of a whole run at most with probability `RUN_LEVEL`. The at most
#: `FAMILIES` experiments that have such tests take equal shares of it, and their tests equal shares of those.
RUN_LEVEL, FAMILIES = 0.01, 8
LEVEL = RUN_LEVEL / FAMILIES
_UNDEFINED = Interval(float("nan"), float("nan"), float("nan"))
_ORDER = (REFUTED, INCONCLUSIVE, CONFIRMED, DESCRIBED)


def shared(tests: int) -> float:
    """Return the confidence of each of an experiment's exact tests, so many in all, by Bonferroni's inequality."""
    return 1 - LEVEL / tests


def level_note(tests: int) -> str:
    """Return in words how often tests refute by chance."""
    return (
        f"{tests} tests at {LEVEL / tests:.2g} each: at most {100 * LEVEL:.3g} % that any refutes what is true, and "
        f"{100 * RUN_LEVEL:g} % for all exact tests of a run."
    )


def mcnemar(one: int, other: int) -> float:
    """Return the p-value of McNemar's exact test that two methods succeed equally often on the same data sets.

    Parameters
    ----------
    one, other : int
        Data sets where the first method alone succeeds, and where the second does. If both are equally good, each
        data set of these is as likely to be of the one kind as of the other. Two-sided; 1 where there is none.

    References
    ----------
    Q. McNemar, Note on the sampling error of the difference between correlated proportions or percentages,
    Psychometrika 12, 1947.
    """
    return float(min(1.0, 2 * scipy.special.bdtr(min(one, other), one + other, 0.5)))


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
    verdict = agrees(
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
    return replace(verdict, value=value, low=low, high=high, least=-resolution, most=resolution)


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

    worst = min(verdicts, key=rank)
    return replace(worst, setting=f"{worst.setting}, the weakest of {len(verdicts)}") if len(verdicts) > 1 else worst
