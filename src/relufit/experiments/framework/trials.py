"""Running a group of settings: trial after trial, the traces in one file, the timings in another beside it."""

from __future__ import annotations

import os
import platform
import resource
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from time import perf_counter, time
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from relufit.claims import trace_files
from relufit.claims.trace_files import Record
from relufit.clusters import ELSEWHERE, Cluster, open_cluster
from relufit.compression import make_compressor
from relufit.experiments.framework.base import Experiment, Outcome, Setting, Trial, Unfinished, as_json
from relufit.experiments.framework.procedures import MODULES, PROCEDURES
from relufit.experiments.framework.spread import spread
from relufit.experiments.framework.unfinished import UnfinishedTrials
from relufit.files import paths
from relufit.sources import code_digest
from relufit.training import Progress
from relufit.training import ProgressCallback as TrainingCallback
from relufit.training.foreign_code import foreign_code

#: Told (trials done, trials in all, how far the run of this trial is) a few times a second.
ProgressCallback = Callable[[int, int, Progress | None], None]


class Traces(NamedTuple):
    """What the trials of some settings leave, by the names of the settings: results and timings."""

    results: dict[str, Record]
    timings: dict[str, Record]


def simulate(
    settings: Sequence[Setting],
    seed: int,
    data: str | Path = Path(),
    progress: ProgressCallback | None = None,
    kept: UnfinishedTrials | None = None,
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
    kept : UnfinishedTrials, optional
        Keeps trials on a cluster that have ended, and the checkpoint of one that has not, so that a job that was
        stopped goes on where it was.
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
    data = paths.location(data)  # workers may have another working folder
    place = own or elsewhere
    with open_cluster(place, ranks if own else 0) if place else nullcontext() as cluster:
        if cluster and cluster.client and not own:
            ended = _counting(progress, len(trials))
            outcomes = spread(cluster.client, trials, seed, data, ended)
        else:
            outcomes = _in_turn(trials, seed, data, cluster, progress, kept)
        return gather(settings, outcomes), cluster.describe() if cluster else None


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
    progress: ProgressCallback | None,
    kept: UnfinishedTrials | None,
) -> list[Outcome]:
    """Run one trial after the other."""
    outcomes, ended = list[Outcome](), _counting(progress, len(trials))
    for setting, trial in trials:
        tell = _telling(progress, len(outcomes), len(trials))
        outcomes.append(_run(Trial(setting, seed, trial, data, cluster, tell), kept))
        ended(len(outcomes))
    return outcomes


def gather(settings: Sequence[Setting], outcomes: Sequence[Outcome]) -> Traces:
    """Return the traces of settings from the outcomes of all their trials, in order."""
    traces, left = Traces({}, {}), iter(outcomes)
    for setting in settings:
        trials = [next(left) for _ in range(setting.trials)]
        traces.results[setting.name] = Record(
            _stack([outcome.table for outcome in trials]), {"trials": [outcome.summary for outcome in trials]}
        )
        traces.timings[setting.name] = Record(
            _stack([outcome.timing for outcome in trials]), {"trials": [outcome.measured for outcome in trials]}
        )
    return traces


def run(
    settings: Sequence[Setting],
    seed: int,
    path: str | os.PathLike[str],
    data: str | Path,
    progress: ProgressCallback | None = None,
    cluster: Mapping[str, Any] | None = None,
) -> None:
    """Run all trials of a group of settings and write their traces to `path`, the timings beside them.

    With the configuration's section `cluster` they are spread over its workers where `spread_over` says so.
    """
    began, clock = time(), perf_counter()
    path = paths.absolute(path)
    kept = UnfinishedTrials(path)
    traces, where = simulate(settings, seed, data, progress, kept, spread_over(settings, cluster))
    cost = {"began": began, "seconds": perf_counter() - clock, "peak_bytes": _peak_bytes()}
    origin = origin_of(settings, seed)
    about = {"origin": origin, "cluster": where, "machine": machine(), **cost}
    trace_files.write_pair(path, _join(traces.results, {"origin": origin}), _join(traces.timings, about))
    kept.remove()


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
        for records, whole in zip(traces, trace_files.read_pair(path), strict=True):
            for name, about in whole.about["settings"].items():
                rows = whole.table[whole.table["setting"] == name].drop(columns="setting")
                records[name] = Record(rows.reset_index(drop=True), about)
    return traces


def _join(traces: Mapping[str, Record], about: dict[str, Any]) -> Record:
    """Return the traces of several settings as one."""
    table = pd.concat([record.table.assign(setting=name) for name, record in traces.items()], ignore_index=True)
    settings = {name: record.about for name, record in traces.items()}
    return Record(table.astype({"setting": "category"}), {**about, "settings": settings})


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


def _run(trial: Trial, kept: UnfinishedTrials | None) -> Outcome:
    procedure = PROCEDURES[trial.setting.procedure]
    if kept is None or trial.cluster is None:
        return procedure(trial)
    unfinished = kept.trial(f"{trial.setting.name}-{trial.number}", origin_of([trial.setting], trial.seed))
    ended = unfinished.read()
    if ended is not None:
        return ended
    outcome = procedure(replace(trial, unfinished=Unfinished(unfinished.checkpoint(), unfinished.save)))
    if not unfinished.saved:
        unfinished.save(outcome)
    return outcome


def _counting(progress: ProgressCallback | None, total: int) -> Callable[[int], None]:
    return lambda done: progress(done, total, None) if progress else None


def _telling(progress: ProgressCallback | None, done: int, total: int) -> TrainingCallback | None:
    if progress is None:
        return None
    return lambda news: progress(done, total, news)


def _stack(tables: list[pd.DataFrame]) -> pd.DataFrame:
    trials = np.repeat(np.arange(len(tables)), [len(table) for table in tables])
    return pd.concat(tables, ignore_index=True).assign(trial=trials)


def code_of(settings: Sequence[Setting]) -> str:
    """Return the digest of the source files that the traces of a group depend on.

    Those of its procedure and of its own cluster are among them, those of other procedures and clusters are not.
    """
    cluster, own = settings[0].cluster, MODULES.get(settings[0].procedure)
    modules = [*([own] if own else []), *([f"clusters.{cluster['kind']}"] if cluster else [])]
    return code_digest("trials", *modules)


def origin_of(settings: Sequence[Setting], seed: int) -> dict[str, str]:
    """Return what results depend on: values, code, and numpy, which draws the numbers."""
    return {
        "settings": as_json(settings, seed),
        "code": code_of(settings) + _foreign_code(settings),
        "numpy": version("numpy"),
    }


def _foreign_code(settings: Sequence[Setting]) -> str:
    """Return the digests of other packages whose compressors the settings use."""
    described = [setting.spec.get("compressor") for setting in settings]
    return "".join(sorted({foreign_code(make_compressor(**spec)) for spec in described if isinstance(spec, dict)}))
