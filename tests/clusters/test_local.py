"""The cluster of processes on this machine."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import dask
import pytest

from relufit.clusters import local, open_cluster
from relufit.errors import ClusterError


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


def test_processes_that_do_not_start_in_time_are_told_of_and_ended(
    monkeypatch: pytest.MonkeyPatch, processes_started: Callable[[], set[int]]
) -> None:
    before = processes_started()
    monkeypatch.setattr(local, "_STARTING_SECONDS", 0.05)  # sooner than processes can start
    with pytest.raises(ClusterError) as caught, open_cluster({"kind": "local"}, 3):
        pass
    assert caught.value.where == "cluster.local"
    assert caught.value.remedy
    end = time.monotonic() + 20
    while processes_started() - before:
        assert time.monotonic() < end, "a process is left"
        time.sleep(0.1)


def test_processes_have_the_environment_of_when_they_are_started(monkeypatch: pytest.MonkeyPatch) -> None:
    for told in ("one", "other"):
        monkeypatch.setenv("RELUFIT_TOLD", told)
        with open_cluster({"kind": "local"}, 1) as cluster:
            client: Any = cluster.client
            assert set(client.run(os.getenv, "RELUFIT_TOLD").values()) == {told}
