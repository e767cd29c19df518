"""More ranks: how the iterations of QSGD depend on their number, with a given mini-batch or a given batch of a rank.

Ranks draw fresh samples, and each step is optimal for m, K and the compressor's omega. The iterations to the tolerance
are compared with the initial error (2d + 3)/n and the rate `relufit.theory.log_contraction`. Ranks quantize their own
gradients, independently: with m given, each gradient is noisier the more of them there are, and the mean is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pandas as pd

from relufit import theory
from relufit.claims.statistics import mean_interval
from relufit.claims.topics import Topic
from relufit.claims.trace_files import Record
from relufit.claims.verdict import Verdict
from relufit.experiments.batch_scaling.experiment import reached
from relufit.experiments.framework.base import Judgement, Setting, budget_of
from relufit.experiments.framework.quantized import fresh_training, judge_ratio, omega_of, planted, sgd_or_qsgd

NAME = "worker_scaling"
#: Tolerance of the iterations, and of their ratio.
TOLERANCE = 0.07


class Cell(NamedTuple):
    """A compressor, None levels for SGD, on `workers` ranks with `mini_batch` samples in all."""

    levels: int | None
    workers: int
    mini_batch: int

    @property
    def name(self) -> str:
        """The name of its setting."""
        return f"{'sgd' if self.levels is None else f'qsgd-s{self.levels}'}-K{self.workers}-m{self.mini_batch}"


def panels(section: Mapping[str, Any]) -> Iterator[tuple[str, Cell]]:
    """Yield the cells of both panels: ``mini-batch`` and ``rank`` say what is given."""
    for levels in (None, *section["levels"]):
        for workers in section["workers"]:
            yield "mini-batch", Cell(levels, workers, section["mini_batch"])
            yield "rank", Cell(levels, workers, section["rank_batch"] * workers)


def _due(section: Mapping[str, Any], cell: Cell) -> float:
    """Return the predicted iterations to the tolerance."""
    d, start = section["dimension"], theory.initial_error(**planted(section))
    omega = omega_of(sgd_or_qsgd(section, cell.levels), d)
    return theory.iterations_fresh(
        d, cell.mini_batch, start, section["tolerance"], omega=omega, workers=cell.workers, typical=True
    )


class WorkerScaling:
    """The experiment ``worker_scaling``."""

    NAME = NAME
    TITLE = "QSGD on more ranks"
    QUESTION = "How many iterations does QSGD take on more ranks, with the mini-batch given, or the batch of a rank?"
    PREDICTION = (
        "from (2d + 3)/n the squared error falls by 1/(4 A_q) an iteration (theory.log_contraction), which for m << d "
        "is 1 + omega times the iterations of SGD, however many ranks share the mini-batch"
    )
    TIMED = False
    TABLES = ("iterations",)

    def settings(self, config: Mapping[str, Any]) -> list[Setting]:
        """Return a setting for each cell, each once; a job for each number of levels."""
        section = config[NAME]
        return [
            Setting(
                NAME,
                cell.name,
                planted(section),
                fresh_training(
                    section,
                    sgd_or_qsgd(section, cell.levels),
                    _due(section, cell),
                    workers=cell.workers,
                    mini_batch=cell.mini_batch,
                ),
                section["trials"],
                group=cell.name.rsplit("-", 2)[0],
            )
            for cell in dict.fromkeys(cell for _, cell in panels(section))
        ]

    def judge(
        self, config: Mapping[str, Any], results: Mapping[str, Record], timings: Mapping[str, Record]
    ) -> Judgement:
        """Compare iterations with the prediction, and those on the most ranks with those on the fewest."""
        section, settings = config[NAME], {setting.name: setting for setting in self.settings(config)}
        took = {name: reached(record.table, section["tolerance"]) for name, record in results.items()}
        statistic = f"iterations to {section['tolerance']:g} over the prediction"
        verdicts: dict[str, Verdict] = {}
        rows = []
        for panel, cell in panels(section):
            due, iterations = _due(section, cell), took[cell.name]
            verdicts[cell.name] = judge_ratio(statistic, _words(cell), settings[cell.name], iterations / due, TOLERANCE)
            rows.append((panel, cell.levels, cell.workers, cell.mini_batch, *mean_interval(iterations), due))
        columns = ["given", "levels", "workers", "mini_batch", "mean", "low", "high", "predicted"]
        table = pd.DataFrame(rows, columns=columns)
        tables = {"iterations": table.assign(levels=table["levels"].astype("Int64"))}
        grown = [_growth(section, levels, took, settings) for levels in section["levels"]]
        setting = (
            f"d = {section['dimension']}, s in {section['levels']} and SGD, K in {section['workers']}, "
            f"m = {section['mini_batch']} or {section['rank_batch']} K, fresh samples, w0 from "
            f"n/d = {section['ratio']:g}, optimal step for each omega, {section['trials']} trials"
        )
        budget = budget_of(section)
        return Judgement(setting, budget, {Topic.FAST_CONVERGENCE: [*verdicts.values(), *grown]}, tables)


def _words(cell: Cell) -> str:
    kind = "SGD" if cell.levels is None else f"QSGD, s = {cell.levels}"
    return f"{kind}, K = {cell.workers}, m = {cell.mini_batch}"


def _growth(
    section: Mapping[str, Any], levels: int, took: Mapping[str, Any], settings: Mapping[str, Setting]
) -> Verdict:
    few, many = (Cell(levels, find(section["workers"]), section["mini_batch"]) for find in (min, max))
    due = _due(section, many) / _due(section, few)
    return judge_ratio(
        f"iterations with K = {many.workers} over those with K = {few.workers}, over the prediction",
        f"QSGD, s = {levels}, m = {section['mini_batch']}",
        settings[many.name],
        took[many.name] / took[few.name] / due,
        TOLERANCE,
        f"The prediction is {due:.3g} with s = {levels}: with the mini-batch given, a rank has fewer samples "
        "where there are more of them.",
    )
