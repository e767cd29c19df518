"""The cluster of processes on this machine."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import dask

from relufit.clusters import open_cluster


def test_a_process_that_was_lost_is_started_again_however_long_that_takes() -> None:
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "50ms"}),  # sooner than a process can start
        open_cluster({"kind": "local"}, 1) as cluster,
    ):
        client: Any = cluster.client
        before, *_ = client.run(os.getpid).values()
        os.kill(before, signal.SIGKILL)
        end = time.monotonic() + 60
        while len(now := client.run(os.getpid, on_error="ignore").values()) < 2 or before in now:
            assert time.monotonic() < end, "the process was not started again"
            time.sleep(0.1)
