"""Larger batches: how the rate of SGD grows with the mini-batch, and where it stops to.

One rank draws fresh samples, each mini-batch m at its optimal step. The slope of the logarithm of the squared error
is compared with `relufit.theory.log_contraction`, and the samples that a run takes, m times its iterations, with those
at the least m: while m << 2d they hardly grow, and iterations fall as 1/m.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from relufit import theory
from relufit.claims.statistics import Interval, line_fit, mean_interval
from relufit.claims.topics import Topic
from relufit.claims.trace_files import Record
from relufit.claims.verdict import Verdict, exactly, judge
from relufit.experiments.batch_scaling.fresh_losses import fresh_losses
from relufit.experiments.framework.base import Judgement, Setting, budget_of
from relufit.experiments.framework.counted_exchanges import payload_bytes
from relufit.experiments.framework.quantized import fresh_training, planted

NAME = "batch_scaling"
#: Relative error below which slopes are taken: above it, the active rows of w and of w* differ.
BAND = 1e-2
#: Tolerance of the slope, of the samples, and of what a step takes off at the critical batch.
TOLERANCE = 0.05
_PREDICTED = 60


def reached(table: pd.DataFrame, tolerance: float) -> np.ndarray:
    """Return for each trial the iteration at which its error came down to `tolerance`, NaN if it did not.

    It is interpolated in the logarithm of the error between two rows of the trace.
    """
    return np.array([_first(rows, tolerance) for _, rows in table.groupby("trial")])


def _first(trial: pd.DataFrame, tolerance: float) -> float:
    iterations, errors = trial["iteration"].to_numpy(), trial["relative_error"].to_numpy()
    below = np.flatnonzero(errors <= tolerance)
    if not below.size:
        return math.nan
    last = int(below[0])
    if last == 0 or errors[last] == 0:
        return float(iterations[last])
    ends = np.log(errors[[last, last - 1]])
    return float(np.interp(math.log(tolerance), ends, iterations[[last, last - 1]]))


def slopes(table: pd.DataFrame, band: float) -> np.ndarray:
    """Return for each trial the slope of ln error^2 an iteration below the relative error `band`, NaN without three."""
    return np.array([_slope(rows[rows["relative_error"] <= band]) for _, rows in table.groupby("trial")])


def _slope(rows: pd.DataFrame) -> float:
    rows = rows[rows["relative_error"] > 0]
    if len(rows) < 3:
        return math.nan
    return line_fit(rows["iteration"].to_numpy(), 2 * np.log(rows["relative_error"].to_numpy())).slope


def _rate(d: int, m: int) -> float:
    """Return the predicted slope of ln error^2 an iteration at the optimal step."""
    return theory.log_contraction(d, m, theory.optimal_step(d, m))


def _due(section: Mapping[str, Any], m: int) -> float:
    """Return the predicted iterations to the tolerance."""
    start = theory.initial_error(**planted(section))
    return theory.iterations_fresh(section["dimension"], m, start, section["tolerance"], typical=True)


def batches(section: Mapping[str, Any]) -> list[int]:
    """Return the mini-batches of a section and the critical one, rising."""
    return sorted({*section["mini_batches"], theory.critical_batch(section["dimension"])})


class BatchScaling:
    """The experiment ``batch_scaling``."""

    NAME = NAME
    TITLE = "Larger batches"
    QUESTION = "How do the rate of SGD and the iterations to a given error depend on the mini-batch?"
    PREDICTION = (
        "the squared error falls by 1 - m/(m + 2d + 3) an iteration in the mean, and a run by theory.log_contraction: "
        "iterations fall nearly as 1/m for m << 2d, and at m = 2d + 3 (theory.critical_batch) a step takes off half "
        "of the squared error; near w* the mean loss is a quarter of the squared error"
    )
    TIMED = False
    TABLES = ("summary", "predictions")

    def settings(self, config: Mapping[str, Any]) -> list[Setting]:
        """Return a setting for each mini-batch; all are short and share a job."""
        section = config[NAME]
        return [
            Setting(
                NAME,
                _name(m),
                planted(section),
                fresh_training(section, "fp64", _due(section, m), workers=1, mini_batch=m),
                section["trials"],
                group="all",
            )
            for m in batches(section)
        ]

    def judge(
        self, config: Mapping[str, Any], results: Mapping[str, Record], timings: Mapping[str, Record]
    ) -> Judgement:
        """Compare slopes with the rate, and samples with those of the least mini-batch."""
        section, settings = config[NAME], self.settings(config)
        grid, tolerance = batches(section), section["tolerance"]
        where = {"trials": section["trials"], "evidence": settings[0].evidence}
        rows = [row for m in grid for row in _measured(section, m, results)]
        summary = pd.DataFrame(rows, columns=["mini_batch", "quantity", "mean", "low", "high", "predicted"])
        intervals = {(row[0], row[1]): Interval(*row[2:5]) for row in rows}
        rate = [
            _about("slope of ln error over the predicted slope", m, intervals[m, "slope"], 1.0, TOLERANCE, where)
            for m in grid
        ]
        rate.append(fresh_losses(settings, results, BAND))
        statistic = f"samples to {tolerance:g} over those at m = {grid[0]}"
        due = {m: m * _due(section, m) / (grid[0] * _due(section, grid[0])) for m in grid}
        larger = [_about(statistic, m, intervals[m, "samples"], due[m], TOLERANCE, where) for m in grid[1:]]
        critical = theory.critical_batch(section["dimension"])
        statistic = "share of the squared error that a step takes off"
        note = "At m = 2d + 3 it is half of what there is to take off, with any batch."
        half = -math.expm1(_rate(section["dimension"], critical))
        larger.append(_about(statistic, critical, intervals[critical, "share"], half, TOLERANCE, where, note))
        expected = payload_bytes("fp64", section["dimension"])
        larger.append(_bytes([results[setting.name].table for setting in settings], expected, where))
        line = (
            f"d = {section['dimension']}, m in {grid}, fresh samples, one rank, optimal step for each m, w0 from "
            f"n/d = {section['ratio']:g}, {section['trials']} trials"
        )
        budget = budget_of(section)
        tables = {"summary": summary, "predictions": _predictions(section)}
        return Judgement(line, budget, {Topic.GEOMETRIC_RATE: rate, Topic.LARGER_BATCHES: larger}, tables)


def _name(m: int) -> str:
    return f"m{m}"


def _measured(section: Mapping[str, Any], m: int, results: Mapping[str, Record]) -> list[tuple[Any, ...]]:
    """Return rows of the summary of one mini-batch."""
    d, least, tolerance = section["dimension"], batches(section)[0], section["tolerance"]
    table, rate = results[_name(m)].table, _rate(d, m)
    fallen, took = slopes(table, BAND), reached(table, tolerance)
    samples = m * took / (least * reached(results[_name(least)].table, tolerance))
    due = m * _due(section, m) / (least * _due(section, least))
    return [
        (m, "slope", *mean_interval(fallen / rate), 1.0),
        (m, "share", *mean_interval(-np.expm1(fallen)), -math.expm1(rate)),
        (m, "samples", *mean_interval(samples), due),
        (m, "iterations", *mean_interval(took), _due(section, m)),
    ]


def _about(
    statistic: str, m: int, interval: Interval, value: float, tolerance: float, where: Mapping[str, Any], note: str = ""
) -> Verdict:
    """Return the verdict on an interval that must be within a share `tolerance` of `value`."""
    bounds: dict[str, Any] = {"least": value * (1 - tolerance), "most": value * (1 + tolerance)}
    return judge(statistic, f"m = {m}", interval, **bounds, **where, note=note)


def _bytes(tables: Sequence[pd.DataFrame], expected: int, where: Mapping[str, Any]) -> Verdict:
    costs = set()
    for table in tables:
        ends = table.groupby("trial")[["iteration", "uplink_bytes"]].agg(["first", "last"])
        sent, steps = (ends[name]["last"] - ends[name]["first"] for name in ("uplink_bytes", "iteration"))
        costs.update((sent[steps > 0] / steps[steps > 0]).tolist())
    statistic = f"an iteration sends {expected} bytes, those of one gradient in fp64, in every trial"
    return exactly(statistic, "all m", costs == {float(expected)}, **where)


def _predictions(section: Mapping[str, Any]) -> pd.DataFrame:
    """Return for mini-batches over the whole range the predicted iterations, and those that fall as 1/m."""
    grid = batches(section)
    m = np.unique(np.geomspace(grid[0], grid[-1], _PREDICTED).round().astype(int))
    table = pd.DataFrame({"mini_batch": m, "iterations": [_due(section, int(batch)) for batch in m]})
    table["inverse"] = _due(section, grid[0]) * grid[0] / m
    return table.assign(critical=theory.critical_batch(section["dimension"]))
