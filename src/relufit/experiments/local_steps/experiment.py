"""Local steps: how many exchanges and bytes they save, and how many a larger mini-batch does.

Each rank takes H steps on fresh samples from the common weights, and the ranks take the mean of where they come to,
which they exchange by all_reduce. All runs are at the step that is best for H and the variances of the compressor. The
same samples an exchange, all at the common weights, are a mini-batch of ``H m``: it is run too, in fp32.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from relufit import theory
from relufit.claims.statistics import mean_interval
from relufit.claims.topics import Topic
from relufit.claims.trace_files import Record
from relufit.claims.verdict import Verdict
from relufit.exchange import BASELINE
from relufit.experiments.batch_scaling.experiment import reached
from relufit.experiments.framework.base import Judgement, Setting
from relufit.experiments.framework.curves import ends, predicted_columns
from relufit.experiments.framework.quantized import (
    expected_sent,
    fresh_training,
    judge_ratio,
    planted,
    sgd_or_qsgd,
    variances_of,
)

NAME = "local_steps"
#: Tolerance of exchanges, of bytes and of their ratios, against the prediction.
TOLERANCE = 0.07


class Cell(NamedTuple):
    """A compressor, None levels for SGD in fp32, with some local steps of a mini-batch."""

    levels: int | None
    local_steps: int
    mini_batch: int

    @property
    def method(self) -> str:
        """SGD or QSGD, as the name of the group of settings."""
        return "sgd-fp32" if self.levels is None else f"qsgd-s{self.levels}"

    @property
    def name(self) -> str:
        """The name of its setting."""
        return f"{self.method}-H{self.local_steps}-m{self.mini_batch}"

    @property
    def words(self) -> str:
        """What it is, in a report."""
        kind = "SGD, fp32" if self.levels is None else f"QSGD, s = {self.levels}"
        return f"{kind}, H = {self.local_steps}, m = {self.mini_batch}"


def cells(section: Mapping[str, Any]) -> list[Cell]:
    """Return the cells of a section: each method with one local step and with more, and SGD with larger batches."""
    m, counts = section["mini_batch"], section["local_steps"]
    local = [Cell(levels, count, m) for levels in (None, section["levels"]) for count in (1, *counts)]
    return [*local, *(Cell(None, 1, count * m) for count in counts)]


def expected_exchanges(section: Mapping[str, Any], cell: Cell) -> float:
    """Return the predicted exchanges to the tolerance."""
    d, workers = section["dimension"], section["workers"]
    encoded = variances_of(_compressor(section, cell), BASELINE, d, workers)
    step = theory.local_optimal_step(d, cell.mini_batch, cell.local_steps, **encoded)
    rate = theory.local_contraction(d, cell.mini_batch, step, cell.local_steps, **encoded)
    return math.log(section["tolerance"] ** 2 / theory.initial_error(**planted(section))) / math.log(rate)


def _compressor(section: Mapping[str, Any], cell: Cell) -> dict[str, Any]:
    return sgd_or_qsgd(section, cell.levels, "fp32")


class LocalSteps:
    """The experiment ``local_steps``."""

    NAME = NAME
    TITLE = "Local steps between two exchanges"
    QUESTION = "How many exchanges and bytes do local steps save, and how many a mini-batch as many times larger?"
    PREDICTION = (
        "from (2d + 3)/n the squared error falls in an exchange by theory.local_contraction at its best step: without "
        "a code (a + (K - 1) q^2)/K after H local steps, with a = (1 - step + step^2 B(m/K))^H and q = (1 - step/2)^H"
    )
    TIMED = False
    TABLES = ("summary",)

    def settings(self, config: Mapping[str, Any]) -> list[Setting]:
        """Return a setting for each cell; a job for each method."""
        section = config[NAME]
        return [
            Setting(
                NAME,
                cell.name,
                planted(section),
                {
                    **fresh_training(
                        section,
                        _compressor(section, cell),
                        expected_exchanges(section, cell),
                        mini_batch=cell.mini_batch,
                    ),
                    "exchange": BASELINE,
                    "local_steps": cell.local_steps,
                },
                section["trials"],
                group=cell.method,
            )
            for cell in cells(section)
        ]

    def judge(
        self, config: Mapping[str, Any], results: Mapping[str, Record], timings: Mapping[str, Record]
    ) -> Judgement:
        """Compare exchanges and bytes with their predictions, and local steps with larger batches."""
        section, settings = config[NAME], {setting.name: setting for setting in self.settings(config)}
        last = {cell: ends(results[cell.name], section["tolerance"]) for cell in cells(section)}
        took = {cell: reached(results[cell.name].table, section["tolerance"]) for cell in last}
        sent = {cell: rows["uplink_bytes"] / section["workers"] for cell, rows in last.items()}
        due = {cell: expected_exchanges(section, cell) for cell in last}
        due_bytes = {
            cell: expected_sent(section, _compressor(section, cell), BASELINE, exchanges)
            for cell, exchanges in due.items()
        }
        plain, verdicts = Cell(None, 1, section["mini_batch"]), list[Verdict]()
        for cell in last:
            saving = due_bytes[plain] / due_bytes[cell]
            larger = Cell(None, 1, cell.local_steps * cell.mini_batch)
            ratios = [(f"exchanges to {section['tolerance']:g} over the prediction", took[cell] / due[cell], "")]
            if cell != plain:
                statistic = "bytes that a rank sends in fp32 with one local step over those here, over the prediction"
                note = f"The prediction is {saving:.3g}."
                ratios.append((statistic, sent[plain] / sent[cell] / saving, note))
            if cell.levels is None and cell.local_steps > 1:
                expected = due[cell] / due[larger]
                statistic = f"exchanges over those with a mini-batch of {larger.mini_batch}, over the prediction"
                note = f"The prediction is {expected:.3g}."
                ratios.append((statistic, took[cell] / took[larger] / expected, note))
            verdicts += [
                judge_ratio(statistic, cell.words, settings[cell.name], ratio, TOLERANCE, note)
                for statistic, ratio, note in ratios
            ]
        rows = [
            (*cell, *mean_interval(took[cell]), due[cell], *mean_interval(sent[cell]), due_bytes[cell]) for cell in last
        ]
        columns = [*Cell._fields, *predicted_columns("exchanges", "sent")]
        said = (
            f"d = {section['dimension']}, K = {section['workers']}, m = {section['mini_batch']}, H in "
            f"{[1, *section['local_steps']]}, fresh samples, all_reduce, w0 from n/d = {section['ratio']:g}, optimal "
            f"step for H and both variances, {section['trials']} trials"
        )
        budget = f"{section['iterations']} exchanges to relative error {section['tolerance']:g}"
        table = pd.DataFrame(rows, columns=columns).astype({"levels": "Int64"})
        return Judgement(said, budget, {Topic.LOCAL_STEPS: verdicts}, {"summary": table})
