"""Verdicts: confirmed, refuted or inconclusive, each with the interval that decides."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from relufit.claims.statistics import Interval

CONFIRMED, REFUTED, INCONCLUSIVE = "confirmed", "refuted", "inconclusive"


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
        lie for *refuted*. Infinite where there is none.
    verdict : str
    trials : int
    evidence : str
        The file that the statistic was computed from, relative to the run's folder.
    note : str
        A condition or a reason that the reader should know.
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
    return Verdict(statistic, setting, mean, low, high, least, most, decided, trials, evidence, note)


def exactly(statistic: str, setting: str, holds: bool, *, trials: int, evidence: str, note: str = "") -> Verdict:
    """Return the verdict on something that either holds in every trial or does not."""
    share = 1.0 if holds else 0.0
    return judge(
        statistic,
        setting,
        Interval(share, share, share),
        least=1.0,
        trials=trials,
        evidence=evidence,
        note=note,
    )


def combine(verdicts: Iterable[str]) -> str:
    """Return refuted if any is, else inconclusive if any is or there is none, else confirmed."""
    found = set(verdicts)
    if REFUTED in found:
        return REFUTED
    return CONFIRMED if found == {CONFIRMED} else INCONCLUSIVE
