"""Other starts than the moment estimate: does gradient descent reach w* from them too.

For each start of `relufit.solvers.STARTS` and each n/d full-batch gradient descent runs with a fixed step until the
tolerance or its budget; all starts see the same data sets. At exactly zero no row is active and the gradient is zero.
The iterations are compared, in the figure, with those that would be due if the active rows were those of w* from the
first step, and the error of the start lay evenly in all directions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from relufit import theory
from relufit.claims.statistics import proportion_interval
from relufit.claims.topics import Topic
from relufit.claims.trace_files import Record
from relufit.claims.verdict import Verdict, exactly, judge
from relufit.experiments.framework.base import Judgement, Setting, budget_of
from relufit.solvers import STARTS

NAME = "initializations"
#: Of the lower bound of Clopper and Pearson, level 95 %, of the share of successes: 40 of 40 give 0.93.
RELIABLE = 0.85
STUCK = "zero"


class Initializations:
    """The experiment ``initializations``."""

    NAME = NAME
    TITLE = "Other starts lead to w* too"
    QUESTION = "Does gradient descent need the moment estimate w0 to reach w*?"
    PREDICTION = (
        "from every start but exactly zero, where no row is active, w* is reached; near it the error falls as on the "
        "rows active at w* (theory.descent_curve)"
    )
    TIMED = False
    TABLES = ("trials", "summary")

    def settings(self, config: Mapping[str, Any]) -> list[Setting]:
        """Return a setting for each start and ratio; all are short and share a job."""
        section = config[NAME]
        d = section["dimension"]
        return [
            Setting(
                NAME,
                f"{start}, ratio {ratio:g}",
                {"n": round(ratio * d), "d": d},
                {
                    "solver": "gradient_descent",
                    "start": start,
                    "step_size": section["step_size"],
                    "tolerance": section["tolerance"],
                    "iterations": section["iterations"],
                },
                section["trials"],
                "solve",
                group="starts",
                stream=f"ratio {ratio:g}",
            )
            for ratio in section["ratios"]
            for start in STARTS
        ]

    def judge(
        self, config: Mapping[str, Any], results: Mapping[str, Record], timings: Mapping[str, Record]
    ) -> Judgement:
        """Judge the share of trials that reach w* from each start, and that zero stays where it is."""
        section = config[NAME]
        verdicts: list[Verdict] = []
        rows, trials = [], []
        for setting in self.settings(config):
            start, ratio, table = (
                setting.spec["start"],
                setting.data["n"] / setting.data["d"],
                results[setting.name].table,
            )
            verdicts.append(_verdict(setting, start, f"{start}, n/d = {ratio:g}", table))
            share = proportion_interval(int(table["reached"].sum()), setting.trials)
            took = table.loc[table["reached"], "iterations"].median()
            rows.append((start, ratio, setting.trials, *share, took, _due(section, start, ratio, table)))
            columns = ["trial", "start", "iterations", "relative_error", "reached"]
            kept = table[columns].rename(columns={"start": "start_error"})
            trials.append(kept.assign(start=start, ratio=ratio))
        names = ["start", "ratio", "trials", "share", "low", "high", "iterations", "predicted"]
        said = (
            f"d = {section['dimension']}, n/d in {section['ratios']}, full-batch gradient descent, step "
            f"{section['step_size']:g}, {section['trials']} data sets, the same for all starts"
        )
        budget = budget_of(section)
        tables = {"trials": pd.concat(trials, ignore_index=True), "summary": pd.DataFrame(rows, columns=names)}
        return Judgement(said, budget, {Topic.OTHER_STARTS: verdicts}, tables)


def _verdict(setting: Setting, start: str, where: str, table: pd.DataFrame) -> Verdict:
    if start == STUCK:
        return exactly(
            "the weights do not move in any trial",
            where,
            # Of zero the relative error is 1.
            len(table) == setting.trials and bool((table["relative_error"] == 1).all()),
            trials=setting.trials,
            evidence=setting.evidence,
            note="With the derivative of max(0, z) at z = 0 taken as 0.",
        )
    return judge(
        "share of trials that reach w*",
        where,
        proportion_interval(int(table["reached"].sum()), setting.trials),
        least=RELIABLE,
        trials=setting.trials,
        evidence=setting.evidence,
    )


def _due(section: Mapping[str, Any], start: str, ratio: float, table: pd.DataFrame) -> float:
    """Return the iterations due on the limiting spectrum, the error at the start even over all directions."""
    square = float(np.mean(table["start"] ** 2)) if len(table) else np.nan
    if start == STUCK or not np.isfinite(square):
        return np.nan
    eigenvalues, weights = theory.marchenko_pastur(ratio)
    curve = theory.descent_curve(
        eigenvalues, weights, section["step_size"], section["iterations"], initial_error_squared=square
    )
    return theory.iterations_to(curve, section["tolerance"])
