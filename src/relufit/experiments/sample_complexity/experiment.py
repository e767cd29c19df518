"""Sample complexity: from how many samples a dimension on each method finds w*.

A trial is a success if the relative error comes to the method's tolerance within its budget of iterations. Least
squares on the rows with y > 0 succeeds exactly where d of them are active, so that its successes are tested against
`relufit.theory.recovery_probability`, which has no constant to fit and is 1/2 at n = 2d - 1. Gradient methods cross
one half where the curve of the limiting spectrum comes to the tolerance at the end of the budget. A number of
samples that is optimal up to a constant means that these crossings do not grow with d.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy

from relufit import theory
from relufit.claims.statistics import Interval, crossing, normal_interval, proportion_interval, slope_interval
from relufit.claims.topics import Topic
from relufit.claims.trace_files import Record
from relufit.claims.verdict import Verdict, exactly, judge
from relufit.experiments.framework.base import Judgement, Setting
from relufit.experiments.framework.exact_tests import level_note, shared
from relufit.experiments.sample_complexity.recovery import METHODS, Method

NAME = "sample_complexity"
#: Shifts of the threshold, in n/d, that the exact tests of all cells must be able to tell, with what probability.
RESOLUTION, POWER = 0.25, 0.9
#: Growth of a crossing, in n/d, an e-fold of d that still counts as none; if n grew as d ln d it would be four times as
#: much, see the note of the verdict.
FLAT = 0.1
#: "In one go" is judged from this n/d on: least share of successes.
AMPLE, RELIABLE = 2.5, 0.9
_CROSSINGS = f"tables/{NAME}.crossings.csv"
_DIRECT = "Predicted is 2 - 1/d, where d rows are active in half of the data sets."
_CURVE = (
    "Predicted is where the mean squared error, as n and d grow, comes to the tolerance at the end of the budget; half "
    "of the trials are below it a little earlier."
)
_EXACT, _PREDICTED = "least_squares", 80


class _Cell(NamedTuple):
    """The successes of a method at some n and d, their share with its interval, and its probability if there is one.

    `agreeing` counts the trials that succeed and have d active rows, or neither; NaN where they were not counted.
    """

    method: str
    dimension: int
    samples: int
    ratio: float
    trials: int
    successes: int
    share: float
    low: float
    high: float
    predicted: float
    agreeing: float


class _Place(NamedTuple):
    """The n/d at which half of the trials of a method succeed: its interval, its standard error, the prediction."""

    method: str
    dimension: int
    trials: int
    crossing: float
    low: float
    high: float
    error: float
    predicted: float


class SampleComplexity:
    """The experiment ``sample_complexity``."""

    NAME = NAME
    TITLE = "Samples a dimension"
    QUESTION = "From how many samples n does each method find w*, and does n/d grow with d?"
    PREDICTION = (
        "least squares on the active rows succeeds with P(Binomial(n, 1/2) >= d) (theory.recovery_probability), one "
        "half at n = 2d - 1; gradient methods where the curve of the limiting spectrum comes to the tolerance within "
        "the budget (theory.descent_curve, theory.fixed_data_curve)"
    )
    TIMED = False
    TABLES = ("cells", "crossings", "predictions")

    def settings(self, config: Mapping[str, Any]) -> list[Setting]:
        """Return a setting for each cell (method, d, n), all independent of each other."""
        section = config[NAME]
        return [
            Setting(
                NAME,
                _name(name, d, n),
                {"n": n, "d": d},
                method.spec(section[name], d),
                trials,
                method.procedure,
                group=_group(name, d),
                stream=_name(name, d, n),
            )
            for name, method in _methods(section).items()
            for d, trials, n in _grid(section, name)
        ]

    def judge(
        self, config: Mapping[str, Any], results: Mapping[str, Record], timings: Mapping[str, Record]
    ) -> Judgement:
        """Compare successes of least squares with their probability, and crossings with theirs and with each other."""
        section = config[NAME]
        methods = _methods(section)
        cells: dict[str, list[_Cell]] = {}
        places: list[_Place] = []
        placed: list[Verdict] = []
        for name in methods:
            options = section[name]
            grid = _grid(section, name)
            cells[name] = [_cell(options, name, d, t, n, results[_name(name, d, n)].table) for d, t, n in grid]
            method_places = [_place(options, name, _of(cells[name], d)) for d in section["dimensions"]]
            places += method_places
            placed += [*_against_prediction(options, method_places), _growth(method_places)]
        direct = cells.get(_EXACT, [])
        budgets = [
            f"{m.title} {m.budget(section[name])} to {section[name]['tolerance']:g}" for name, m in methods.items()
        ]
        trials = ", ".join(f"{method.title} {section[name]['trials']}" for name, method in methods.items())
        setting = f"d in {section['dimensions']}, from w0; trials of each cell (n, d): {trials}"
        tables = {
            "cells": pd.DataFrame([cell for method_cells in cells.values() for cell in method_cells]),
            "crossings": pd.DataFrame(places),
            "predictions": _predictions(section),
        }
        verdicts = {Topic.SAMPLES: _exact(direct) + placed, Topic.LEAST_SQUARES: _one_go(direct)}
        return Judgement(setting, "; ".join(budgets), verdicts, tables)


def _methods(section: Mapping[str, Any]) -> dict[str, Method]:
    return {name: METHODS[name] for name in section["methods"]}


def _grid(section: Mapping[str, Any], name: str) -> list[tuple[int, int, int]]:
    """Return (d, trials, n) of each cell of a method."""
    return [
        (d, trials, round(ratio * d))
        for d, trials in zip(section["dimensions"], section[name]["trials"], strict=True)
        for ratio in section[name]["ratios"]
    ]


def _name(name: str, d: int, n: int) -> str:
    return f"{name}-d{d}-n{n}"


def _group(name: str, d: int) -> str:
    """Return the job of a cell: a solver is one, and so is each dimension of a training run, which takes longer."""
    return name if METHODS[name].procedure == "solve" else f"{name}-d{d}"


def _evidence(name: str, d: int) -> str:
    return f"traces/{NAME}/{_group(name, d)}.parquet"


def _of(cells: Sequence[_Cell], d: int) -> list[_Cell]:
    return [cell for cell in cells if cell.dimension == d]


def _cell(options: Mapping[str, Any], name: str, d: int, trials: int, n: int, table: pd.DataFrame) -> _Cell:
    reached = table.groupby("trial")["relative_error"].last() <= options["tolerance"]
    successes = int(reached.sum())
    due = theory.recovery_probability(n, d) if METHODS[name].direct else math.nan
    agreeing = math.nan
    if "active" in table:
        agreeing = int(((table["active"] >= d) == (table["relative_error"] <= options["tolerance"])).sum())
    return _Cell(name, d, n, n / d, trials, successes, *proportion_interval(successes, trials), due, agreeing)


def _place(options: Mapping[str, Any], name: str, cells: Sequence[_Cell]) -> _Place:
    d, trials = cells[0].dimension, [cell.trials for cell in cells]
    place, error, _ = crossing([cell.ratio for cell in cells], [cell.successes for cell in cells], trials)
    return _Place(name, d, sum(trials), *normal_interval(place, error), error, METHODS[name].predicted(options, d))


def _exact(cells: Sequence[_Cell]) -> list[Verdict]:
    """Return for each d the verdict on the successes of least squares, by exact tests of all its cells.

    A cell is refuted where the interval of Clopper and Pearson at the level of one test does not hold the
    probability. Where the tests could not tell a shift of the threshold by `RESOLUTION` the verdict is left open.
    """
    verdicts = []
    for d in dict.fromkeys(cell.dimension for cell in cells):
        confidence, cells_of_d = shared(len(cells)), _of(cells, d)
        holds = all(_passes(cell, cell.successes, confidence) for cell in cells_of_d)
        shift = _least_shift(cells_of_d, confidence)
        share = float(holds) if not holds or shift <= RESOLUTION else math.nan
        verdicts.append(
            judge(
                f"successes are as P(Binomial(n, 1/2) >= d) in all {len(cells_of_d)} cells",
                f"least squares, d = {d}",
                Interval(share, share, share),
                least=1.0,
                trials=sum(cell.trials for cell in cells_of_d),
                evidence=_evidence(_EXACT, d),
                note=f"Exact binomial tests. {level_note(len(cells))} At d = {d} a threshold {shift:.2g} away in n/d "
                f"would be refuted with probability {POWER:g}.",
                confidence=confidence,
            )
        )
    return verdicts


def _passes(cell: _Cell, successes: int, confidence: float) -> bool:
    _, low, high = proportion_interval(successes, cell.trials, confidence)
    return low <= cell.predicted <= high


def _least_shift(cells: Sequence[_Cell], confidence: float) -> float:
    """Return the least shift of the threshold in n/d, to either side, that the tests of the cells refute mostly."""
    passing = [[k for k in range(cell.trials + 1) if _passes(cell, k, confidence)] for cell in cells]
    for shift in np.arange(0.01, 1.0, 0.01):
        missed = [1.0, 1.0]
        for side, sign in enumerate((-1, 1)):
            for cell, counts in zip(cells, passing, strict=True):
                shifted = max(1, round(cell.samples + sign * float(shift) * cell.dimension))
                p = theory.recovery_probability(shifted, cell.dimension)
                # Those that pass are successive numbers.
                below = scipy.special.bdtr(counts[0] - 1, cell.trials, p) if counts[0] else 0.0
                missed[side] *= float(scipy.special.bdtr(counts[-1], cell.trials, p) - below)
        if max(missed) <= 1 - POWER:
            return float(shift)
    return math.inf


def _against_prediction(options: Mapping[str, Any], places: Sequence[_Place]) -> list[Verdict]:
    """Return the verdicts on how far a method's crossings are from those predicted, and from 2."""
    method = METHODS[places[0].method]
    off = float(np.mean([place.crossing - place.predicted for place in places]))
    error = math.sqrt(sum(place.error**2 for place in places)) / len(places)
    verdicts = [
        judge(
            "n/d at which half of the trials succeed, less the prediction, mean over d",
            method.title,
            normal_interval(off, error),
            least=-method.tolerance,
            most=method.tolerance,
            trials=sum(place.trials for place in places),
            evidence=_CROSSINGS,
            note=_DIRECT if method.direct else _CURVE,
        )
    ]
    for place in places:
        most = method.most(options, place.dimension)
        if most < math.inf:
            verdicts.append(
                judge(
                    "n/d at which half of the trials succeed",
                    f"{method.title}, d = {place.dimension}",
                    Interval(place.crossing, place.low, place.high),
                    most=most,
                    trials=place.trials,
                    evidence=_evidence(place.method, place.dimension),
                    note=f"What {method.title} needs beyond 2 is an effect of its budget, {method.budget(options)}.",
                )
            )
    return verdicts


