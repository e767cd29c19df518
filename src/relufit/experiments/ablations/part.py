"""What the parts of `ablations` share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd

from relufit import theory
from relufit.claims.statistics import mean_interval
from relufit.claims.topics import Topic
from relufit.claims.verdict import Verdict, judge
from relufit.experiments.framework.quantized import omega_of, planted, training

#: Tolerance of floors, rates and iterations against the prediction.
TOLERANCE = 0.10
Section = Mapping[str, Any]
#: Columns of a table of predicted lines.
LINE = ["series", "x", "y"]


class Run(NamedTuple):
    """A setting of a part: its name, its data beyond n and d, and its specification."""

    name: str
    data: dict[str, Any]
    spec: dict[str, Any]


class Shown(NamedTuple):
    """What the traces of a part show: a table, the predicted lines over it, and verdicts by topic."""

    table: pd.DataFrame
    lines: pd.DataFrame
    verdicts: dict[Topic, list[Verdict]]


class Part(Protocol):
    """A part of the experiment."""

    def runs(self, section: Section) -> list[Run]:
        """Return what is run."""

    def show(self, section: Section, tables: Mapping[str, pd.DataFrame]) -> Shown:
        """Return what the traces, by the names of the runs, show."""


def run(section: Section, name: str, compressor: dict[str, Any], **changed: Any) -> Run:  # noqa: ANN401 - what TrainingSpec takes
    """Return a setting that is trained on fresh samples to the tolerance, at the optimal step, but for what is given.

    Parameters
    ----------
    **changed
        ``noise_std`` and ``inputs`` of the data, and what `relufit.TrainingSpec` takes.
    """
    data = planted(section) | {key: changed.pop(key) for key in ("noise_std", "inputs") if key in changed}
    spec = training({**section, "sampling": "fresh"}, compressor)
    return Run(name, data, spec | changed)


def sgd_and_qsgd(section: Section) -> dict[str, dict[str, Any]]:
    """Return SGD and QSGD for parts in which bytes do not matter."""
    return {"sgd": {"name": "fp64"}, "qsgd": {"name": "qsgd", "levels": section["levels"], "coding": "packed"}}


def known(section: Section, compressor: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments that the formulas of `relufit.theory` on fresh samples share."""
    d = section["dimension"]
    omega = omega_of(compressor, d)
    return {"d": d, "m": section["mini_batch"], "omega": omega, "workers": section["workers"]}


def verdict(
    statistic: str,
    part: str,
    setting: str,
    ratio: np.ndarray | pd.Series,
    *,
    tolerance: float = TOLERANCE,
    note: str = "",
) -> Verdict:
    """Return the verdict on measured over predicted, by trial."""
    return judge(
        statistic,
        setting,
        mean_interval(ratio),
        least=1 - tolerance,
        most=1 + tolerance,
        trials=len(ratio),
        evidence=evidence(part),
        note=note,
    )


def evidence(part: str) -> str:
    """Return the file of a part's traces."""
    return f"traces/ablations/{part}.parquet"


def due(section: Section, compressor: dict[str, Any]) -> float:
    """Return the expected iterations of a run to the tolerance at the optimal step."""
    return theory.iterations_fresh(
        start_squared=theory.initial_error(**planted(section)),
        tolerance=section["tolerance"],
        typical=True,
        **known(section, compressor),
    )
