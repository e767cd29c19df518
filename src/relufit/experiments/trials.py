"""Running a group of settings: trial after trial, the traces in one file, the timings in another beside it."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from importlib.metadata import version
from pathlib import Path
from time import perf_counter, time
from typing import Any, NamedTuple

import pandas as pd

from relufit import records, reuse, stores
from relufit.clusters import ELSEWHERE, Cluster, open_cluster
from relufit.errors import DataError
from relufit.experiments.base import Experiment, Outcome, Setting, as_json
from relufit.experiments.procedures import PROCEDURES, Tell
from relufit.experiments.spread import spread
from relufit.records import Record
from relufit.training import News

#: Told (trials done, trials in all, how far the run of this trial is) a few times a second.
Progress = Callable[[int, int, News | None], None]


class Traces(NamedTuple):
    """What the trials of some settings leave, by the names of the settings: results and timings."""

    results: dict[str, Record]
    timings: dict[str, Record]


def simulate(
    settings: Sequence[Setting],
    seed: int,
    data: str | Path = Path(),
    progress: Progress | None = None,
    kept: Path | None = None,
    elsewhere: Mapping[str, Any] | None = None,
) -> tuple[Traces, dict[str, Any] | None]:
    """Run all trials of some settings: on the cluster that they share, spread over another one, or here.

    Parameters
    ----------
    settings : sequence of Setting
    seed : int
        The seed of the configuration.
    data : path
        Folder of the data sets on disk, or an address such as ``s3://bucket/prefix``.
    progress : callable, optional
    kept : Path, optional
        A folder in which trials on a cluster are kept when they have ended, and the checkpoint of one that has not, so
        that a job that was stopped goes on where it was.
    elsewhere : dict, optional
        A cluster over whose workers the trials of settings that have no cluster of their own are spread.

    Returns
    -------
    traces : Traces
    where : dict or None
        What the cluster was, if there was one.
    """
    own, ranks = settings[0].cluster, settings[0].spec.get("workers", 0)
    trials = [(setting, trial) for setting in settings for trial in range(setting.trials)]
    data = stores.absolute(data)  # workers may have another working folder
    place = own or elsewhere
    with open_cluster(place, ranks if own else 0) if place else nullcontext() as cluster:
        if cluster and cluster.client and not own:
            ended = _counting(progress, len(trials))
            outcomes = spread(cluster.client, trials, seed, data, ended)
        else:
            outcomes = _in_turn(trials, seed, data, cluster, progress, kept)
        return _gather(settings, outcomes), cluster.describe() if cluster else None


def spread_over(settings: Sequence[Setting], cluster: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return the cluster over which the trials of some settings are spread, None if they stay in this process.

    They are spread where workers have processors of their own; settings with real ranks have the cluster themselves.

    Parameters
    ----------
    settings : sequence of Setting
    cluster : dict, optional
        The section of the configuration.
    """
    return cluster if cluster and not settings[0].cluster and cluster["kind"] in ELSEWHERE else None


def _in_turn(
    trials: Sequence[tuple[Setting, int]],
    seed: int,
    data: str | Path,
    cluster: Cluster | None,
    progress: Progress | None,
    kept: Path | None,
) -> list[Outcome]:
    """Run one trial after the other."""
    outcomes, ended = list[Outcome](), _counting(progress, len(trials))
    for setting, trial in trials:
        tell = _telling(progress, len(outcomes), len(trials))
        outcomes.append(_trial(setting, seed, trial, data, cluster, tell, kept))
        ended(len(outcomes))
    return outcomes


def _gather(settings: Sequence[Setting], outcomes: Sequence[Outcome]) -> Traces:
    """Return the traces of settings from the outcomes of all their trials, in order."""
    traces, left = Traces({}, {}), iter(outcomes)
    for setting in settings:
        its = [next(left) for _ in range(setting.trials)]
        traces.results[setting.name] = Record(
            _stack([outcome.table for outcome in its]), {"trials": [outcome.summary for outcome in its]}
        )
        traces.timings[setting.name] = Record(
            _stack([outcome.timing for outcome in its]), {"trials": [outcome.measured for outcome in its]}
        )
    return traces


