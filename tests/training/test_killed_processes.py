"""The catalogue of faults with real processes: ranks, masters, schedulers and clients that are killed or stopped."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from distributed import Client
from processes import (
    WORKERS,
    assert_nothing_left,
    damage_next_frame,
    local_cluster,
    reset_connections,
)
from traces import assert_same
from waiting import until

from relufit.errors import ClusterError, RelufitError, TransportError
from relufit.exchange import EXCHANGES
from relufit.planted import PlantedModel, dataset
from relufit.training import Progress, Timeouts, TrainingSpec, train
from relufit.training.member import Member

MODEL = PlantedModel(2100, 50, 3, noise_std=0.05)
#: A process that does not answer is killed after a quarter of `start`.
PATIENCE = Timeouts(start=30, message=3, rejoin=1)
#: For runs in which nobody may be taken for lost, however busy the machine is.
CALM = Timeouts(start=300, message=120, rejoin=120)


def spec(exchange: str = "master", data: Any = MODEL, **values: Any) -> TrainingSpec:
    settings = {"workers": 2, "batch_size": 20, "iterations": 3000, "record_every": 10, "exchange": exchange}
    return TrainingSpec(data, {"name": "qsgd", "levels": 4}, **{**settings, **values})


@pytest.fixture
def client(own_client: Client) -> Client:
    return own_client


def _running(dask_worker: Any) -> tuple[int, list[str]]:
    return os.getpid(), [task.key for task in dask_worker.state.executing]


def process_of(client: Client, task: str) -> int | None:
    """Return the process that a task of the run is on, by a part of its name."""
    for pid, keys in client.run(_running, on_error="ignore").values():
        if any(f"-{task}" in key for key in keys):
            return int(pid)
    return None


class Saboteur:
    """Does something to a run, once, when it has come to an iteration."""

    def __init__(self, iteration: int, action: Callable[[], None]) -> None:
        self._iteration, self._action, self.error = iteration, action, None
        self._thread: threading.Thread | None = None
        self.error: BaseException | None

    def __call__(self, news: Progress) -> None:
        if self._thread is None and news.iteration >= self._iteration:
            self._thread = threading.Thread(target=self._act)
            self._thread.start()

    def _act(self) -> None:
        try:
            self._action()
        except BaseException as error:
            self.error = error

    def join(self) -> None:
        assert self._thread is not None, "the run ended before anything was done to it"
        self._thread.join()
        if self.error:
            raise self.error


def send(client: Client, task: str, number: int) -> Callable[[], None]:
    """Return an action: send a signal to the process of a task."""

    def sent() -> bool:
        """Send it, unless the task is just being started elsewhere."""
        with suppress(ProcessLookupError):
            if (pid := process_of(client, task)) is not None:
                os.kill(pid, number)
                return True
        return False

    def action() -> None:
        until(sent, f"nobody has the task {task}")

    return action


@pytest.mark.parametrize(
    ("exchange", "victim", "number"),
    [
        ("master", "rank-1", signal.SIGKILL),
        ("master", "master", signal.SIGKILL),
        ("relay", "rank-0", signal.SIGKILL),
        ("all_gather", "rank-0", signal.SIGKILL),
        ("all_gather", "rank-1", signal.SIGKILL),
        ("requantize", "master", signal.SIGKILL),
        ("all_reduce", "rank-1", signal.SIGKILL),
        ("all_gather", "master", signal.SIGKILL),
        ("master", "rank-1", signal.SIGSTOP),
        ("relay", "master", signal.SIGSTOP),
        ("all_gather", "rank-0", signal.SIGSTOP),
        ("all_reduce", "rank-0", signal.SIGSTOP),
    ],
)
def test_a_process_that_is_killed_or_stopped_is_replaced_and_the_bits_are_the_same(
    client: Client, exchange: str, victim: str, number: signal.Signals
) -> None:
    asked, log = spec(exchange, iterations=6000), list[str]()
    saboteur = Saboteur(200, send(client, victim, number))
    trace = train(asked, client, progress=saboteur, timeouts=PATIENCE, told=log.append)
    saboteur.join()
    assert_same(trace, train(asked))
    assert victim == "master" or trace.faults
    assert victim == "master" or log == list(trace.faults)


# One exchange with links to a master, and one with links between ranks: none has begun yet.
@pytest.mark.parametrize("exchange", ["master", "all_gather"])
def test_a_rank_killed_before_the_first_iteration_is_replaced(client: Client, exchange: str) -> None:
    asked, done = spec(exchange), threading.Event()

    def kill() -> None:
        while not done.wait(0.01):
            pid = process_of(client, "rank-1")
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
                return

    thread = threading.Thread(target=kill)
    thread.start()
    trace = train(asked, client, timeouts=PATIENCE)
    done.set()
    thread.join()
    assert_same(trace, train(asked))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_master_beside_a_rank_is_replaced_with_it(client: Client, number: signal.Signals) -> None:
    asked = spec(workers=WORKERS, iterations=6000)
    saboteur = Saboteur(200, send(client, "rank-0", number))
    assert_same(train(asked, client, progress=saboteur, timeouts=PATIENCE), train(asked))
    saboteur.join()


def test_a_killed_master_goes_on_from_its_checkpoint(client: Client, tmp_path: Path) -> None:
    asked, path = spec(iterations=8000), tmp_path / "run.checkpoint"

    def kill() -> None:
        until(path.exists, "no checkpoint is written")
        send(client, "master", signal.SIGKILL)()

    killed = Saboteur(500, kill)
    trace = train(asked, client, progress=killed, timeouts=PATIENCE, checkpoint=path, checkpoint_seconds=0.05)
    killed.join()
    assert_same(trace, train(asked))
    assert any("went on from the checkpoint of iteration" in fault for fault in trace.faults), "it began anew"
    assert not path.exists()


def test_a_rank_that_is_killed_again_and_again_ends_the_run_with_one_error_and_a_checkpoint(tmp_path: Path) -> None:
    asked, path, ended = spec(iterations=10**7), tmp_path / "run.checkpoint", threading.Event()
    with local_cluster(3, allowed_failures=2) as cluster, Client(cluster) as client:

        def kill() -> None:
            while not ended.wait(0.2):
                pid = process_of(client, "rank-1")
                if pid is not None:
                    os.kill(pid, signal.SIGKILL)

        saboteur = Saboteur(100, kill)
        try:
            with pytest.raises(ClusterError, match="rank-1 died 3 times"):
                train(asked, client, progress=saboteur, checkpoint=path, timeouts=PATIENCE)
        finally:
            ended.set()
        saboteur.join()
    assert path.exists()


def retire(client: Client, task: str) -> None:
    """Take the worker of a task out of the cluster for good."""
    for worker, (_, keys) in client.run(_running).items():
        if any(f"-{task}" in key for key in keys):
            client.retire_workers([worker], close_workers=True)


def test_a_worker_that_is_gone_for_good_is_replaced_by_a_spare_one_as_long_as_there_is_one(tmp_path: Path) -> None:
    asked, path = spec(iterations=6000), tmp_path / "run.checkpoint"
    with local_cluster(4) as cluster, Client(cluster) as client:
        saboteur = Saboteur(200, lambda: retire(client, "rank-1"))
        trace = train(asked, client, progress=saboteur, timeouts=PATIENCE)
        saboteur.join()
        assert_same(trace, train(asked))
        assert trace.faults
        assert_nothing_left(client)
        saboteur = Saboteur(200, lambda: retire(client, "rank-1"))
        timeouts = Timeouts(start=3, message=2, rejoin=1)
        with pytest.raises(TransportError, match=r"ranks \[1\] did not come within 3 s"):
            train(spec(iterations=10**7), client, progress=saboteur, checkpoint=path, timeouts=timeouts)
        saboteur.join()
        assert_nothing_left(client)
    assert path.exists()


# Exchanges take turns: what breaks a connection and what a run does then are independent of what is sent over it.
# `test_faults` has every exchange with both.
@pytest.mark.parametrize(
    ("exchange", "what"), zip(EXCHANGES, itertools.cycle([damage_next_frame, reset_connections]), strict=False)
)
def test_after_a_damaged_frame_or_a_reset_the_bits_are_the_same(
    client: Client, exchange: str, what: Callable[[], int]
) -> None:
    asked, did = spec(exchange, iterations=3000), list[int]()

    def act() -> None:
        address = next(address for address, (_, keys) in client.run(_running).items() if "rank-1" in str(keys))
        did.extend(client.run(what, workers=[address]).values())

    saboteur = Saboteur(200, act)
    trace = train(asked, client, progress=saboteur, timeouts=PATIENCE)
    saboteur.join()
    assert sum(did) > 0
    assert_same(trace, train(asked))
    assert trace.faults


# As above; `test_faults` has a slow rank in every exchange.
@pytest.mark.parametrize("exchange", ["master", "all_reduce"])
def test_a_rank_that_is_ten_times_slower_is_waited_for(client: Client, exchange: str) -> None:
    asked, ended, stops = spec(exchange, iterations=1000), threading.Event(), list[int]()

    def slow_down() -> None:
        pid = None
        while pid is None and not ended.wait(0.01):
            pid = process_of(client, "rank-1")
        process = psutil.Process(pid)
        while not ended.wait(0.002):  # of 20 ms it runs for 2
            process.suspend()
            stops.append(pid)
            time.sleep(0.018)
            process.resume()

    thread = threading.Thread(target=slow_down)
    thread.start()
    try:
        trace = train(asked, client, timeouts=CALM)
    finally:
        ended.set()
        thread.join()
    assert_same(trace, train(asked))
    assert stops
    assert not trace.faults


def stop_at_the_end(number: int) -> None:
    """Have the process of a rank stop for ever when the rank has done its part, before anybody knows its counts."""
    serve = Member.serve

    def serve_and_stop(self: Member, find: Any) -> Any:
        counts = serve(self, find)
        if self._number == number:
            os.kill(os.getpid(), signal.SIGSTOP)
        return counts

    Member.serve, Member._serve = serve_and_stop, serve  # type: ignore[method-assign, attr-defined]


def go_on_at_the_end() -> None:
    """Undo that, in a process that still has it."""
    Member.serve = Member.__dict__.get("_serve", Member.serve)  # type: ignore[method-assign]


@pytest.mark.parametrize("exchange", ["master", "all_gather"])
def test_of_a_rank_that_is_stopped_at_the_end_the_counts_are_said_to_be_missing(client: Client, exchange: str) -> None:
    asked, log = spec(exchange, iterations=100), list[str]()
    client.run(stop_at_the_end, 1)
    try:
        trace = train(asked, client, timeouts=Timeouts(start=300, message=120, rejoin=6), told=log.append)
    finally:
        client.wait_for_workers(WORKERS, timeout=300)
        client.run(go_on_at_the_end)
    assert_same(trace, train(asked))
    assert trace.uncounted == ("rank 1",)
    assert trace.received is None
    assert log == list(trace.faults) == ["rank 1 did not come back, and its process was killed"]


def test_a_shard_that_is_deleted_during_a_run_is_missed_only_by_a_new_process(client: Client, tmp_path: Path) -> None:
    dataset.write(MODEL, tmp_path / "data", shards=2)
    file = tmp_path / "data" / "x" / "c" / "1" / "0"
    asked, oracle = spec(data=tmp_path / "data", iterations=6000), train(spec(iterations=6000))
    saboteur = Saboteur(200, file.unlink)
    trace = train(asked, client, progress=saboteur, timeouts=PATIENCE)
    saboteur.join()
    assert trace.weights.tobytes() == oracle.weights.tobytes()
    with pytest.raises(RelufitError, match="x/c/1/0"):
        train(asked, client, timeouts=PATIENCE)


def test_a_clock_that_jumps_changes_nothing(client: Client) -> None:
    def jump(seconds: float) -> None:
        now = time.__dict__.setdefault("_real", time.time)
        time.time = lambda: now() + seconds  # type: ignore[assignment]

    asked = spec(iterations=6000)
    # Dask itself sends nothing for as long as a clock has gone back, if it does so while a message waits to be sent.
    saboteur = Saboteur(200, lambda: [client.run(jump, seconds) for seconds in (86_400.0, -20.0, 0.0)] and None)
    try:
        trace = train(asked, client, progress=saboteur, timeouts=CALM)
    finally:
        client.run(jump, 0.0)
    saboteur.join()
    assert_same(trace, train(asked))
    assert not trace.faults
