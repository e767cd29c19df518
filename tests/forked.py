"""Processes of Dask clusters that are forked from one, which has imported what ranks need."""

from __future__ import annotations

import multiprocessing
from multiprocessing import forkserver

from relufit.clusters.settings import QUIET

#: Settings of Dask with which workers are forked from the server of `multiprocessing`, and leave the processors alone.
FORKED = {"distributed.worker.multiprocessing-method": "forkserver", **QUIET}


def preload() -> None:
    """Start that server, if it does not run yet: Dask would have it import Dask alone."""
    multiprocessing.set_forkserver_preload(["relufit.training.preload"])
    forkserver.ensure_running()