def _growth(places: Sequence[_Place]) -> Verdict:
    """Return the verdict on how the crossing of a method grows with d."""
    logs = [math.log(place.dimension) for place in places]
    crossings, title = [place.crossing for place in places], METHODS[places[0].method].title
    return judge(
        "growth of n/d at which half of the trials succeed, an e-fold of d",
        title,
        slope_interval(logs, crossings, [place.error for place in places]),
        least=-FLAT,
        most=FLAT,
        trials=sum(place.trials for place in places),
        evidence=_CROSSINGS,
        note=f"If {title} needed n as d ln d, it would be about {np.mean(crossings) / np.mean(logs):.2g}.",
    )


def _one_go(cells: Sequence[_Cell]) -> list[Verdict]:
    """Return the verdicts on least squares as a solution in one iteration."""
    if not cells:
        return []
    dimensions = list(dict.fromkeys(cell.dimension for cell in cells))
    verdicts = [
        exactly(
            "it succeeds in the trials with d active rows or more, and in no other",
            f"least squares, d in {dimensions}",
            all(cell.agreeing == cell.trials for cell in cells),
            trials=sum(cell.trials for cell in cells),
            evidence=_evidence(_EXACT, dimensions[0]),
        )
    ]
    for d in dimensions:
        ample = [cell for cell in _of(cells, d) if cell.ratio >= AMPLE]
        trials = sum(cell.trials for cell in ample)
        if trials:
            share = proportion_interval(sum(cell.successes for cell in ample), trials)
            statistic, setting = f"share of successes at n/d >= {AMPLE:g}, in one iteration", f"least squares, d = {d}"
            evidence = _evidence(_EXACT, d)
            verdicts.append(judge(statistic, setting, share, least=RELIABLE, trials=trials, evidence=evidence))
    return verdicts


def _predictions(section: Mapping[str, Any]) -> pd.DataFrame:
    """Return the probability of d active rows over the range of n/d of all methods."""
    ratios = [ratio for name in section["methods"] for ratio in section[name]["ratios"]]
    rows = [
        (d, int(n), n / d, theory.recovery_probability(int(n), d))
        for d in section["dimensions"]
        for n in np.unique((d * np.linspace(min(ratios), max(ratios), _PREDICTED)).round().astype(int))
    ]
    return pd.DataFrame(rows, columns=["dimension", "samples", "ratio", "probability"])
