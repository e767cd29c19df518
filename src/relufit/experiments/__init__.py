"""What is run: the catalogue of experiments. A new one is a package here and a line in `CATALOGUE`.

The package of an experiment has two modules: ``section``, its part of the configuration, and ``experiment``, its
settings and its judgement. The names of their classes are those of `CATALOGUE`, the former with ``Section`` at the end.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from relufit.errors import ConfigError

if TYPE_CHECKING:
    from relufit.experiments.framework.base import Experiment, Setting
    from relufit.schema import Section

__all__ = ["CATALOGUE", "find_experiment", "find_group"]


class _Catalogue(Mapping[str, "Experiment"]):
    """The experiments in the order in which they are run, each imported on first use."""

    def __init__(self, classes: Mapping[str, str]) -> None:
        self._classes = classes

    def __getitem__(self, name: str) -> Experiment:
        return _experiment(name, self._classes[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._classes)

    def __len__(self) -> int:
        return len(self._classes)

    def sections(self) -> dict[str, type[Section]]:
        """Return the parts of the configuration by the names of the experiments, which are not imported."""
        return {name: _imported(name, "section", f"{kind}Section") for name, kind in self._classes.items()}


@cache
def _experiment(name: str, kind: str) -> Experiment:
    return _imported(name, "experiment", kind)()  # type: ignore[no-any-return]


def _imported(name: str, module: str, kind: str) -> Any:  # noqa: ANN401 - a class
    return getattr(importlib.import_module(f"{__name__}.{name}.{module}"), kind)


CATALOGUE = _Catalogue(
    {
        "one_step_contraction": "OneStepContraction",
        "geometric_convergence": "GeometricConvergence",
        "batch_scaling": "BatchScaling",
        "sample_complexity": "SampleComplexity",
        "initial_error": "InitialError",
        "initializations": "Initializations",
        "initialization_scale": "InitializationScale",
        "quantizer_variance": "QuantizerVariance",
        "qsgd_convergence": "QsgdConvergence",
        "exchange_convergence": "ExchangeConvergence",
        "worker_scaling": "WorkerScaling",
        "local_steps": "LocalSteps",
        "reference_methods": "ReferenceMethods",
        "step_instability": "StepInstability",
        "bits_to_accuracy": "BitsToAccuracy",
        "bits_frontier": "BitsFrontier",
        "trajectory": "Trajectory",
        "ablations": "Ablations",
        "time_to_accuracy": "TimeToAccuracy",
        "link_speed": "LinkSpeed",
    }
)


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
