"""The initial weights: how far (2/n) sum y x is from w*.

The mean squared relative error over independent data sets is compared with ``(2d + 3)/n``, which is exact for all n
and d. The moments come from the ranks, each from its own rows, and are added as in a training run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from relufit import theory
from relufit.claims.topics import Topic
from relufit.claims.trace_files import Record
from relufit.claims.verdict import Verdict, agrees
from relufit.experiments.framework.base import Judgement, Setting
from relufit.experiments.framework.exact_tests import level_note, mean_over, shared, standard_errors

NAME = "initial_error"
#: A mean is confirmed if its interval, at the level of `exact_tests`, is within this share of the prediction.
RESOLUTION = 0.15
_PREDICTED = 25


class InitialError:
    """The experiment ``initial_error``."""

    NAME = NAME
    TITLE = "The initial weights"
    QUESTION = "How far from w* is the moment estimate w0 = (2/n) sum y x that SGD starts from?"
    PREDICTION = "the mean of ||w0 - w*||^2 / ||w*||^2 is (2d + 3)/n (theory.initial_error), exactly"
    TIMED = False
    TABLES = ("cells", "predictions")

    def settings(self, config: Mapping[str, Any]) -> list[Setting]:
        """Return a setting for each cell; a trial is a run of no iterations."""
        section = config[NAME]
        return [
            Setting(
                NAME,
                _name(cell),
                {"n": cell["samples"], "d": cell["dimension"]},
                {
                    "compressor": "fp64",
                    "workers": cell["workers"],
                    # The least that there is: no sample of a mini-batch is drawn.
                    "batch_size": cell["workers"],
                    "step_size": "optimal",
                    "iterations": 0,
                    "sampling": "with_replacement",
                },
                section["trials"],
                group="moments",
                stream=_name(cell),
            )
            for cell in section["cells"]
        ]

    def judge(
        self, config: Mapping[str, Any], results: Mapping[str, Record], timings: Mapping[str, Record]
    ) -> Judgement:
        """Compare the mean squared error of each cell with its expectation."""
        section, settings = config[NAME], self.settings(config)
        trials, confidence, note = section["trials"], shared(len(settings)), level_note(len(settings))
        verdicts: list[Verdict] = []
        rows = []
        for cell, setting in zip(section["cells"], settings, strict=True):
            d, n, workers = cell["dimension"], cell["samples"], cell["workers"]
            table = results[setting.name].table
            with np.errstate(over="ignore"):
                squares = table.loc[table["iteration"] == 0, "relative_error"].to_numpy() ** 2
            expected = theory.initial_error(n, d)
            verdicts.append(
                agrees(
                    "mean squared relative error over (2d + 3)/n",
                    f"d = {d}, n = {n}, K = {workers}",
                    mean_over(squares, expected, confidence),
                    resolution=RESOLUTION,
                    trials=len(squares),
                    evidence=setting.evidence,
                    confidence=confidence,
                    note=note,
                )
            )
            rows.append((d, n, workers, *mean_over(squares, 1.0), expected, standard_errors(squares, expected)))
        columns = ["dimension", "samples", "workers", "mean", "low", "high", "predicted", "z"]
        tables = {"cells": pd.DataFrame(rows, columns=columns), "predictions": _predictions(section)}
        setting_line = f"{len(settings)} cells (d, n, K), {trials} data sets each"
        return Judgement(setting_line, "no iterations", {Topic.INITIAL_WEIGHTS: verdicts}, tables)


def _name(cell: Mapping[str, Any]) -> str:
    return f"d{cell['dimension']}-n{cell['samples']}-K{cell['workers']}"


def _predictions(section: Mapping[str, Any]) -> pd.DataFrame:
    """Return the prediction for each dimension over the range of n/d of all cells."""
    ratios = [cell["samples"] / cell["dimension"] for cell in section["cells"]]
    rows = [
        (d, n, theory.initial_error(n, d))
        for d in sorted({cell["dimension"] for cell in section["cells"]})
        for n in np.unique((d * np.geomspace(min(ratios), max(ratios), _PREDICTED)).round().astype(int))
    ]
    return pd.DataFrame(rows, columns=["dimension", "samples", "predicted"])
