"""Training: one algorithm, run by all ranks in one process or by ranks on a Dask cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relufit.dataset import open_rows
from relufit.training import serial
from relufit.training.spec import Plan, Progress, TrainingSpec, make_plan
from relufit.training.trace import Trace

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["Plan", "Trace", "TrainingSpec", "train"]


def train(spec: TrainingSpec, client: Client | None = None, *, progress: Progress | None = None) -> Trace:
    """Run a specification and return its trace.

    Parameters
    ----------
    spec : TrainingSpec
    client : distributed.Client, optional
        A Dask cluster with at least K slots: each rank becomes a long-running task on it. Without one all ranks
        run in this process, one after the other; the weights are the same bit for bit.
    progress : callable, optional
        Told (iteration, relative error, uplink bytes) a few times a second.

    Raises
    ------
    RelufitError
        If the specification does not fit the data, the data are damaged, or the cluster cannot carry the run.
    """
    rows = open_rows(spec.dataset)
    plan = make_plan(spec, rows)
    if client is None:
        return serial.train(plan, rows, progress)
    from relufit.training import distributed

    return distributed.train(plan, rows, client, progress)
