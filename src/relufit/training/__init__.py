"""Training: one algorithm, run by all ranks in one process or by ranks on a Dask cluster."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from relufit.dataset import open_rows
from relufit.training import serial
from relufit.training.checkpoint import EVERY, Keeper
from relufit.training.loop import News, Progress
from relufit.training.spec import Plan, TrainingSpec, make_plan
from relufit.training.terms import Patience
from relufit.training.trace import Trace

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["News", "Patience", "Plan", "Progress", "Trace", "TrainingSpec", "train"]


def train(
    spec: TrainingSpec,
    client: Client | None = None,
    *,
    progress: Progress | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_seconds: float = EVERY,
    patience: Patience | None = None,
    told: Callable[[str], None] | None = None,
) -> Trace:
    """Run a specification and return its trace.

    Parameters
    ----------
    spec : TrainingSpec
    client : distributed.Client, optional
        A Dask cluster with at least K slots: each rank becomes a long-running task on it. Without one all ranks
        run in this process, one after the other; the weights are the same bit for bit.
    progress : callable, optional
        Told `News` a few times a second.
    checkpoint : path, optional
        A file that the state is kept in while the run goes on, and removed when it has ended. If it is there, the run
        goes on from it. On a cluster the workers must see it under the same path.
    checkpoint_seconds : float
        Seconds between two states that are kept.
    patience : Patience, optional
        How long ranks wait for each other on a cluster.
    told : callable, optional
        Told in words of each fault on a cluster from which the run went on, and that it waits for slots.

    Raises
    ------
    RelufitError
        If the specification does not fit the data, the data are damaged, the checkpoint is of another run, or the
        cluster cannot carry the run.
    """
    rows = open_rows(spec.dataset)
    plan = make_plan(spec, rows)
    if client is None:
        keeper = Keeper(checkpoint, plan, rows.w_star, checkpoint_seconds) if checkpoint else None
        return serial.train(plan, rows, progress, keeper)
    from relufit.training import distributed

    return distributed.train(
        plan,
        rows,
        client,
        progress,
        patience=patience,
        checkpoint=str(Path(checkpoint).absolute()) if checkpoint else None,
        checkpoint_seconds=checkpoint_seconds,
        told=told,
    )
