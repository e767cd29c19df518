"""Verdicts: confirmed, refuted or inconclusive, each with the interval that decides; and descriptions, without one."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from relufit.claims.statistics import CONFIDENCE, Interval

CONFIRMED, REFUTED, INCONCLUSIVE = "confirmed", "refuted", "inconclusive"
#: Of a statistic that no prediction bounds: it is shown, and decides nothing.
DESCRIBED = "described"


@dataclass(frozen=True)
class Verdict:
    """What one statistic says.

    Parameters
    ----------
    statistic : str
        What was measured, in words.
    setting : str
        Where.
    value, low, high : float
        The statistic and its interval.
    least, most : float
        The bounds within which the interval must lie for the verdict to be *confirmed*; outside of which it must
        lie for *refuted*, see `judge` and `agrees`. Infinite where there is none.
    verdict : str
    trials : int
    evidence : str
        The file that the statistic was computed from, relative to the run's folder.
    note : str
        A condition or a reason that the reader should know.
    confidence : float
        Of the interval.
    """

    statistic: str
    setting: str
    value: float
    low: float
    high: float
    least: float
    most: float
    verdict: str
    trials: int
    evidence: str
    note: str = ""
    confidence: float = CONFIDENCE

    def as_json(self) -> dict[str, Any]:
        """Return JSON-ready values, None in place of what is infinite or undefined."""
        values = asdict(self)
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}


def judge(
    statistic: str,
    setting: str,
    interval: Interval,
    *,
    least: float = -math.inf,
    most: float = math.inf,
    trials: int,
    evidence: str,
    note: str = "",
    confidence: float = CONFIDENCE,
) -> Verdict:
    """Return the verdict on an interval: confirmed inside [least, most], refuted outside, else inconclusive.

    With a 90 % interval and both bounds these are two one-sided tests at 5 % each.
    """
    mean, low, high = interval
    if not math.isfinite(mean):
        decided = INCONCLUSIVE
    elif least <= low and high <= most:
        decided = CONFIRMED
    else:
        decided = REFUTED if high < least or low > most else INCONCLUSIVE
    return Verdict(statistic, setting, mean, low, high, least, most, decided, trials, evidence, note, confidence)


def describe(
    statistic: str, setting: str, interval: Interval, *, trials: int, evidence: str, note: str = ""
) -> Verdict:
    """Return a description: a statistic with its interval, no bounds, and no part in any claim's verdict."""
    return Verdict(statistic, setting, *interval, -math.inf, math.inf, DESCRIBED, trials, evidence, note)


def unmeasured(statistic: str, setting: str, *, evidence: str, reason: str, remedy: str) -> Verdict:
    """Return the verdict on a statistic of which nothing was measured: inconclusive, without a number.

    `reason` and `remedy` are sentences; they become the note, and are shown with each claim that the statistic bears
    on.
    """
    nothing = (math.nan, math.nan, math.nan)
    unbounded = (-math.inf, math.inf)
    note = f"Not measured: {reason} {remedy}"
    return Verdict(statistic, setting, *nothing, *unbounded, INCONCLUSIVE, 0, evidence, note)


def agrees(
    statistic: str,
    setting: str,
    ratio: Interval,
    *,
    resolution: float,
    trials: int,
    evidence: str,
    confidence: float,
    note: str = "",
) -> Verdict:
    """Return the verdict on measured over predicted where the prediction is exact, a test at level 1 - confidence.

    It is refuted if the interval does not hold 1, confirmed if it does and is within `resolution` of it, and
    inconclusive if it is too wide to tell a deviation of that size.
    """
    mean, low, high = ratio
    if not (math.isfinite(low) and math.isfinite(high)):
        decided = INCONCLUSIVE
    elif not low <= 1 <= high:
        decided = REFUTED
    else:
        decided = CONFIRMED if 1 - resolution <= low and high <= 1 + resolution else INCONCLUSIVE
    bounds = (1 - resolution, 1 + resolution)
    return Verdict(statistic, setting, mean, low, high, *bounds, decided, trials, evidence, note, confidence)


def exactly(
    statistic: str, setting: str, holds: bool, *, trials: int, evidence: str, note: str = "", missing: str = ""
) -> Verdict:
    """Return the verdict on something that either holds in every trial or does not.

    Where something is `missing`, in words, so that not every trial could be looked at, what holds in the others is
    inconclusive; what does not hold in them is refuted all the same.
    """
    share = (math.nan if missing else 1.0) if holds else 0.0
    return judge(
        statistic,
        setting,
        Interval(share, share, share),
        least=1.0,
        trials=trials,
        evidence=evidence,
        note=" ".join(filter(None, (note, missing))),
    )


def combine(verdicts: Iterable[str]) -> str:
    """Return refuted if any is, else inconclusive if any is or there is none, else confirmed; descriptions aside."""
    deciding = set(verdicts) - {DESCRIBED}
    if REFUTED in deciding:
        return REFUTED
    return CONFIRMED if deciding == {CONFIRMED} else INCONCLUSIVE
