"""What a run was made with, and what it cost: machines, versions, seconds, memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from relufit.claims import trace_files
from relufit.errors import DataError

#: Kinds of clusters whose ranks all run on the machine that the workflow runs on.
_HERE = {"inprocess", "local", "emulated"}


class Cost(NamedTuple):
    """What the jobs that ran the trials of an experiment cost; None where no job has recorded it.

    `seconds` is the sum over jobs, `busy` the seconds in which at least one of them ran, `peak_bytes` the memory of
    the largest process.
    """

    jobs: int
    seconds: float | None
    busy: float | None
    peak_bytes: int | None


@dataclass(frozen=True)
class Provenance:
    """What made a run.

    Parameters
    ----------
    command, commit : str
        Empty where they are not known, as the commit of a package that was installed is not.
    version : str
        Of relufit.
    machines : tuple of dict
        Those that trials ran on, see `relufit.experiments.framework.trials.machine`.
    clusters : tuple of str
        Those that ranks ran on in processes of their own, as ``kind, number of processes``.
    here : bool
        Whether all of them were on the machine of the workflow.
    costs : dict
        For each experiment, and for all of them under ``""``.
    digests : int
        The number of digests in manifest.json.
    """

    command: str
    commit: str
    version: str
    machines: tuple[dict[str, Any], ...]
    clusters: tuple[str, ...]
    here: bool
    costs: dict[str, Cost]
    digests: int


def read(manifest: Path, timings: Mapping[str, Iterable[Path]]) -> Provenance:
    """Return the provenance of a run from its manifest and, for each experiment, the timings of its traces.

    Raises
    ------
    DataError
        If one is missing, or is none of ours.
    """
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
        command, commit, digests = content["command"], content["commit"], len(content["sha256"])
        version = content["version"]
    except FileNotFoundError as error:
        raise DataError(
            "there is no manifest", where=str(manifest), remedy="make it with `relufit manifest`"
        ) from error
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"no manifest of ours ({error})", where=str(manifest), remedy="make it again") from error
    abouts = {name: [trace_files.read(path).about for path in paths] for name, paths in timings.items()}
    everything = [about for group in abouts.values() for about in group]
    clusters = [about["cluster"] for about in everything if about.get("cluster")]
    costs = {name: _cost(group) for name, group in abouts.items()}
    return Provenance(
        command=command or "",
        commit=commit or "",
        version=version,
        machines=_distinct(about["machine"] for about in everything if about.get("machine")),
        clusters=tuple(dict.fromkeys(_words(cluster) for cluster in clusters)),
        here=all(cluster.get("kind") in _HERE for cluster in clusters),
        costs={**costs, "": _cost(everything)},
        digests=digests,
    )


def _cost(abouts: list[dict[str, Any]]) -> Cost:
    timed = [about for about in abouts if "seconds" in about]
    if not timed or len(timed) < len(abouts):
        return Cost(len(abouts), None, None, None)
    spans = [(about["began"], about["began"] + about["seconds"]) for about in timed]
    return Cost(
        len(abouts),
        sum(about["seconds"] for about in timed),
        _covered(spans),
        max(about["peak_bytes"] for about in timed),
    )


def _covered(spans: list[tuple[float, float]]) -> float:
    """Return the length of the union of some intervals: jobs run side by side, and a run may go on days later."""
    total, end = 0.0, float("-inf")
    for low, high in sorted(spans):
        total += max(0.0, high - max(low, end))
        end = max(end, high)
    return total


def _words(cluster: dict[str, Any]) -> str:
    return ", ".join(f"{key}: {value}" if key != "kind" else str(value) for key, value in cluster.items())


def _distinct(values: Iterable[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    return tuple({json.dumps(value, sort_keys=True): value for value in values}.values())
