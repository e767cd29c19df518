"""Whether this machine can emulate the hosts that experiments ask for, and what is left out where it cannot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from relufit.clusters.emulated.findings import Findings, Obstacle
from relufit.doctor.line import Line, Sign
from relufit.experiments import CATALOGUE
from relufit.experiments.framework.base import Setting
from relufit.experiments.framework.capability import findings, measured, obstacle, optional_hosts

#: What a rule depends on where the machine can do, or has done, all that is asked for.
ABLE = "able"


def capability(settings: Sequence[Setting], seed: int, path: str | Path) -> str:
    """Return what the machine lacks for the settings of a group, as a word that changes only when that does.

    It is `ABLE` where nothing is lacking, and where the group was measured before and its traces are still there, or
    beside those of another run: what was measured once is not thrown away because the machine can no more.

    Parameters
    ----------
    settings : sequence of Setting
        Those of one group.
    seed : int
        The seed of the configuration.
    path : path
        Where the traces of the group are or will be.
    """
    if not optional_hosts(settings) or measured(settings, seed, Path(path)):
        return ABLE
    lacking = obstacle(settings)
    return f"refused: {lacking.key}" if lacking else ABLE


def lines(config: Mapping[str, Any]) -> list[Line]:
    """Return a line for each experiment that asks for hosts: that they can be had, or what comes out without them."""
    host_lines, folder = [], Path(config["results"]) / config["run"] / "traces"
    for name in config["experiments"]:
        groups: dict[str, list[Setting]] = {}
        for setting in CATALOGUE[name].settings(config):
            groups.setdefault(setting.group, []).append(setting)
        asking = {group: settings for group, settings in groups.items() if optional_hosts(settings)}
        lacking = [
            settings
            for group, settings in asking.items()
            if capability(settings, config["seed"], folder / name / f"{group}.parquet") != ABLE
        ]
        if lacking and (first := obstacle(lacking[0])):
            host_lines.append(_missing(name, first))
        elif asking:
            host_lines.append(
                Line("hosts", Sign.GOOD, f"{name}: hosts with their rates and delays can be had, or were")
            )
    return host_lines


def refusals(config: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each experiment that this machine cannot run in full; none where nothing is left out.

    Traces that were measured earlier count: they are kept.

    Parameters
    ----------
    config : dict
        A checked configuration.
    """
    return [line.sentence() for line in lines(config) if line.sign is Sign.MISSING]


def network_lines() -> list[Line]:
    """Return what can be emulated here, whatever is asked for."""
    machine: Findings = findings()
    bare, slow = machine.obstacle(delay=False, loss=False), machine.obstacle(delay=True, loss=True)
    if bare:
        return [Line("namespaces", Sign.NOTE, f"this machine {bare.what}", "", bare.command)]
    namespaces = [Line("namespaces", Sign.NOTE, "namespaces, bridges, veth and tbf work")]
    if slow:
        return [*namespaces, Line("delays", Sign.NOTE, f"this machine {slow.what}", "", slow.command)]
    how = "netem" if machine.delay == "netem" else f"NFQUEUE and statistic, by {machine.tables}"
    return [*namespaces, Line("delays", Sign.NOTE, f"packets can be delayed and lost ({how})")]


def _missing(name: str, lacking: Obstacle) -> Line:
    what, remedy = lacking.sentences()
    follows = f"{name} will show the model alone, and the claim about real networks stays inconclusive"
    return Line("hosts", Sign.MISSING, what, follows, remedy)
