"""Single steps near w*: the factor on the squared error, of SGD and of QSGD.

Each step starts from w* plus a random direction of length 1e-6 and takes fresh samples, so that steps are
independent and the prediction is exact. The mean of what a step takes off the squared error, 1 - factor, is compared
with ``eta - eta^2 A_q``. A cell of QSGD in which each rank's batch is larger than 2d shows whether ranks round
independently of each other: their gradients are then nearly the same vector.

In the exchanges ``all_reduce`` and ``requantize`` the sum of the gradients is encoded again. With few levels and few
ranks that costs less than encoding a vector of any direction, since most coordinates of the sum are zero: the variance
is that of `relufit.theory.qsgd_sum_variance`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from relufit import theory
from relufit.claims.topics import Topic
from relufit.claims.trace_files import Record
from relufit.claims.verdict import Verdict, agrees
from relufit.exchange import DEFAULT, find_exchange
from relufit.experiments.framework.base import Judgement, Setting
from relufit.experiments.framework.exact_tests import level_note, mean_over, shared, standard_errors
from relufit.experiments.quantizer_variance.experiment import predicted_variance

NAME = "one_step_contraction"
#: A mean is confirmed if its interval, at the level of `exact_tests`, is within this share of the prediction.
RESOLUTION = 0.15
#: The topics of SGD's and QSGD's cells.
_TOPICS = {"sgd": Topic.GEOMETRIC_RATE, "qsgd": Topic.FAST_CONVERGENCE}
_PREDICTED = 61


class Cell(NamedTuple):
    """Where steps are taken: SGD or QSGD, its sizes, its compressor, the exchange, and the variances by theory."""

    kind: str
    dimension: int
    mini_batch: int
    workers: int
    compressor: dict[str, Any]
    omega: float
    exchange: str = DEFAULT
    sum_omega: float = 0.0

    @property
    def name(self) -> str:
        """Its part of the names of settings."""
        return "-".join([self.kind, *(f"{key}{value}" for key, value in self._sizes()), *self._exchanges()])

    @property
    def words(self) -> str:
        """Its name for readers."""
        return ", ".join([*(f"{key} = {value}" for key, value in self._sizes()), *self._exchanges()])

    def step(self, factor: float) -> float:
        """Return that many times the optimal step."""
        return factor * theory.optimal_step(self.dimension, self.mini_batch, **self._encoded())

    def decrease(self, step: float) -> float:
        """Return the share of the squared error that a step takes off in the mean, by theory."""
        return 1 - theory.contraction(self.dimension, self.mini_batch, step, **self._encoded())

    def _encoded(self) -> dict[str, Any]:
        return {"omega": self.omega, "workers": self.workers, "sum_omega": self.sum_omega}

    def _exchanges(self) -> list[str]:
        """Return the exchange if it is not that of a specification which names none."""
        return [self.exchange] * (self.exchange != DEFAULT)

    def _sizes(self) -> list[tuple[str, int]]:
        sizes = [("d", self.dimension), ("m", self.mini_batch)]
        if self.kind == "qsgd":
            sizes += [("K", self.workers), ("s", self.compressor["levels"])]
            if self.compressor["bucket_size"]:
                sizes.append(("B", self.compressor["bucket_size"]))
        return sizes


def cells(section: Mapping[str, Any]) -> list[Cell]:
    """Return the cells of a section, those of SGD first."""
    all_cells = [
        Cell("sgd", entry["dimension"], entry["mini_batch"], 1, {"name": "fp64"}, 0.0)
        for entry in section["sgd"]["cells"]
    ]
    for entry in section["qsgd"]["cells"]:
        compressor = {"name": "qsgd", "levels": entry["levels"], "bucket_size": entry["bucket_size"]}
        compressor["coding"] = section["qsgd"]["coding"]
        d, workers, name = entry["dimension"], entry["workers"], entry.get("exchange") or DEFAULT
        all_cells.append(
            Cell("qsgd", d, entry["mini_batch"], workers, compressor, *_variances(compressor, d, workers, name))
        )
    return all_cells


def _variances(compressor: dict[str, Any], d: int, workers: int, name: str) -> tuple[float, str, float]:
    """Return omega of the gradients, the exchange, and omega of the sum, both in the parts that are encoded."""
    exchange = find_exchange(name)
    omega = exchange.variances(lambda size: predicted_variance(compressor, size), d, workers).gradients
    levels = compressor["levels"]
    again = exchange.variances(lambda size: theory.qsgd_sum_variance(size, levels, workers), d, workers).total
    assert omega is not None
    return omega, name, again


class OneStepContraction:
    """The experiment ``one_step_contraction``."""

    NAME = NAME
    TITLE = "One step of SGD and of QSGD"
    QUESTION = "What does one step on fresh samples, near w*, take off the squared error?"
    PREDICTION = (
        "the mean of ||h+||^2 / ||h||^2 is 1 - eta + eta^2 A_q (theory.contraction), with A_q from d, m, K and the "
        "variance omega of the quantizer (theory.qsgd_variance); where the sum is encoded again, with that of the sum "
        "(theory.qsgd_sum_variance)"
    )
    TIMED = False
    TABLES = ("points", "predictions")

    def settings(self, config: Mapping[str, Any]) -> list[Setting]:
        """Return a setting for each cell and step size; those of SGD share a job, and those of QSGD."""
        return [setting for _, _, setting in _settings(config[NAME])]

    def judge(
        self, config: Mapping[str, Any], results: Mapping[str, Record], timings: Mapping[str, Record]
    ) -> Judgement:
        """Compare the mean decrease of each cell and step size with its expectation."""
        section = config[NAME]
        grid = _settings(section)
        confidence, note = shared(len(grid)), level_note(len(grid))
        verdicts: dict[Topic, list[Verdict]] = {topic: [] for topic in _TOPICS.values()}
        rows = []
        for cell, factor, setting in grid:
            taken = 1 - results[setting.name].table["factor"].to_numpy()
            step = setting.spec["step_size"]
            expected = cell.decrease(step)
            verdicts[_TOPICS[cell.kind]].append(
                agrees(
                    "mean of what a step takes off the squared error over 1 - contraction",
                    f"{cell.words}, {factor:g} optimal steps",
                    mean_over(taken, expected, confidence),
                    resolution=RESOLUTION,
                    trials=len(taken),
                    evidence=setting.evidence,
                    confidence=confidence,
                    note=note,
                )
            )
            measured = (*mean_over(taken, 1.0), expected, standard_errors(taken, expected))
            rows.append((cell.kind, cell.words, cell.omega, cell.sum_omega, factor, step, *measured))
        columns = ["kind", "cell", "omega", "sum_omega", "factor", "step", "mean", "low", "high", "predicted", "z"]
        tables = {"points": pd.DataFrame(rows, columns=columns), "predictions": _predictions(section)}
        sgd, qsgd = section["sgd"], section["qsgd"]
        line = (
            f"fresh samples, ||h|| = 1e-6; SGD: {len(sgd['cells'])} cells (d, m) at {sgd['step_factors']} times the "
            f"optimal step, {sgd['steps']} steps each; QSGD: {len(qsgd['cells'])} cells (d, m, K, s, bucket B), coding "
            f"{qsgd['coding']}, at {qsgd['step_factors']} times the step optimal for omega, {qsgd['steps']} steps each"
        )
        again = list(dict.fromkeys(cell.exchange for cell in cells(section) if cell.exchange != DEFAULT))
        line += f"; sums are encoded again in cells with the exchange {' or '.join(again)}" if again else ""
        return Judgement(line, "single steps", verdicts, tables)


def _settings(section: Mapping[str, Any]) -> list[tuple[Cell, float, Setting]]:
    """Return every cell with every factor on its optimal step, and the setting of both."""
    grid = []
    for cell in cells(section):
        part = section[cell.kind]
        for factor in part["step_factors"]:
            name = f"{cell.name}-step{factor:g}"
            spec = {
                "compressor": cell.compressor,
                "workers": cell.workers,
                "batch_size": cell.mini_batch,
                "step_size": cell.step(factor),
                "iterations": part["steps"],
                "sampling": "fresh",
                "exchange": cell.exchange,
            }
            # A row for each rank is all that is stored: the samples are fresh.
            data = {"n": cell.workers, "d": cell.dimension}
            setting = Setting(NAME, name, data, spec, 1, procedure="one_step", group=cell.kind, stream=name)
            grid.append((cell, factor, setting))
    return grid


def _predictions(section: Mapping[str, Any]) -> pd.DataFrame:
    """Return the predicted decrease of each cell, from a tenth of its optimal step nearly to where it is nothing."""
    rows = []
    for cell in cells(section):
        for factor in np.append(np.geomspace(0.1, 1.6, _PREDICTED), np.linspace(1.65, 1.95, 7)):
            step = cell.step(float(factor))
            rows.append((cell.kind, cell.words, factor, step, cell.decrease(step)))
    return pd.DataFrame(rows, columns=["kind", "cell", "factor", "step", "predicted"])
