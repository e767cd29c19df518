"""A Dask cluster of processes on this machine, on loopback: one process a rank and one for the master."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distributed import Client

_CLOSING_SECONDS, _FOREVER = 60, "365d"


@dataclass(frozen=True)
class Local:
    """The cluster ``local``."""

    client: Client
    workers: int

    def describe(self) -> dict[str, Any]:
        """Return what the cluster is."""
        return {"kind": "local", "processes": self.workers}

    def counters(self) -> dict[str, dict[str, int]]:
        """Return nothing: loopback is shared with whatever else runs here."""
        return {}


@contextmanager
def open_local(options: Mapping[str, Any], workers: int) -> Iterator[Local]:
    """Start the processes, and stop them whatever happens."""
    import dask
    from distributed import Client, LocalCluster

    # Dask looks so long after a process was lost whether one is there, and otherwise never starts it again; by then
    # it may have come back and be lost a second time.
    with dask.config.set({"distributed.deploy.lost-worker-timeout": _FOREVER}):
        cluster = LocalCluster(
            n_workers=workers + 1,
            threads_per_worker=1,
            resources={"slot": 1},
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            # The error of a task reaches the caller; the worker need not print it too.
            silence_logs=logging.CRITICAL,
        )
        try:
            with Client(cluster) as client:
                client.wait_for_workers(workers + 1, timeout=60)
                yield Local(client, workers + 1)
        finally:
            # On a busy machine processes take long to end; what was computed is not lost for that.
            with suppress(TimeoutError):
                cluster.close(timeout=_CLOSING_SECONDS)
