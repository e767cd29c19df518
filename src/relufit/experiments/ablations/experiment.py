"""What else matters: label noise, other inputs, buckets and norms of the quantizer, the length of the step.

One thing at a time is changed of SGD and QSGD on fresh samples, and the rate, the floor or the iterations are compared
with `relufit.theory`. Levels, batches, ranks and n/d are not here: `qsgd_convergence`, `batch_scaling`,
`worker_scaling` and `geometric_convergence` have a grid of each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from relufit.claims.topics import Topic
from relufit.claims.trace_files import Record
from relufit.claims.verdict import Verdict
from relufit.experiments.ablations.buckets import Buckets
from relufit.experiments.ablations.noise import Noise
from relufit.experiments.ablations.part import Part
from relufit.experiments.ablations.rates import Inputs, Steps
from relufit.experiments.framework.base import Judgement, Setting, budget_of

NAME = "ablations"
PARTS: dict[str, Part] = {"noise": Noise(), "inputs": Inputs(), "buckets": Buckets(), "steps": Steps()}


class Ablations:
    """The experiment ``ablations``."""

    NAME = NAME
    TITLE = "Noise, inputs, buckets, steps"
    QUESTION = "What do label noise, other inputs, smaller buckets, the norm and the length of the step change?"
    PREDICTION = (
        "the floor by theory.label_noise_floor; slopes by theory.log_contraction at each step, and for correlated "
        "inputs by theory.fixed_data_curve over the spectrum of their covariance; iterations by "
        "theory.iterations_fresh with the omega of a bucket"
    )
    TIMED = False
    TABLES = (*PARTS, "predictions")

    def settings(self, config: Mapping[str, Any]) -> list[Setting]:
        """Return the settings of each part; they share a job."""
        section = config[NAME]
        return [
            Setting(NAME, run.name, run.data, run.spec, section["trials"], group=name)
            for name, part in PARTS.items()
            for run in part.runs(section)
        ]

    def judge(
        self, config: Mapping[str, Any], results: Mapping[str, Record], timings: Mapping[str, Record]
    ) -> Judgement:
        """Judge part by part."""
        section, lines = config[NAME], []
        verdicts: dict[Topic, list[Verdict]] = {}
        tables: dict[str, pd.DataFrame] = {}
        for name, part in PARTS.items():
            shown = part.show(section, {run.name: results[run.name].table for run in part.runs(section)})
            for topic, topic_verdicts in shown.verdicts.items():
                verdicts.setdefault(topic, []).extend(topic_verdicts)
            tables[name] = shown.table
            lines.append(shown.lines.assign(part=name))
        tables["predictions"] = pd.concat([frame for frame in lines if len(frame)])
        said = (
            f"d = {section['dimension']}, K = {section['workers']}, m = {section['mini_batch']}, fresh samples, w0 "
            f"from n/d = {section['ratio']:g}, {section['trials']} trials; levels, batches, ranks and n/d are varied "
            "in other experiments"
        )
        budget = f"{budget_of(section)}, with label noise {section['noise']['iterations']}"
        return Judgement(said, budget, verdicts, tables)
