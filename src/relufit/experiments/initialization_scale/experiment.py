"""How far from zero a run may start: gradient descent, SGD and QSGD from starts of growing norm, near n = 2d.

Each method starts at the moment estimate and at random directions of 1, 10 and 100 times the norm of w*. All starts
and all methods see the same data sets, so that a start is compared with the moment estimate on each of them: the
test of McNemar (1947) in its exact form, on the data sets where one of the two starts alone leads to w*.

A run that begins far away may end, near n = 2d, at another stationary point of the loss, where at most d rows are
active. Those are linearly independent, so that a gradient of zero means that all of them are fitted; the others have no
gradient, and neither the mean gradient nor the noise of SGD and QSGD moves the weights. How often that happens is not
predicted here. What theory gives is a bound: with fewer than d active rows w* is not determined, whatever the start
(`relufit.theory.recovery_probability`). That there are directions without any active row does not explain the
failures: they exist with probability P(Binomial(n - 1, 1/2) < d) (Wendel 1962), which vanishes above n = 2d.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from relufit import theory
from relufit.claims.statistics import Interval, proportion_interval
from relufit.claims.topics import Topic
from relufit.claims.trace_files import Record
from relufit.claims.verdict import Verdict, judge
from relufit.experiments.framework.base import Judgement, Setting
from relufit.experiments.framework.exact_tests import mcnemar

NAME = "initialization_scale"
TOPIC = Topic.INITIALIZATION_SCALE
MOMENTS, EQUAL, FAR = "moments", "random", "random x 100"
STARTS = (MOMENTS, EQUAL, "random x 10", FAR)
#: Up to the former n/d starts are compared; from the latter on every start must lead to w*.
NEAR, AMPLE = 2.5, 4.0
#: Of the tests of all starts at `FAR` together.
LEVEL = 0.05
#: Share of the data sets in which a start as long as w* may fail where the moment estimate does not.
MARGIN = 0.2
#: Of the lower bound of Clopper and Pearson, level 95 %, of the share of successes.
RELIABLE = 0.85
_TITLES = {"gradient_descent": "gradient descent", "sgd": "SGD", "qsgd": "QSGD"}
_PREDICTED = 80


class _Cell(NamedTuple):
    """What a method does from a start at some n/d.

    Of `trials` the `share` reaches w*, in `iterations` in the median; `away` end farther from w* than zero is.
    `moments_alone` and `start_alone` count the data sets where only one of the two leads to w*, and `p_value` is that
    of the exact test of McNemar.
    """

    method: str
    start: str
    ratio: float
    trials: int
    share: float
    low: float
    high: float
    iterations: float
    away: int
    moments_alone: int
    start_alone: int
    p_value: float


class InitializationScale:
    """The experiment ``initialization_scale``."""

    NAME = NAME
    TITLE = "The scale of the initial weights"
    QUESTION = "Near n = 2d, do gradient descent, SGD and QSGD reach w* from other starts than the moment estimate?"
    PREDICTION = (
        "from a random direction of the norm of w* as from the moment estimate; from 100 times that norm less often "
        "near n = 2d, where runs end at other stationary points, and always for n of 4d or more; at most with the "
        "probability of d active rows (theory.recovery_probability)"
    )
    TIMED = False
    TABLES = ("cells", "predictions")

    def settings(self, config: Mapping[str, Any]) -> list[Setting]:
        """Return a setting for each method, ratio and start; those of a method share a job."""
        section = config[NAME]
        return [_setting(section, *cell) for cell in _grid(section)]

    def judge(
        self, config: Mapping[str, Any], results: Mapping[str, Record], timings: Mapping[str, Record]
    ) -> Judgement:
        """Compare every start with the moment estimate, data set by data set."""
        section = config[NAME]
        grid = _grid(section)
        ends = {cell: _ends(results[_setting(section, *cell).name].table) for cell in grid}
        cells = [_cell(section, ends, *cell) for cell in grid]
        compared = [cell for cell in cells if cell.ratio <= NEAR]
        far = [cell for cell in compared if cell.start == FAR]
        verdicts = [
            *(_worse(cell, len(far)) for cell in far),
            *(_no_worse(cell) for cell in compared if cell.start == EQUAL),
            *(_reliable(cell) for cell in cells if cell.ratio >= AMPLE),
        ]
        budgets = [f"{_TITLES[name]} {section[name]['iterations']} iterations" for name in section["methods"]]
        tried = "; ".join(
            f"{_TITLES[name]}, n/d in {section[name]['ratios']}, {section[name]['trials']} data sets"
            for name in section["methods"]
        )
        said = f"d = {section['dimension']}, m = {section['mini_batch']}; {tried}; the same data for all starts"
        budget = f"{', '.join(budgets)} to relative error {section['tolerance']:g}"
        tables = {"cells": pd.DataFrame(cells, columns=_Cell._fields), "predictions": _predictions(section)}
        return Judgement(said, budget, {TOPIC: verdicts}, tables)


def _grid(section: Mapping[str, Any]) -> list[tuple[str, float, str]]:
    """Return (method, n/d, start) of each cell."""
    return [
        (method, ratio, start)
        for method in section["methods"]
        for ratio in section[method]["ratios"]
        for start in STARTS
    ]


def _setting(section: Mapping[str, Any], method: str, ratio: float, start: str) -> Setting:
    d, solves = section["dimension"], method == "gradient_descent"
    return Setting(
        NAME,
        f"{method}, {start}, ratio {ratio:g}",
        {"n": round(ratio * d), "d": d},
        _descent(section, start) if solves else _training(section, method, start),
        section[method]["trials"],
        "solve" if solves else "train",
        group=method,
        stream=f"ratio {ratio:g}",
    )


def _descent(section: Mapping[str, Any], start: str) -> dict[str, Any]:
    part = section["gradient_descent"]
    return {
        "solver": "gradient_descent",
        "start": start,
        "step_size": part["step_size"],
        "tolerance": section["tolerance"],
        "iterations": part["iterations"],
    }


def _training(section: Mapping[str, Any], method: str, start: str) -> dict[str, Any]:
    part = section[method]
    quantizer = {"name": "qsgd", "levels": part["levels"], "coding": "packed"} if method == "qsgd" else {"name": "fp64"}
    return {
        "compressor": quantizer,
        "workers": 1,
        "batch_size": section["mini_batch"],
        "step_size": "optimal",
        "iterations": part["iterations"],
        "tolerance": section["tolerance"],
        "sampling": "with_replacement",
        # The end alone is judged.
        "record_every": part["iterations"],
        "initial_weights": start,
    }


def _ends(table: pd.DataFrame) -> pd.DataFrame:
    """Return the number of iterations and the relative error at the end of each trial."""
    last = table.rename(columns={"iteration": "iterations"}).groupby("trial")[["iterations", "relative_error"]].last()
    return last.astype(np.float64)


def _cell(
    section: Mapping[str, Any],
    ends: Mapping[tuple[str, float, str], pd.DataFrame],
    method: str,
    ratio: float,
    start: str,
) -> _Cell:
    end, tolerance = ends[method, ratio, start], section["tolerance"]
    reached = end["relative_error"] <= tolerance
    from_moments = (ends[method, ratio, MOMENTS]["relative_error"] <= tolerance).reindex(end.index)
    moments_alone, start_alone = int((from_moments & ~reached).sum()), int((reached & ~from_moments).sum())
    return _Cell(
        method,
        start,
        round(ratio * section["dimension"]) / section["dimension"],
        len(end),
        *_share(int(reached.sum()), len(end)),
        float(end.loc[reached, "iterations"].median()),
        # Of zero the relative error is 1.
        int((end["relative_error"] > 1).sum()),
        moments_alone,
        start_alone,
        mcnemar(moments_alone, start_alone),
    )


def _share(hits: int, trials: int, confidence: float | None = None) -> Interval:
    """Return a share with its interval, undefined where there are no trials."""
    if not trials:
        return Interval(math.nan, math.nan, math.nan)
    return proportion_interval(hits, trials, confidence) if confidence else proportion_interval(hits, trials)


def _where(cell: _Cell) -> str:
    return f"{_TITLES[cell.method]}, {cell.start}, n/d = {cell.ratio:g}"


def _evidence(cell: _Cell) -> str:
    return f"traces/{NAME}/{cell.method}.parquet"


def _worse(cell: _Cell, tests: int) -> Verdict:
    confidence = 1 - LEVEL / tests
    alone = cell.moments_alone + cell.start_alone
    return judge(
        "of the data sets where one of the two starts alone leads to w*, the share where that is the moment estimate",
        _where(cell),
        _share(cell.moments_alone, alone, confidence),
        least=0.5,
        trials=cell.trials,
        evidence=_evidence(cell),
        note=f"Exact test of McNemar on {alone} of {cell.trials} data sets, {100 * LEVEL:g} % over "
        f"all tests of this kind; {cell.away} runs ended farther from w* than zero is.",
        confidence=confidence,
    )


def _no_worse(cell: _Cell) -> Verdict:
    return judge(
        "share of data sets where the moment estimate alone leads to w*",
        _where(cell),
        _share(cell.moments_alone, cell.trials),
        most=MARGIN,
        trials=cell.trials,
        evidence=_evidence(cell),
        note=f"The random start alone leads to w* in {cell.start_alone}.",
    )


def _reliable(cell: _Cell) -> Verdict:
    return judge(
        "share of data sets in which w* is reached",
        _where(cell),
        Interval(cell.share, cell.low, cell.high),
        least=RELIABLE,
        trials=cell.trials,
        evidence=_evidence(cell),
    )


def _predictions(section: Mapping[str, Any]) -> pd.DataFrame:
    """Return the probability of d active rows, the most that any method can reach, over the ratios of all methods."""
    d, ratios = section["dimension"], _ratios(section)
    samples = np.unique(np.round(np.geomspace(min(ratios), max(ratios), _PREDICTED) * d).astype(int))
    rows = [(int(n) / d, theory.recovery_probability(int(n), d)) for n in samples]
    return pd.DataFrame(rows, columns=["ratio", "probability"])


def _ratios(section: Mapping[str, Any]) -> Sequence[float]:
    return [ratio for method in section["methods"] for ratio in section[method]["ratios"]]
