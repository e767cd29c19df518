"""Running a setting: its trials one after the other, their traces in one file."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from relufit import records, reuse
from relufit.clusters import open_cluster
from relufit.dataset import Dataset
from relufit.errors import DataError
from relufit.experiments.base import Setting, trial_seed
from relufit.planted import PlantedModel
from relufit.training import Trace, TrainingSpec, train

#: Told (trial, trials, iteration, relative error, uplink bytes) a few times a second.
Progress = Callable[[int, int, int, float, int], None]


def model_of(setting: Setting, seed: int, trial: int) -> PlantedModel:
    """Return the recipe of the data of one trial."""
    return PlantedModel(setting.data["n"], setting.data["d"], trial_seed(seed, setting.experiment, "data", trial))


def run(
    setting: Setting, seed: int, path: str | os.PathLike[str], data: Path, progress: Progress | None = None
) -> None:
    """Run all trials of a setting and write their traces to `path`, the timings beside them.

    Parameters
    ----------
    setting : Setting
    seed : int
        The seed of the configuration.
    path : path
        Of the Parquet file of the results.
    data : Path
        Folder of the data sets on disk.
    progress : callable, optional
    """
    traces: list[Trace] = []
    oracles: list[Trace | None] = []
    with open_cluster(setting.cluster, setting.spec["workers"]) if setting.cluster else nullcontext() as cluster:
        for trial in range(setting.trials):
            told = _telling(progress, trial, setting.trials)
            spec = _spec(setting, seed, trial, data)
            traces.append(train(spec, cluster.client if cluster else None, progress=told))
            # What the distributed engine must equal, where it ran.
            oracles.append(train(spec) if cluster and cluster.client else None)
        where = cluster.describe() if cluster else None
    origin = _origin(setting, seed)
    about = {"origin": origin, "trials": [trace.summary for trace in traces]}
    times = [
        {
            "received": trace.received,
            "weights_sha256": trace.summary["weights_sha256"],
            "serial_sha256": oracle.summary["weights_sha256"] if oracle else None,
        }
        for trace, oracle in zip(traces, oracles, strict=True)
    ]
    records.write(
        records.timing_path(path),
        _stack([trace.timing for trace in traces]),
        {"origin": origin, "trials": times, "cluster": where, "machine": machine()},
    )
    records.write(path, _stack([trace.table for trace in traces]), about)


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


def _spec(setting: Setting, seed: int, trial: int, data: Path) -> TrainingSpec:
    model = model_of(setting, seed, trial)
    source: Any = model
    if setting.datasets:
        source = data / f"{setting.datasets[trial]}.zarr"
        Dataset(source, expected=model)
    return TrainingSpec(dataset=source, seed=trial_seed(seed, setting.experiment, "training", trial), **setting.spec)


def _telling(progress: Progress | None, trial: int, trials: int) -> Callable[[int, float, int], None] | None:
    if progress is None:
        return None
    return lambda iteration, error, uplink: progress(trial, trials, iteration, error, uplink)


def _stack(tables: list[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat([table.assign(trial=trial) for trial, table in enumerate(tables)], ignore_index=True)


def take_over(setting: Setting, seed: int, path: Path) -> bool:
    """Link the traces of another run beside this one if they are of the same setting, seed and code."""
    wanted = _origin(setting, seed)
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


def _origin(setting: Setting, seed: int) -> dict[str, str]:
    return {"setting": setting.as_json(seed), "code": reuse.code_digest("trials")}
