"""What is run: the catalogue of experiments. A new one is a module here and a line in `CATALOGUE`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from relufit.errors import ConfigError
from relufit.experiments.base import Experiment, Judgement, Setting
from relufit.experiments.geometric_convergence import GeometricConvergence
from relufit.experiments.qsgd_convergence import QsgdConvergence
from relufit.experiments.time_to_accuracy import TimeToAccuracy

__all__ = ["CATALOGUE", "Experiment", "Judgement", "Setting", "find_setting"]

CATALOGUE: dict[str, Experiment] = {
    experiment.NAME: experiment for experiment in (GeometricConvergence(), QsgdConvergence(), TimeToAccuracy())
}


def find_setting(config: Mapping[str, Any], experiment: str, name: str) -> Setting:
    """Return a setting by its names.

    Raises
    ------
    ConfigError
        If the configuration has none of that name.
    """
    if experiment not in CATALOGUE:
        raise ConfigError(
            f"unknown experiment {experiment!r}",
            where="experiment",
            remedy=f"choose one of {', '.join(CATALOGUE)}",
        )
    settings = {setting.name: setting for setting in CATALOGUE[experiment].settings(config)}
    if name not in settings:
        raise ConfigError(
            f"{experiment} has no setting {name!r}",
            where="setting",
            remedy=f"choose one of {', '.join(settings)}",
        )
    return settings[name]