def run(
    settings: Sequence[Setting],
    seed: int,
    path: str | os.PathLike[str],
    data: str | Path,
    progress: Progress | None = None,
    cluster: Mapping[str, Any] | None = None,
) -> None:
    """Run all trials of a group of settings and write their traces to `path`, the timings beside them.

    With the configuration's section `cluster` they are spread over its workers where `spread_over` says so.
    """
    began, clock = time(), perf_counter()
    kept = Path(path).absolute().with_name(f".{Path(path).stem}.unfinished")
    traces, where = simulate(settings, seed, data, progress, kept, spread_over(settings, cluster))
    cost = {"began": began, "seconds": perf_counter() - clock, "peak_bytes": _peak_bytes()}
    origin = _origin(settings, seed)
    about = {"origin": origin, "cluster": where, "machine": machine(), **cost}
    _write(records.timing_path(path), traces.timings, about)
    _write(path, traces.results, {"origin": origin})
    shutil.rmtree(kept, ignore_errors=True)


def read(experiment: Experiment, config: Mapping[str, Any], folder: Path) -> Traces:
    """Return the traces of an experiment from the folder that has its files.

    Raises
    ------
    DataError
        If one is missing, or is none of ours.
    """
    traces = Traces({}, {})
    for group in dict.fromkeys(setting.group for setting in experiment.settings(config)):
        path = folder / f"{group}.parquet"
        for found, where in ((traces.results, path), (traces.timings, records.timing_path(path))):
            whole = records.read(where)
            for name, about in whole.about["settings"].items():
                its = whole.table[whole.table["setting"] == name].drop(columns="setting")
                found[name] = Record(its.reset_index(drop=True), about)
    return traces


def _write(path: str | os.PathLike[str], traces: Mapping[str, Record], about: dict[str, Any]) -> None:
    table = pd.concat([record.table.assign(setting=name) for name, record in traces.items()], ignore_index=True)
    settings = {name: record.about for name, record in traces.items()}
    records.write(path, table.astype({"setting": "category"}), {**about, "settings": settings})


def machine() -> dict[str, Any]:
    """Return what ran a computation: the system, its processors, and the versions of what matters."""
    packages = (
        "relufit",
        "numpy",
        "scipy",
        "numba",
        "dask",
        "distributed",
        "zarr",
        "pyarrow",
        "pandas",
        "snakemake",
    )
    return {
        "system": platform.platform(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
    }


def _peak_bytes() -> int:
    """Return the peak memory of the largest process: this one, or one that it has started and that has ended."""
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def _trial(
    setting: Setting,
    seed: int,
    trial: int,
    data: str | Path,
    cluster: Cluster | None,
    tell: Tell | None,
    kept: Path | None,
) -> Outcome:
    run = partial(PROCEDURES[setting.procedure], setting, seed, trial, data=data, cluster=cluster, tell=tell)
    if kept is None or cluster is None:
        return run(checkpoint=None)
    ended, origin = kept / f"{setting.name}-{trial}.parquet", _origin([setting], seed)
    if ended.exists():
        results, timings = records.read(ended), records.read(records.timing_path(ended))
        if results.about["origin"] == origin:
            return Outcome(results.table, results.about["summary"], timings.table, timings.about["measured"])
    kept.mkdir(parents=True, exist_ok=True)
    outcome = run(checkpoint=kept / f"{setting.name}-{trial}.checkpoint")
    records.write(records.timing_path(ended), outcome.timing, {"measured": outcome.measured})
    records.write(ended, outcome.table, {"origin": origin, "summary": outcome.summary})
    return outcome


def _counting(progress: Progress | None, total: int) -> Callable[[int], None]:
    return lambda done: progress(done, total, None) if progress else None


def _telling(progress: Progress | None, done: int, total: int) -> Tell | None:
    if progress is None:
        return None
    return lambda news: progress(done, total, news)


def _stack(tables: list[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat([table.assign(trial=trial) for trial, table in enumerate(tables)], ignore_index=True)


def take_over(settings: Sequence[Setting], seed: int, path: Path) -> bool:
    """Link the traces of another run beside this one if they are of the same settings, seed and code."""
    wanted = _origin(settings, seed)
    for other in reuse.elsewhere(path, depth=2):
        try:
            found, timing = records.read(other), records.read(records.timing_path(other))
        except DataError:
            continue
        if found.about["origin"] == wanted == timing.about["origin"]:
            reuse.take_over(records.timing_path(other), records.timing_path(path))
            reuse.take_over(other, path)
            return True
    return False


def _origin(settings: Sequence[Setting], seed: int) -> dict[str, str]:
    return {"settings": as_json(settings, seed), "code": reuse.code_digest("trials")}
