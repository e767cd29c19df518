"""Other versions, and members that say nothing, are refused at once or in time: real Dask processes on loopback."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from distributed import Client
from real_processes import (
    Dask,
    dask,
    doctored,
    environment,
    of_another_python,
    of_other_code,
    without_relufit,
)
from waiting import address_in, until

from relufit.clusters import open_cluster, versions
from relufit.clusters.workers import wait_for_slots
from relufit.errors import ClusterError

PACKAGES = ("dask", "numpy", "numba", "relufit")


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dask]:
    """A scheduler and a worker that are as they should be."""
    with dask(tmp_path_factory.mktemp("dask"), 1) as running:
        yield running


def of(started: Dask, **options: Any) -> dict[str, Any]:
    return {"kind": "address", "address": {"scheduler_file": str(started.scheduler_file), **options}}


def refused(config: dict[str, Any]) -> ClusterError:
    with pytest.raises(ClusterError) as caught, open_cluster(config, 1):
        pytest.fail("it has opened")
    return caught.value


def wait_for(started: Dask, count: int) -> None:
    address = address_in(started.scheduler_file)
    with Client(address) as client:
        until(lambda: len(client.scheduler_info(n_workers=-1)["workers"]) == count, f"{count} workers")


@contextmanager
def beside(started: Dask, *workers: subprocess.Popen[bytes]) -> Iterator[None]:
    """Let some workers come for a while."""
    try:
        wait_for(started, 1 + len(workers))
        yield
    finally:
        for worker in workers:
            worker.send_signal(signal.SIGCONT)
            worker.terminate()
            worker.wait(300)
        wait_for(started, 1)


def rows(error: ClusterError) -> list[list[str]]:
    return [line.split() for line in error.remedy.splitlines()[2:]]


def test_another_python_and_other_packages_are_refused_with_a_table(started: Dask, tmp_path: Path) -> None:
    for package in PACKAGES:
        doctored(tmp_path / "packages", package, "0.1")
    other = started.worker(env=environment(tmp_path / "packages"))
    older = started.worker(f"--preload={of_another_python(tmp_path / 'python')}", "--no-nanny")
    with beside(started, other, older):
        error = refused(of(started))
    assert error.where == "cluster.address"
    assert error.what == "versions differ from those of this program"
    assert error.remedy.startswith("install the same everywhere, and restart what runs already:")
    here = versions.here()
    there = {**dict.fromkeys(PACKAGES, "0.1"), "python": "3.9"}
    assert [row[:3] for row in rows(error)] == [[name, here[name], there[name]] for name in sorted(there)]
    assert {tuple(row[3:4]) for row in rows(error)} == {("worker",)}
    addresses = {row[4] for row in rows(error)}
    assert len(addresses) == 2
    assert all(address.startswith("tcp://127.0.0.1:") for address in addresses)


def test_other_code_and_none_are_refused_and_what_is_the_same_is_not(started: Dask, tmp_path: Path) -> None:
    without = started.worker(env=environment(without_relufit(tmp_path / "without")))
    edited = started.worker(env=environment(of_other_code(tmp_path / "other")))
    with beside(started, without, edited):
        error = refused(of(started))
    assert [row[:4] for row in rows(error)].count(["code", "of", "relufit", versions.running_code()]) == 2
    assert "cannot be imported (ModuleNotFoundError: No module named 'relufit')" in str(error)
    with open_cluster(of(started), 1) as cluster:
        assert cluster.client.status == "running"


def test_a_scheduler_without_relufit_is_refused(tmp_path: Path) -> None:
    started = Dask(tmp_path)
    try:
        started.scheduler(environment(without_relufit(tmp_path / "without")))
        started.worker()
        message = str(refused(of(started)))
        assert "cannot be imported (ModuleNotFoundError" in message
        assert message.rstrip().endswith("scheduler")
    finally:
        started.stop()


def test_a_worker_that_says_nothing_is_named_at_the_deadline(started: Dask) -> None:
    silent = started.worker("--no-nanny")
    with beside(started, silent):
        os.kill(silent.pid, signal.SIGSTOP)
        error = refused(of(started, timeout=10))
    assert error.what.startswith("no answer within 10 s from tcp://127.0.0.1:")
    assert "more" not in error.what


def test_a_scheduler_that_says_nothing_is_given_up_at_the_deadline(started: Dask) -> None:
    scheduler = started.processes[0]
    with open_cluster(of(started), 1) as cluster:
        scheduler.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(ClusterError, match="the scheduler does not answer in time; see that it runs"):
                versions.check_versions(cluster.client, where="here", seconds=0.5)
            with pytest.raises(ClusterError, match="the scheduler does not answer in time"):
                wait_for_slots(cluster.client, enough=1, wanted=1, seconds=0.5, where="here")
            assert "no scheduler answers at" in str(refused(of(started, timeout=1)))
        finally:
            scheduler.send_signal(signal.SIGCONT)
