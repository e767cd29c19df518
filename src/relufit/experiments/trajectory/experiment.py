"""From far away: the whole way of SGD and QSGD from w0, against the mean-field recursion.

Few samples make w0, so that runs begin about as far from w* as zero is, where the rate near w* does not hold yet. The
curve of `relufit.theory.global_curve` begins with the expected moments of w0 and has nothing fitted; runs draw fresh
samples and end where it comes down to a given error. A run goes by the mean logarithm of its steps, the curve by the
mean square: near w* it lies above by about 1.25/d of the way down in ln error^2, and by more with a quantizer or a
longer step. That, and the spread of w0, are left out of the prediction, at leading order in 1/d.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from relufit import theory
from relufit.claims.statistics import mean_interval
from relufit.claims.topics import Topic
from relufit.claims.trace_files import Record
from relufit.claims.verdict import Verdict, judge
from relufit.experiments.framework.base import Judgement, Setting
from relufit.experiments.framework.curves import on_grid, typical_curve
from relufit.experiments.framework.quantized import omega_of, planted, sgd_or_qsgd

NAME = "trajectory"
#: Tolerance of ln error^2 at the end of a run.
TOLERANCE = 0.2


def _known(section: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, Any]:
    """Return what theory takes beside the step."""
    omega = omega_of(sgd_or_qsgd(section, run["levels"]), section["dimension"])
    return {"d": section["dimension"], "m": run["mini_batch"], "workers": run["workers"], "omega": omega}


def _step(section: Mapping[str, Any], run: Mapping[str, Any]) -> float:
    return float(run["step_factor"]) * theory.optimal_step(**_known(section, run))


def predicted_curve(section: Mapping[str, Any], run: Mapping[str, Any]) -> np.ndarray:
    """Return the predicted squared errors of a run, to the first that is at most the section's `end`, or the budget."""
    square, inner = theory.initial_moments(**planted(section))
    return _curve_to(
        section["end"],
        section["iterations"],
        step=_step(section, run),
        norm_squared=square,
        inner=inner,
        **_known(section, run),
    )


# The settings of a run are asked for several times in a process, and each time for the length of the curve.
@lru_cache(maxsize=256)
def _curve_to(end: float, iterations: int, **start: Any) -> np.ndarray:  # noqa: ANN401 - what theory.global_curve takes
    """Return the curve to the first error that is at most `end`, or over all iterations; it cannot be written to."""
    curve = theory.global_curve(iterations=iterations, until=end**2, **start)
    curve.flags.writeable = False
    return curve


def _name(run: Mapping[str, Any]) -> str:
    kind = "sgd" if run["levels"] is None else f"qsgd-s{run['levels']}"
    return f"{kind}-K{run['workers']}-m{run['mini_batch']}-step{run['step_factor']:g}"


def _words(run: Mapping[str, Any]) -> str:
    kind = "SGD" if run["levels"] is None else f"QSGD, s = {run['levels']}"
    step = "optimal step" if run["step_factor"] == 1 else f"{run['step_factor']:g} x optimal step"
    return f"{kind}, K = {run['workers']}, m = {run['mini_batch']}, {step}"


class Trajectory:
    """The experiment ``trajectory``."""

    NAME = NAME
    TITLE = "The whole way from w0"
    QUESTION = (
        "Do SGD and QSGD follow the predicted curve from far away, for different levels, batches, ranks and steps?"
    )
    PREDICTION = (
        "the mean-field recursion for ||w||^2 and <w, w*> from the expected moments of w0 (theory.global_curve, "
        "theory.initial_moments)"
    )
    TIMED = False
    TABLES = ("curves", "ends")

    def settings(self, config: Mapping[str, Any]) -> list[Setting]:
        """Return a setting for each run of the section, on data of its own; all are short and share a job."""
        section = config[NAME]
        return [
            Setting(
                NAME,
                _name(run),
                planted(section),
                {
                    "compressor": sgd_or_qsgd(section, run["levels"]),
                    "workers": run["workers"],
                    "batch_size": run["mini_batch"],
                    "step_size": _step(section, run),
                    "iterations": (length := len(predicted_curve(section, run)) - 1),
                    "sampling": "fresh",
                    "record_every": max(1, length // section["points"]),
                },
                section["trials"],
                group="all",
                stream=_name(run),
            )
            for run in section["runs"]
        ]

    def judge(
        self, config: Mapping[str, Any], results: Mapping[str, Record], timings: Mapping[str, Record]
    ) -> Judgement:
        """Compare ln error^2 at the end with the prediction."""
        section = config[NAME]
        verdicts: dict[Topic, list[Verdict]] = {Topic.GEOMETRIC_RATE: [], Topic.FAST_CONVERGENCE: []}
        curves, rows = [], []
        for run, setting in zip(section["runs"], self.settings(config), strict=True):
            table, predicted = results[setting.name].table, predicted_curve(section, run)
            last = setting.spec["iterations"]
            ends = table[table["iteration"] == last]["relative_error"].to_numpy()
            # A trial that did not come so far, or diverged, leaves its difference open.
            logs = np.full(setting.trials, math.nan)
            logs[: len(ends)] = 2 * np.log(ends)
            topic = Topic.GEOMETRIC_RATE if run["levels"] is None else Topic.FAST_CONVERGENCE
            verdicts[topic].append(
                judge(
                    "ln error^2 at the end, measured less predicted",
                    _words(run),
                    mean_interval(logs - math.log(predicted[last])),
                    least=-TOLERANCE,
                    most=TOLERANCE,
                    trials=setting.trials,
                    evidence=setting.evidence,
                    note="A run goes by the mean of the logarithm, the prediction by the mean square: their "
                    "difference, of order 1/d, is within the tolerance.",
                )
            )
            curve = typical_curve(table)
            curve["predicted"] = on_grid(predicted, curve["iteration"].to_numpy())
            curves.append(curve.assign(setting=setting.name, label=_words(run)))
            rows.append((setting.name, last, *mean_interval(logs), math.log(predicted[last])))
        columns = ["setting", "iterations", "mean", "low", "high", "predicted"]
        tables = {"curves": pd.concat(curves, ignore_index=True), "ends": pd.DataFrame(rows, columns=columns)}
        line = (
            f"d = {section['dimension']}, fresh samples, w0 from n/d = {section['ratio']:g}, {len(section['runs'])} "
            f"runs to a predicted error of {section['end']:g}, {section['trials']} trials"
        )
        budget = "the iterations that the prediction takes, " + ", ".join(f"{row[1]}" for row in rows)
        return Judgement(line, budget, verdicts, tables)
