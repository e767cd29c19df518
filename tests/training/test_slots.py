"""Slots that several runs want, questions to processes that are stopped, and the killing of one process alone."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from distributed import Client, LocalCluster, wait
from processes import WORKERS
from traces import assert_same
from waiting import until

from relufit.errors import ClusterError
from relufit.planted import PlantedModel
from relufit.training import Timeouts, Trace, TrainingSpec, train
from relufit.training.slots import PREFIX, ask, kill_worker

SPEC = TrainingSpec(PlantedModel(210, 12, 3, noise_std=0.05), "fp64", workers=3, batch_size=20, iterations=200)


@pytest.fixture
def client(own_client: Client) -> Client:
    return own_client


def test_two_runs_at_once_that_fit_one_by_one_both_end(own_cluster: LocalCluster, client: Client) -> None:
    # On a busy machine a process may be silent for longer than by default.
    oracle, timeouts = train(SPEC), Timeouts(start=120, rejoin=120)

    def run(connected: Client) -> list[Trace]:
        return [train(SPEC, connected, timeouts=timeouts) for _ in range(4)]

    with Client(own_cluster) as other, ThreadPoolExecutor(2) as pool:
        for trace in [trace for traces in pool.map(run, [client, other]) for trace in traces]:
            assert_same(trace, oracle)
            assert not trace.faults


def _hold(until: Path) -> None:
    while not until.exists():
        time.sleep(0.02)


def test_a_run_waits_for_slots_and_takes_none_before_all_are_free(client: Client, tmp_path: Path) -> None:
    log: list[str] = []
    held = [
        client.submit(_hold, tmp_path / str(number), key=f"{PREFIX}other-{number}", resources={"slot": 1}, pure=False)
        for number in range(2)
    ]
    until(lambda: sum(map(len, client.processing().values())) == len(held), "the slots are not held")
    try:
        with pytest.raises(ClusterError, match="2 of 4 slots are free, and 3 needed") as caught:
            train(SPEC, client, timeouts=Timeouts(queue=0.5), told=log.append)
        assert caught.value.where == "cluster.timeouts.queue"
        assert log == ["2 of 4 slots are free, and 3 needed: other runs have the rest; this one waits"]
        assert not [key for keys in client.processing().values() for key in keys if "other" not in key]
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(train, SPEC, client)
            time.sleep(0.5)
            assert not waiting.done()
            (tmp_path / "0").touch()
            assert_same(waiting.result(timeout=300), train(SPEC))  # the master is beside the first rank
    finally:
        for number in range(2):
            (tmp_path / str(number)).touch()
        wait(held, timeout=300)


def test_only_the_process_that_is_meant_is_killed(client: Client) -> None:
    address, pid = next(iter(client.run(os.getpid).items()))
    nanny = {"workers": [address], "nanny": True}
    assert ask(client, kill_worker, address, pid + 1, **nanny) == {address: False}
    assert ask(client, kill_worker, "tcp://127.0.0.1:1", pid, **nanny) == {address: False}
    assert client.run(os.getpid)[address] == pid
    before = set(client.run(os.getpid).items())
    assert ask(client, kill_worker, address, pid, **nanny) == {address: True}
    psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=300)
    client.wait_for_workers(WORKERS, timeout=300)
    # The nanny has another process now, and an order to kill the one before comes too late.
    ((fresh, fresh_pid),) = set(client.run(os.getpid).items()) - before
    nanny = {"workers": [fresh], "nanny": True}
    assert ask(client, kill_worker, address, pid, **nanny) == {fresh: False}
    assert ask(client, kill_worker, fresh, pid, **nanny) == {fresh: False}
    assert client.run(os.getpid)[fresh] == fresh_pid


def test_who_is_stopped_is_left_out_of_the_answers(client: Client) -> None:
    pids = client.run(os.getpid)
    stopped = next(iter(pids))
    process = psutil.Process(pids[stopped])
    process.suspend()
    try:
        answers = ask(client, os.getpid, seconds=10)
    finally:
        process.resume()
    assert answers == {address: pid for address, pid in pids.items() if address != stopped}
