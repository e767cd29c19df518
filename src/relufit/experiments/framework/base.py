"""What an experiment is: settings to run, and a judgement of the traces."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import pandas as pd

from relufit import streams
from relufit.claims.trace_files import Record

if TYPE_CHECKING:
    from relufit.claims.topics import Topic
    from relufit.claims.verdict import Verdict

if TYPE_CHECKING:
    from relufit.clusters import Cluster
    from relufit.training import ProgressCallback


@dataclass(frozen=True)
class Setting:
    """One setting of an experiment; its trials differ in their seeds alone.

    Parameters
    ----------
    experiment, name : str
        Its name is unique within the experiment.
    data : dict
        ``n`` and ``d`` of the planted data, and what else `relufit.planted.PlantedModel` takes but for the seed.
    spec : dict
        What the procedure takes; for ``train``, what `relufit.TrainingSpec` takes, but for the data and the seed.
    trials : int
    procedure : str
        What a trial does, a key of `relufit.experiments.framework.procedures.PROCEDURES`.
    group : str
        Settings of one group share a job and a file, ``traces/{experiment}/{group}.parquet``; each is its own group
        if none is given. All settings of a group have the same procedure.
    stream : str
        Settings of an experiment with the same stream have the same data and the same draws trial by trial, so
        that they can be paired; with different streams they are independent.
    datasets : tuple of str
        Names of the data sets on disk, one a trial, or one for all; empty where each rank makes its rows.
    cluster : dict, optional
        Where the ranks run; in this process where None.
    """

    experiment: str
    name: str
    data: dict[str, Any]
    spec: dict[str, Any]
    trials: int
    procedure: str = "train"
    group: str = ""
    stream: str = ""
    datasets: tuple[str, ...] = ()
    cluster: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        """Name the group."""
        object.__setattr__(self, "group", self.group or self.name)

    @property
    def evidence(self) -> str:
        """The file of its traces, relative to the run's folder."""
        return f"traces/{self.experiment}/{self.group}.parquet"


class Outcome(NamedTuple):
    """What a trial leaves: results, the same on every run, and what a clock measured."""

    table: pd.DataFrame
    summary: dict[str, Any]
    timing: pd.DataFrame
    measured: dict[str, Any]


class Unfinished(NamedTuple):
    """Where a trial that takes long is kept while it goes on, and what keeps it when it has ended.

    `checkpoint` is the file that a training run goes on from, removed only after `save` has been called with the
    outcome.
    """

    checkpoint: Path
    save: Callable[[Outcome], None]


@dataclass(frozen=True)
class Trial:
    """One trial of a setting, and what it is run with.

    Parameters
    ----------
    setting : Setting
    seed : int
        The seed of the configuration.
    number : int
    data : path
        The folder of the data sets on disk, or an address such as ``s3://bucket/prefix``.
    cluster : Cluster, optional
        Where its ranks run; in this process where None.
    tell : callable, optional
        Told how far a training run is now and then.
    unfinished : Unfinished, optional
        Where a training run is kept.
    """

    setting: Setting
    seed: int
    number: int
    data: str | Path = Path()
    cluster: Cluster | None = None
    tell: ProgressCallback | None = None
    unfinished: Unfinished | None = None

    def seed_of(self, what: str) -> int:
        """Return the seed of something of the trial: the same for all settings of the stream."""
        return seed_of(self.setting, self.seed, what, self.number)


#: Runs a trial and returns what it leaves.
Procedure = Callable[[Trial], Outcome]


class Judgement(NamedTuple):
    """What the traces of an experiment show.

    `setting` says it in a line, and `budget` how long a trial may take at most; `verdicts` are filed under their
    topics; `tables` go to ``tables/{experiment}.{name}.csv``, those whose names begin with ``timing`` holding what a
    clock measured.
    """

    setting: str
    budget: str
    verdicts: dict[Topic, list[Verdict]]
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
    def PREDICTION(self) -> str:  # noqa: N802
        """What theory says, in a sentence, with the formula's name or form."""

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


def budget_of(section: Mapping[str, Any]) -> str:
    """Return the budget of a section's runs to its tolerance, as a `Judgement` has it."""
    return f"{section['iterations']} iterations to relative error {section['tolerance']:g}"


def as_json(settings: Sequence[Setting], seed: int) -> str:
    """Return everything that the results of a group depend on, as text: what a rerun is triggered by."""
    return json.dumps({"seed": seed, "settings": [asdict(setting) for setting in settings]}, sort_keys=True)


def trial_seed(seed: int, experiment: str, what: str, trial: int) -> int:
    """Return the seed of one trial: the same for all settings of an experiment, so that they can be paired."""
    return streams.key(seed, iteration=trial, purpose=f"{experiment} {what}") >> 65


def seed_of(setting: Setting, seed: int, what: str, trial: int) -> int:
    """Return the seed of one trial of a setting: the same for all settings of its stream."""
    stream = f"{setting.stream} " if setting.stream else ""
    return trial_seed(seed, setting.experiment, f"{stream}{what}", trial)
