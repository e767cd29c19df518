"""Training: one algorithm, run by all ranks in one process or by ranks on a Dask cluster."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from relufit.files import paths
from relufit.files.outputs import check_output, check_outputs
from relufit.interrupts import delivered
from relufit.planted.dataset import open_rows
from relufit.training import serial
from relufit.training.checkpoint import EVERY, CheckpointManager
from relufit.training.loop import Progress, ProgressCallback
from relufit.training.spec import Plan, TrainingSpec, make_plan
from relufit.training.trace import Trace
from relufit.transport.timeouts import Timeouts

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["Plan", "Progress", "ProgressCallback", "Timeouts", "Trace", "TrainingSpec", "train"]


@delivered()
def train(
    spec: TrainingSpec,
    client: Client | None = None,
    *,
    progress: ProgressCallback | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_seconds: float = EVERY,
    timeouts: Timeouts | None = None,
    told: Callable[[str], None] | None = None,
    save: Callable[[Trace], None] | None = None,
) -> Trace:
    """Run a specification and return its trace.

    Parameters
    ----------
    spec : TrainingSpec
    client : distributed.Client, optional
        A Dask cluster with at least K slots: each rank becomes a long-running task on it. Without one all ranks
        run in this process, one after the other; the weights are the same bit for bit.
    progress : callable, optional
        Told `ProgressCallback` a few times a second.
    checkpoint : path, optional
        A file that the state is kept in while the run goes on, and its end until `save` has returned, or there is
        none; then it is removed. If it is there, the run goes on from it; one that had ended returns its trace at
        once. On a cluster the workers must see it under the same path.
    checkpoint_seconds : float
        Seconds between two states that are kept.
    timeouts : Timeouts, optional
        How long ranks wait for each other on a cluster.
    told : callable, optional
        Told in words of each fault on a cluster from which the run went on, that it waits for slots, and that a
        checkpoint could not be written or removed.
    save : callable, optional
        Called with the trace when the run has ended. Only what it has written outlives this process: if it raises,
        or the process is killed before it has returned, the checkpoint has the run still.

    Raises
    ------
    RelufitError
        If the specification does not fit the data, the data are damaged, the checkpoint is of another run, or the
        cluster cannot carry the run.
    """
    path = paths.absolute(checkpoint) if checkpoint is not None else None
    if path and client is None:
        check_output(path, stream=False)
        data = spec.dataset if isinstance(spec.dataset, (str, os.PathLike)) else None
        check_outputs({"checkpoint": path}, {"the data set": data})
    rows = open_rows(spec.dataset)
    plan = make_plan(spec, rows)
    if client is None:
        manager = CheckpointManager(path, plan, rows.digest, checkpoint_seconds) if path else None
        return serial.train(plan, rows, progress, manager, told=told, save=save)
    from relufit.training import distributed

    return distributed.train(
        plan,
        rows,
        client,
        progress,
        timeouts=timeouts,
        checkpoint=str(path) if path else None,
        checkpoint_seconds=checkpoint_seconds,
        told=told,
        save=save,
    )
