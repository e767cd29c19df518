"""The files that a configuration makes in the folder of its run, for the workflow, the manifest and the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from relufit.claims.trace_files import timing_path
from relufit.experiments import CATALOGUE
from relufit.experiments.framework.base import Setting
from relufit.figures import ENDINGS, FIGURES


@dataclass(frozen=True)
class RunFiles:
    """The files of a run; paths are relative to its folder.

    Parameters
    ----------
    config : mapping
        The checked configuration.

    Attributes
    ----------
    settings : list of Setting
    groups : dict
        The settings that share a job and a file of traces, by experiment and name of the group.
    datasets : dict
        The first setting that uses a data set and which of its trials, by name.
    figures : list of str
        Those whose experiments all run.
    """

    config: Mapping[str, Any]
    settings: list[Setting] = field(init=False)
    groups: dict[tuple[str, str], list[Setting]] = field(init=False)
    datasets: dict[str, tuple[Setting, int]] = field(init=False)
    figures: list[str] = field(init=False)

    def __post_init__(self) -> None:
        """Derive them once."""
        names = self.config["experiments"]
        settings = [setting for name in names for setting in CATALOGUE[name].settings(self.config)]
        groups: dict[tuple[str, str], list[Setting]] = {}
        for setting in settings:
            groups.setdefault((setting.experiment, setting.group), []).append(setting)
        datasets = {name: (setting, trial) for setting in settings for trial, name in enumerate(setting.datasets)}
        drawn = [
            name
            for name, figure in FIGURES.items()
            if {table.split(".")[0] for table in figure.tables} <= set(self.config["experiments"])
        ]
        for name, value in (("settings", settings), ("groups", groups), ("datasets", datasets), ("figures", drawn)):
            object.__setattr__(self, name, value)

    def traces(self, experiment: str) -> list[str]:
        """Return the traces of all settings of an experiment."""
        return [settings[0].evidence for (name, _), settings in self.groups.items() if name == experiment]

    def timings(self, experiment: str) -> list[str]:
        """Return the timings of all settings of an experiment."""
        return [timing_path(path).as_posix() for path in self.traces(experiment)]

    def judgement(self, experiment: str) -> str:
        """Return where the verdicts of an experiment go; the name tells whether a clock was read for them."""
        return f"claims/{experiment}{'.timing' if CATALOGUE[experiment].TIMED else ''}.json"

    def tables(self, experiment: str) -> list[str]:
        """Return the tables of an experiment."""
        return [f"tables/{experiment}.{table}.csv" for table in CATALOGUE[experiment].TABLES]

    def drawings(self) -> list[str]:
        """Return the files of all figures."""
        return [f"figures/{name}.{ending}" for name in self.figures for ending in ENDINGS]

    def pages(self) -> list[str]:
        """Return the pages beside the report, for which the run has what they take."""
        return ["does-compression-pay.md"] if "link_speed" in self.config["experiments"] else []

    def presented(self) -> list[Path]:
        """Return what is made of all results together, for people and programs."""
        return [Path(name) for name in ["claims.json", "claims.md", "manifest.json", "report.html", *self.pages()]]

    def results(self) -> list[Path]:
        """Return all that follows from the configuration: data sets on this disk, traces, verdicts, tables, figures."""
        names = ["config.yaml"]
        if not self.config.get("data"):
            names += [f"data/{name}.zarr" for name in self.datasets]
        for experiment in self.config["experiments"]:
            names += [*self.traces(experiment), *self.timings(experiment), self.judgement(experiment)]
            names += self.tables(experiment)
        return [Path(name) for name in [*names, *self.drawings()]]
