"""Methods of the references beside SGD: GLM-tron, Kaczmarz steps, majority votes, delays, and averaging under noise.

All on fresh samples. GLM-tron leaves the indicator out of the gradient, Kaczmarz divides each row's gradient by the
squared norm of the row; both run from w0, with and without QSGD, and Kaczmarz and SGD along single rows too. In
signSGD ranks send signs and the majority decides, at a step that is halved again and again. Gradients that are some
iterations late are those of Hogwild and Downpour SGD, with the same delay at every step. From zero GLM-tron moves and
SGD does not. With label noise the weights stay at a floor, and their mean goes on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from relufit import theory
from relufit.claims.statistics import mean_interval
from relufit.claims.topics import Topic
from relufit.claims.trace_files import Record
from relufit.claims.verdict import Verdict, exactly
from relufit.exchange import BASELINE, DEFAULT
from relufit.experiments.batch_scaling.experiment import reached
from relufit.experiments.framework.base import Judgement, Setting, budget_of
from relufit.experiments.framework.curves import predicted_columns
from relufit.experiments.framework.quantized import fresh_training, judge_ratio, planted, variances_of
from relufit.experiments.reference_methods.delayed import TOLERANCE as DELAY_TOLERANCE
from relufit.experiments.reference_methods.delayed import delayed, delayed_spec, expected_delayed
from relufit.experiments.reference_methods.votes import expected_votes, vote_spec, votes

NAME = "reference_methods"
#: Tolerance of iterations, and of squared errors under label noise, against the prediction.
TOLERANCE, NOISE_TOLERANCE = 0.07, 0.10
#: From zero the relative error is 1; rounding moves it by less than this.
_STAYS = 1e-9
_EXACT: dict[str, Any] = {"name": "fp64"}
_NAMES = {"sgd": "SGD", "glm_tron": "GLM-tron", "kaczmarz": "Kaczmarz"}
#: The best step of each gradient, and the factor on the squared error near w*.
_FORMULAS: dict[str, tuple[Callable[..., float], Callable[..., float]]] = {
    "sgd": (theory.optimal_step, theory.contraction),
    "glm_tron": (theory.optimal_step, theory.contraction),
    "kaczmarz": (theory.kaczmarz_optimal_step, theory.kaczmarz_contraction),
}


class Cell(NamedTuple):
    """A gradient with a compressor, None levels for fp64, on mini-batches, from the moment estimate or from zero."""

    gradient: str
    levels: int | None
    mini_batch: int
    workers: int
    start: str = "moments"

    @property
    def name(self) -> str:
        """The name of its setting."""
        encoded = "fp64" if self.levels is None else f"qsgd-s{self.levels}"
        return f"{self.gradient}-{encoded}-m{self.mini_batch}" + ("" if self.start == "moments" else f"-{self.start}")

    @property
    def words(self) -> str:
        """What it is, in a report."""
        encoded = "" if self.levels is None else f", QSGD, s = {self.levels}"
        start = "" if self.start == "moments" else f", from {self.start}"
        return f"{_NAMES[self.gradient]}{encoded}, m = {self.mini_batch}{start}"

    @property
    def compressor(self) -> dict[str, Any]:
        """The compressor."""
        return _EXACT if self.levels is None else _qsgd(self.levels)

    @property
    def stays(self) -> bool:
        """Whether no step leaves its start."""
        return self.start == "zero" and self.gradient != "glm_tron"


def _qsgd(levels: int) -> dict[str, Any]:
    return {"name": "qsgd", "levels": levels, "coding": "packed"}


def cells(section: Mapping[str, Any]) -> list[Cell]:
    """Return the cells of a section: every gradient with and without QSGD, single rows, and starts from zero."""
    m, workers = section["mini_batch"], section["workers"]
    encoded = [Cell(gradient, levels, m, workers) for levels in (None, section["levels"]) for gradient in _NAMES]
    single = [Cell(gradient, None, 1, 1) for gradient in _NAMES] if m > 1 else []
    return [*encoded, *single, *(Cell(gradient, None, m, workers, "zero") for gradient in ("sgd", "glm_tron"))]


def expected_iterations(section: Mapping[str, Any], cell: Cell) -> float:
    """Return the predicted iterations to the tolerance at the best step.

    They are those at the rate near w*; for GLM-tron, whose curve is known from every start, those of the curve.
    """
    d, m, tolerance = section["dimension"], cell.mini_batch, section["tolerance"]
    encoded = variances_of(cell.compressor, DEFAULT, d, cell.workers)
    best, factor = _FORMULAS[cell.gradient]
    step = best(d, m, **encoded)
    start = 1.0 if cell.start == "zero" else theory.initial_error(**planted(section))
    due = math.log(tolerance**2 / start) / math.log(factor(d, m, step, **encoded))
    if cell.gradient != "glm_tron":
        return due
    # It falls at least at the rate near w*.
    longest, along = math.ceil(due) + 1, -1.0 if cell.start == "zero" else 0.0
    curve = theory.glm_tron_curve(d, m, step, longest, initial_error_squared=start, along=along, **encoded)
    return theory.iterations_to(curve, tolerance)


class Averaged(NamedTuple):
    """Runs whose weights are averaged: the name of their setting, and their compressor."""

    name: str
    words: str
    compressor: dict[str, Any]


def averaged(section: Mapping[str, Any]) -> list[Averaged]:
    """Return SGD in fp64 and QSGD."""
    levels = section["levels"]
    return [
        Averaged("averaged-fp64", "SGD", _EXACT),
        Averaged(f"averaged-qsgd-s{levels}", f"QSGD, s = {levels}", _qsgd(levels)),
    ]


class ReferenceMethods:
    """The experiment ``reference_methods``."""

    NAME = NAME
    TITLE = "GLM-tron, Kaczmarz steps, majority votes, delays, and averaging"
    QUESTION = "Do the methods of the references do what theory says of them, with quantization too?"
    PREDICTION = (
        "GLM-tron leaves zero, follows theory.glm_tron_curve, and has the rate of SGD near w*; Kaczmarz steps have "
        "theory.kaczmarz_contraction, 1 - m/(2d + m - 1) without a code; the majority of signs converges at a step "
        "that is halved, as theory.majority_curve; delayed gradients have theory.delayed_rate at the step that is best "
        "for the delay; the mean of the weights has the error of "
        "theory.averaged_noise_curve, and the weights stay at theory.label_noise_floor"
    )
    TIMED = False
    TABLES = ("methods", "averaging")

    def settings(self, config: Mapping[str, Any]) -> list[Setting]:
        """Return a setting for each cell, vote, delay and averaged run; a job for each kind."""
        section = config[NAME]
        return [
            *(
                Setting(NAME, cell.name, planted(section), _spec(section, cell), section["trials"], group="methods")
                for cell in cells(section)
            ),
            *(
                Setting(NAME, vote.name, planted(section), vote_spec(section, vote), section["trials"], group="votes")
                for vote in votes(section)
            ),
            *(
                Setting(
                    NAME,
                    run.name,
                    planted(section),
                    delayed_spec(section, run),
                    section["delayed"]["trials"],
                    group="delays",
                )
                for run in delayed(section)
            ),
            *(
                Setting(
                    NAME,
                    run.name,
                    {**planted(section), "noise_std": section["averaging"]["std"]},
                    _averaged_spec(section, run),
                    section["averaging"]["trials"],
                    group="averaging",
                )
                for run in averaged(section)
            ),
        ]

    def judge(
        self, config: Mapping[str, Any], results: Mapping[str, Record], timings: Mapping[str, Record]
    ) -> Judgement:
        """Compare iterations and squared errors with their predictions, and look whether zero is left."""
        section, settings = config[NAME], {setting.name: setting for setting in self.settings(config)}
        verdicts, rows = list[Verdict](), []
        for cell in cells(section):
            setting, table, due = settings[cell.name], results[cell.name].table, expected_iterations(section, cell)
            if cell.stays:
                verdicts.append(_stays(setting, cell, table))
                continue
            took = reached(table, section["tolerance"])
            statistic = f"iterations to {section['tolerance']:g} over the prediction"
            verdicts.append(judge_ratio(statistic, cell.words, setting, took / due, TOLERANCE))
            rows.append((*cell, 0, *mean_interval(took), due))
        for vote in votes(section):
            setting, due = settings[vote.name], expected_votes(section, vote)
            took = reached(results[vote.name].table, section["tolerance"])
            statistic = f"iterations to {section['tolerance']:g} over the prediction"
            halved = f"The step is halved every {setting.spec['halve_every']} iterations."
            verdicts.append(judge_ratio(statistic, vote.words, setting, took / due, TOLERANCE, halved))
            rows.append((*vote.row, *mean_interval(took), due))
        for run in delayed(section):
            setting, due = settings[run.name], expected_delayed(section, run)
            took = reached(results[run.name].table, section["tolerance"])
            statistic = f"iterations to {section['tolerance']:g} over the prediction"
            verdicts.append(judge_ratio(statistic, run.words, setting, took / due, DELAY_TOLERANCE))
            rows.append((*run.row, *mean_interval(took), due))
        curves = []
        for noisy in averaged(section):
            setting, table = settings[noisy.name], results[noisy.name].table
            predicted = _predictions(section, noisy)
            verdicts += _judge_averaged(section, setting, noisy, table, predicted)
            curves.append(_curves(noisy, table, predicted))
        columns = [*Cell._fields, "delay", *predicted_columns("iterations")]
        averaging, late = section["averaging"], section["delayed"]
        said = (
            f"d = {section['dimension']}, K = {section['workers']}, m = {section['mini_batch']}, and m = 1 with K = 1, "
            f"fresh samples, w0 from n/d = {section['ratio']:g} or zero, optimal step for the gradient and omega; "
            f"majorities of {', '.join(map(str, section['votes']))} ranks by {BASELINE}, theory.majority_halving; "
            f"{section['trials']} trials; delays of {', '.join(map(str, late['delays']))} iterations with "
            f"m = {late['mini_batch']}, {late['trials']} trials; averaging from iteration "
            f"{averaging['average_from']} on with noise of standard deviation {averaging['std']:g}, "
            f"{averaging['trials']} trials"
        )
        budget = f"{budget_of(section)}, with label noise {averaging['iterations']}"
        methods = pd.DataFrame(rows, columns=columns).astype({"levels": "Int64"})
        tables = {"methods": methods, "averaging": pd.concat(curves, ignore_index=True)}
        return Judgement(said, budget, {Topic.REFERENCE_METHODS: verdicts}, tables)


def _spec(section: Mapping[str, Any], cell: Cell) -> dict[str, Any]:
    due = expected_iterations(section, cell)
    spec = fresh_training(section, cell.compressor, due, workers=cell.workers, mini_batch=cell.mini_batch)
    spec |= {"gradient": cell.gradient, "initial_weights": cell.start}
    # As many iterations as the others would need to be at w*.
    return spec | {"iterations": min(spec["iterations"], math.ceil(due))} if cell.stays else spec


def _averaged_spec(section: Mapping[str, Any], run: Averaged) -> dict[str, Any]:
    averaging = section["averaging"]
    iterations = averaging["iterations"]
    return {
        **fresh_training(section, run.compressor, iterations),
        "step_size": _step(section),
        "iterations": iterations,
        "tolerance": None,
        "average_from": averaging["average_from"],
    }


def _step(section: Mapping[str, Any]) -> float:
    """Return the step of all averaged runs, so that they differ in omega alone."""
    d, encoded = section["dimension"], _encoded(section, _qsgd(section["levels"]))
    return float(section["averaging"]["step_factor"]) * theory.optimal_step(d, section["mini_batch"], **encoded)


def _encoded(section: Mapping[str, Any], compressor: dict[str, Any]) -> dict[str, Any]:
    return variances_of(compressor, DEFAULT, section["dimension"], section["workers"])


def _stays(setting: Setting, cell: Cell, table: pd.DataFrame) -> Verdict:
    ended = table.groupby("trial")["iteration"].max()
    whole = len(ended) == setting.trials and bool((ended == setting.spec["iterations"]).all())
    return exactly(
        "the weights do not move in any trial",
        cell.words,
        bool((table["relative_error"] - 1).abs().max() < _STAYS),
        trials=setting.trials,
        evidence=setting.evidence,
        note="With the derivative of max(0, z) at z = 0 taken as 0.",
        missing="" if whole else "Not all trials came to their end.",
    )


def _predictions(section: Mapping[str, Any], run: Averaged) -> dict[str, np.ndarray]:
    """Return the expected squared errors after each iteration, of the weights and of their mean."""
    averaging = section["averaging"]
    known = {
        "d": section["dimension"],
        "m": section["mini_batch"],
        "step": _step(section),
        "noise_std": averaging["std"],
        "iterations": averaging["iterations"],
        "initial_error_squared": theory.initial_error(**planted(section)),
        **_encoded(section, run.compressor),
    }
    return {
        "weights": theory.label_noise_curve(**known),
        "mean": theory.averaged_noise_curve(**known, average_from=averaging["average_from"]),
    }


def _judge_averaged(
    section: Mapping[str, Any],
    setting: Setting,
    run: Averaged,
    table: pd.DataFrame,
    predicted: Mapping[str, np.ndarray],
) -> list[Verdict]:
    """Judge the error of the mean at the end, and that of the weights since the mean began."""
    averaging = section["averaging"]
    first, iterations = averaging["average_from"], averaging["iterations"]
    late = table[table["iteration"] > first]
    trials = range(setting.trials)
    last = table[table["iteration"] == iterations].set_index("trial").reindex(trials)
    rest = (late["relative_error"] ** 2).groupby(late["trial"]).mean().reindex(trials).where(last["loss"].notna())
    floor = theory.label_noise_floor(
        section["dimension"],
        section["mini_batch"],
        _step(section),
        averaging["std"],
        **_encoded(section, run.compressor),
    )
    below = f"The prediction is {predicted['mean'][-1]:.3g}, {floor / predicted['mean'][-1]:.3g} times below the floor."
    return [
        judge_ratio(
            "mean squared error of the mean of the weights over the prediction",
            run.words,
            setting,
            last["average_error"] ** 2 / predicted["mean"][-1],
            NOISE_TOLERANCE,
            below,
        ),
        judge_ratio(
            "mean squared error of the weights at rest over the predicted floor",
            run.words,
            setting,
            rest / floor,
            NOISE_TOLERANCE,
        ),
    ]


def _curves(run: Averaged, table: pd.DataFrame, predicted: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Return root mean squared errors by iteration, of the weights and of their mean, with their predictions."""
    columns = {"weights": "relative_error", "mean": "average_error"}
    curves = []
    for quantity, column in columns.items():
        squares = (table[column] ** 2).groupby(table["iteration"]).mean().dropna()
        at = squares.index.to_numpy()
        curve = {
            "run": run.name,
            "label": run.words,
            "quantity": quantity,
            "iteration": at,
            "error": np.sqrt(squares.to_numpy()),
            "predicted": np.sqrt(predicted[quantity][at]),
        }
        curves.append(pd.DataFrame(curve))
    return pd.concat(curves, ignore_index=True)
