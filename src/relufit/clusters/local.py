"""A Dask cluster of processes on this machine, on loopback: one process a rank and one for the master."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from relufit.clusters.versions import check_versions
from relufit.clusters.workers import SLOT, DaskCluster, close_within, reached, wait_for_slots

_KEY = "cluster.local"
# On a busy machine processes take long to start, and to end.
_STARTING_SECONDS = _CLOSING_SECONDS = 60.0
_FOREVER = "365d"
# Processes that come from one have their code at the same addresses: a processor that they share has learnt from one
# what it can use for the other. Where vectors are short, that is a third of an iteration.
_METHOD = "forkserver"
_REMEDY = "ask for fewer ranks, free some memory, or see what this machine is busy with"


@contextmanager
def open_local(options: Mapping[str, Any], workers: int) -> Iterator[DaskCluster]:
    """Start the processes, and stop them whatever happens.

    Raises
    ------
    ClusterError
        If they do not start in time.
    """
    import dask
    from distributed import Client, LocalCluster

    count = workers + 1
    with dask.config.set(
        {
            # Dask looks so long after a process was lost whether one is there, and otherwise never starts it again; by
            # then it may have come back and be lost a second time.
            "distributed.deploy.lost-worker-timeout": _FOREVER,
            "distributed.worker.multiprocessing-method": _METHOD,
        }
    ):
        cluster = LocalCluster(
            n_workers=0,
            threads_per_worker=1,
            resources={SLOT: 1},
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            # As it is now, not as it was when the server of processes was started.
            env=dict(os.environ),
            # The error of a task reaches the caller; the worker need not print it too.
            silence_logs=logging.CRITICAL,
        )
        try:
            with reached(_KEY):
                client = Client(cluster, timeout=_STARTING_SECONDS)
            try:
                cluster.scale(count)  # which does not wait, as the constructor does without an end
                wait_for_slots(
                    client, enough=count, wanted=count, seconds=_STARTING_SECONDS, where=_KEY, remedy=_REMEDY
                )
                check_versions(client, where=_KEY, seconds=_STARTING_SECONDS)
                yield DaskCluster(client, {"kind": "local", "processes": count})
            finally:
                close_within(_CLOSING_SECONDS, client.close)
        finally:
            # What was computed is not lost for a process that does not end.
            close_within(2 * _CLOSING_SECONDS, lambda: cluster.close(timeout=_CLOSING_SECONDS))
