"""SGD from the moment estimate: does it converge geometrically, at the rate that theory gives.

For each number of samples n = ratio * d a data set is drawn a trial, and SGD runs on it at the step that is optimal for
fresh samples; data sets of different ratios are independent, and both samplings see the same ones. With replacement,
the predicted curve is the recursion of the second moments in the eigenbasis of the trial's own Gram matrix of active
rows, from the trial's own initial weights; no constant is fitted. The slope of the logarithm is compared below the
relative error `BAND`. Without replacement there is no closed form; the slope over that of the prediction with
replacement is described.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from relufit import theory
from relufit.claims.statistics import line_fit, mean_interval
from relufit.claims.topics import Topic
from relufit.claims.trace_files import Record
from relufit.claims.verdict import Verdict, describe, exactly, judge
from relufit.experiments.framework.base import Judgement, Setting, budget_of
from relufit.experiments.framework.curves import on_grid, typical_curve
from relufit.experiments.framework.procedures import model_of
from relufit.experiments.framework.quantized import training
from relufit.planted import PlantedModel

NAME = "geometric_convergence"
#: Relative errors between which slopes are taken: below the first the slow directions rule.
BAND = 1e-3
#: Tolerance of the slope where n/d is below and from `WELL_SAMPLED`, and the least R^2 of the line.
LOOSE, TIGHT, WELL_SAMPLED, STRAIGHT = 0.10, 0.05, 10, 0.99


class GeometricConvergence:
    """The experiment ``geometric_convergence``."""

    NAME = NAME
    TITLE = "The convergence of SGD"
    QUESTION = "From the initial weights (2/n) sum y x, does the error fall geometrically, and at the predicted rate?"
    PREDICTION = (
        "with replacement, the recursion of the second moments in the eigenbasis of each trial's own active rows "
        "(theory.fixed_data_curve); reshuffled, there is no prediction"
    )
    TIMED = False
    TABLES = ("curves", "slopes")

    def settings(self, config: Mapping[str, Any]) -> list[Setting]:
        """Return a setting for each sampling and ratio."""
        section = config[NAME]
        d = section["dimension"]
        return [
            Setting(
                NAME,
                f"{sampling}-ratio{ratio:g}",
                {"n": round(ratio * d), "d": d},
                training({**section, "workers": 1, "sampling": sampling}, "fp64"),
                section["trials"],
                stream=_stream(ratio),
            )
            for sampling in section["samplings"]
            for ratio in section["ratios"]
        ]

    def judge(
        self, config: Mapping[str, Any], results: Mapping[str, Record], timings: Mapping[str, Record]
    ) -> Judgement:
        """Compare slopes with those predicted for the same data."""
        section = config[NAME]
        d, m, trials = section["dimension"], section["mini_batch"], section["trials"]
        verdicts: list[Verdict] = []
        curves, rates = [], []
        for ratio in section["ratios"]:
            of_ratio = next(setting for setting in self.settings(config) if setting.stream == _stream(ratio))
            models = [model_of(of_ratio, config["seed"], trial) for trial in range(trials)]
            longest = max(
                int(results[f"{sampling}-ratio{ratio:g}"].table["iteration"].max()) for sampling in section["samplings"]
            )
            predicted = [_predicted_curve(model, m, longest) for model in models]
            for sampling in section["samplings"]:
                name = f"{sampling}-ratio{ratio:g}"
                table = results[name].table
                slopes = pd.DataFrame(
                    [_slopes(table[table["trial"] == t], predicted[t]) for t in range(trials)],
                    columns=["measured", "r_squared", "predicted"],
                )
                rates.append(slopes.assign(sampling=sampling, ratio=ratio, trial=range(trials)))
                verdicts += _verdicts(name, sampling, ratio, slopes)
                curve = typical_curve(table)
                logs = [np.log(on_grid(p, curve["iteration"].to_numpy())) for p in predicted]
                curves.append(curve.assign(sampling=sampling, ratio=ratio, predicted=np.exp(np.mean(logs, axis=0))))
        setting = (
            f"d = {d}, n/d in {section['ratios']}, m = {m}, one rank, optimal step for fresh samples, {trials} trials"
        )
        budget = budget_of(section)
        tables = {"curves": pd.concat(curves), "slopes": pd.concat(rates)}
        return Judgement(setting, budget, {Topic.GEOMETRIC_RATE: verdicts}, tables)


def _stream(ratio: float) -> str:
    return f"ratio {ratio:g}"


def _predicted_curve(model: PlantedModel, m: int, iterations: int) -> np.ndarray:
    """Return the predicted squared relative error of SGD with replacement on the data of `model`."""
    w_star = model.weights()
    x, y = model.rows(0, model.n, w_star)
    eigenvalues, weights, start = theory.instance_spectrum(x, y, w_star)
    step = theory.optimal_step(model.d, m)
    return theory.fixed_data_curve(eigenvalues, weights, model.d, m, step, iterations, initial_error_squared=start)


def _slopes(trial: pd.DataFrame, predicted: np.ndarray) -> tuple[float, float, float]:
    """Return the slope of ln err^2 an iteration, the R^2 of its line, and the predicted slope."""
    rows = trial[(trial["relative_error"] <= BAND) & (trial["relative_error"] > 0)]
    if len(rows) < 3:
        return np.nan, np.nan, np.nan
    fit = line_fit(rows["iteration"].to_numpy(), 2 * np.log(rows["relative_error"].to_numpy()))
    floor = rows["relative_error"].min() ** 2
    inside = np.flatnonzero((predicted <= BAND**2) & (predicted >= floor))
    if len(inside) < 3:
        return fit.slope, fit.r_squared, np.nan
    return fit.slope, fit.r_squared, line_fit(inside, np.log(predicted[inside])).slope


def _verdicts(name: str, sampling: str, ratio: float, slopes: pd.DataFrame) -> list[Verdict]:
    evidence, setting = f"traces/{NAME}/{name}.parquet", f"{sampling}, n/d = {ratio:g}"
    trials, tolerance = len(slopes), LOOSE if ratio < WELL_SAMPLED else TIGHT
    interval = mean_interval((slopes["measured"] / slopes["predicted"]).to_numpy())
    slope = (
        judge(
            "slope of ln error over the predicted slope",
            setting,
            interval,
            least=1 - tolerance,
            most=1 + tolerance,
            trials=trials,
            evidence=evidence,
        )
        if sampling == "with_replacement"
        else describe(
            "slope of ln error over the slope predicted with replacement",
            setting,
            interval,
            trials=trials,
            evidence=evidence,
            note="Without replacement no closed form of the rate is known to us.",
        )
    )
    return [
        slope,
        exactly(
            f"R^2 of the line through ln error is above {STRAIGHT:g} in every trial",
            setting,
            bool((slopes["r_squared"] > STRAIGHT).all()),
            trials=trials,
            evidence=evidence,
        ),
    ]
