"""What an experiment is: settings to run, and a judgement of the traces."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Protocol

import pandas as pd

from relufit import streams
from relufit.claims.verdict import Verdict
from relufit.records import Record


@dataclass(frozen=True)
class Setting:
    """One setting of an experiment; its trials differ in their seeds alone.

    Parameters
    ----------
    experiment, name : str
        Its results go to ``traces/{experiment}/{name}.parquet``.
    data : dict
        ``n`` and ``d`` of the planted data.
    spec : dict
        What `relufit.TrainingSpec` takes, but for the data and the seed.
    trials : int
    datasets : tuple of str
        Names of the data sets on disk, one a trial; empty where each rank makes its rows.
    cluster : dict, optional
        Where the ranks run; in this process where None.
    """

    experiment: str
    name: str
    data: dict[str, int]
    spec: dict[str, Any]
    trials: int
    datasets: tuple[str, ...] = ()
    cluster: dict[str, Any] | None = None

    def as_json(self, seed: int) -> str:
        """Return everything that the results depend on, as text: what a rerun is triggered by."""
        return json.dumps({"seed": seed, **asdict(self)}, sort_keys=True)


class Judgement(NamedTuple):
    """What the traces of an experiment show.

    `setting` says it in a line; `verdicts` are filed under the topics of `relufit.claims.abstract`; `tables` go
    to ``tables/{experiment}.{name}.csv``, those whose names begin with ``timing`` holding what a clock measured.
    """

    setting: str
    verdicts: dict[str, list[Verdict]]
    tables: dict[str, pd.DataFrame]


class Experiment(Protocol):
    """An entry of the catalogue: everything about an experiment in one module."""

    @property
    def NAME(self) -> str:  # noqa: N802 - a constant of each experiment
        """Its name in the configuration and in paths."""

    @property
    def TITLE(self) -> str:  # noqa: N802
        """Its title."""

    @property
    def QUESTION(self) -> str:  # noqa: N802
        """What it asks."""

    @property
    def TIMED(self) -> bool:  # noqa: N802
        """Whether its judgement rests on a clock, and so differs from run to run."""

    @property
    def TABLES(self) -> tuple[str, ...]:  # noqa: N802
        """Names of its tables."""

    def settings(self, config: Mapping[str, Any]) -> list[Setting]:
        """Return the settings that a configuration asks for."""

    def judge(
        self, config: Mapping[str, Any], results: Mapping[str, Record], timings: Mapping[str, Record]
    ) -> Judgement:
        """Return the judgement of the traces of all settings, by their names."""


def trial_seed(seed: int, experiment: str, what: str, trial: int) -> int:
    """Return the seed of one trial: the same for all settings of an experiment, so that they can be paired."""
    return streams.key(seed, iteration=trial, purpose=f"{experiment} {what}") >> 65
