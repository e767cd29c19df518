"""What is run: the catalogue of experiments. A new one is a module here and a line in `CATALOGUE`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from relufit.errors import ConfigError
from relufit.experiments.ablations import Ablations
from relufit.experiments.base import Experiment, Judgement, Setting
from relufit.experiments.batch_scaling import BatchScaling
from relufit.experiments.bits_to_accuracy import BitsToAccuracy
from relufit.experiments.geometric_convergence import GeometricConvergence
from relufit.experiments.initial_error import InitialError
from relufit.experiments.initializations import Initializations
from relufit.experiments.link_speed import LinkSpeed
from relufit.experiments.one_step_contraction import OneStepContraction
from relufit.experiments.qsgd_convergence import QsgdConvergence
from relufit.experiments.quantizer_variance import QuantizerVariance
from relufit.experiments.sample_complexity import SampleComplexity
from relufit.experiments.step_instability import StepInstability
from relufit.experiments.time_to_accuracy import TimeToAccuracy
from relufit.experiments.trajectory import Trajectory
from relufit.experiments.worker_scaling import WorkerScaling

__all__ = ["CATALOGUE", "Experiment", "Judgement", "Setting", "find_experiment", "find_group"]

CATALOGUE: dict[str, Experiment] = {
    experiment.NAME: experiment
    for experiment in (
        OneStepContraction(),
        GeometricConvergence(),
        BatchScaling(),
        SampleComplexity(),
        InitialError(),
        Initializations(),
        QuantizerVariance(),
        QsgdConvergence(),
        WorkerScaling(),
        StepInstability(),
        BitsToAccuracy(),
        Trajectory(),
        Ablations(),
        TimeToAccuracy(),
        LinkSpeed(),
    )
}


def find_group(config: Mapping[str, Any], experiment: str, group: str) -> list[Setting]:
    """Return the settings of a group by its name: those whose traces share a file.

    Raises
    ------
    ConfigError
        If the configuration has none of that name.
    """
    groups: dict[str, list[Setting]] = {}
    for setting in find_experiment(experiment).settings(config):
        groups.setdefault(setting.group, []).append(setting)
    if group not in groups:
        raise ConfigError(
            f"{experiment} has no settings {group!r}", where="setting", remedy=f"choose one of {', '.join(groups)}"
        )
    return groups[group]


def find_experiment(name: str) -> Experiment:
    """Return an experiment by its name.

    Raises
    ------
    ConfigError
        If there is none.
    """
    if name not in CATALOGUE:
        raise ConfigError(
            f"unknown experiment {name!r}", where="experiment", remedy=f"choose one of {', '.join(CATALOGUE)}"
        )
    return CATALOGUE[name]
