"""Clients, schedulers and whole clusters that are killed: what they leave behind, and how the next run goes on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from distributed import Client
from processes import assert_nothing_left
from waiting import address_in, until

from relufit.errors import RelufitError
from relufit.planted import PlantedModel
from relufit.training import TrainingSpec, train


def spec(exchange: str, iterations: int) -> TrainingSpec:
    """Return the run of `PROGRAM`."""
    return TrainingSpec(
        PlantedModel(2100, 50, 3, noise_std=0.05),
        {"name": "qsgd", "levels": 4},
        workers=2,
        batch_size=20,
        iterations=iterations,
        record_every=10,
        exchange=exchange,
    )


PROGRAM = """
import faulthandler, json, logging, signal, sys
from distributed import Client
from relufit.planted import PlantedModel
from relufit.training import Timeouts, TrainingSpec, train

address, checkpoint, iterations, exchange = sys.argv[1:]
spec = TrainingSpec(
    PlantedModel(2100, 50, 3, noise_std=0.05), {"name": "qsgd", "levels": 4}, workers=2, batch_size=20,
    iterations=int(iterations), record_every=10, exchange=exchange,
)
logging.disable(logging.CRITICAL)
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell may have taken away
faulthandler.register(signal.SIGUSR1)
with Client(address) as client:
    client.wait_for_workers(3, timeout=300)
    trace = train(
        spec, client, checkpoint=checkpoint, checkpoint_seconds=0.1, timeouts=Timeouts(start=30, message=3, rejoin=1),
        progress=lambda news: print(news.iteration, flush=True),
    )
    print(json.dumps(trace.summary), flush=True)
"""


@contextmanager
def processes() -> Iterator[list[subprocess.Popen[str]]]:
    """Whatever is started within is killed in the end."""
    started: list[subprocess.Popen[str]] = []
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.wait()


def start_client(address: str, path: Path, iterations: int, exchange: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, address, str(path), str(iterations), exchange]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_iteration(process: subprocess.Popen[str], iteration: int) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= iteration:
            return
    raise AssertionError("the run ended too early")


def end(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """Send a signal and wait for the end; where it does not come, show what the process does, and send it again."""
    process.send_signal(number)
    try:
        process.wait(100)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGUSR1)
        time.sleep(1)
        process.send_signal(number)
        _, errors = process.communicate(timeout=200)
        warnings.warn(f"{number.name} had to be sent twice:\n{errors}", stacklevel=1)


@pytest.mark.parametrize(
    ("exchange", "number"), [("master", signal.SIGINT), ("relay", signal.SIGTERM), ("all_gather", signal.SIGKILL)]
)
def test_when_a_client_is_killed_or_interrupted_its_ranks_end_and_the_next_run_goes_on(
    own_client: Client, tmp_path: Path, exchange: str, number: signal.Signals
) -> None:
    address, path = own_client.scheduler.address, tmp_path / "run.checkpoint"
    with processes() as started:
        started.append(start_client(address, path, 10**7, exchange))
        wait_for_iteration(started[0], 2000)
        until(path.exists, "no checkpoint is written")
        end(started[0], number)
        assert_nothing_left(own_client)
        # The same run with a smaller budget is another run, and its checkpoint is not that one's.
        with pytest.raises(RelufitError, match="another specification"):
            train(spec(exchange, 10_000), own_client, checkpoint=path)
    assert path.exists()
    assert not [part for part in tmp_path.iterdir() if part != path], "half a checkpoint is left"


def start_dask(started: list[subprocess.Popen[str]], folder: Path, *more: str) -> str:
    """Start a scheduler and three workers, each a process with a nanny, and return the scheduler's address."""
    file = folder / f"scheduler-{len(started)}.json"
    common = ["--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(file)]
    slots = ["--nthreads", "1", "--resources", "slot=1", "--local-directory", str(folder)]
    for name, options in [("scheduler", ["--port", "0"]), *3 * [("worker", [*slots, *more])]]:
        command = [sys.executable, "-m", f"distributed.cli.dask_{name}", *common, *options]
        started.append(subprocess.Popen(command, stderr=subprocess.DEVNULL, text=True))
    return address_in(file)


@pytest.mark.parametrize("exchange", ["all_gather"])
def test_after_everything_was_killed_the_next_run_goes_on_and_ends_with_the_same_digests(
    tmp_path: Path, exchange: str
) -> None:
    path, iterations = tmp_path / "run.checkpoint", 10_000
    with processes() as started:

        def begin() -> subprocess.Popen[str]:
            address = start_dask(started, tmp_path)
            started.append(start_client(address, path, iterations, exchange))
            return started[-1]

        running = begin()
        until(lambda: path.exists() or running.poll() is not None, "no checkpoint is written")
        wait_for_iteration(running, 2000)
        # The next checkpoint is of a later iteration.
        before = path.stat().st_mtime_ns
        until(lambda: path.stat().st_mtime_ns > before or running.poll() is not None, "no checkpoint is written")
        assert running.poll() is None
        # Everything, at once: with its nannies and their workers.
        victims = [psutil.Process(process.pid) for process in started]
        victims += [child for victim in victims for child in victim.children(recursive=True)]
        for victim in victims:
            victim.kill()
        psutil.wait_procs(victims, timeout=300)
        again = begin()
        assert again.stdout is not None
        lines = again.stdout.read().splitlines()
        summary, first = json.loads(lines[-1]), int(lines[0])
    assert first > 1000, "it began anew"
    assert summary == train(spec(exchange, iterations)).summary
    assert not path.exists()


def test_when_the_scheduler_is_killed_the_run_ends_with_an_error_and_no_process_stays(tmp_path: Path) -> None:
    path = tmp_path / "run.checkpoint"
    with processes() as started:
        client = start_client(start_dask(started, tmp_path, "--death-timeout", "60"), path, 10**7, "master")
        started.append(client)
        wait_for_iteration(client, 1000)
        until(path.exists, "no checkpoint is written")
        everything = [psutil.Process(process.pid) for process in started]
        everything += [child for process in everything for child in process.children(recursive=True)]
        started[0].kill()
        _, alive = psutil.wait_procs(everything, timeout=300)
        assert not alive, [process.cmdline() for process in alive]
        assert client.stderr is not None
        assert "the scheduler is gone" in client.stderr.read()
    assert path.exists()
