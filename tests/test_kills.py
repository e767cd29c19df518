"""Processes killed at random moments, and run again: nothing is lost, nothing is left, and the results are the same.

What a seed draws can be drawn again: `RELUFIT_KILLS=50 pytest tests/test_kills.py -k kill_17-train`.
`workflow/test_killed_workflow.py` has the workflow.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from relufit.claims import trace_files
from relufit.cli import main
from relufit.experiments import find_group
from relufit.experiments.configuration import load
from relufit.experiments.framework.procedures import model_of
from relufit.files.atomic import digest
from relufit.planted.dataset import Dataset, write

ROOT = Path(__file__).parent.parent
#: How many kills of each command are tried.
KILLS = int(os.environ.get("RELUFIT_KILLS", "4"))
CONFIGURATION = """
run: tiny
cluster: {kind: inprocess}
experiments: [time_to_accuracy]
time_to_accuracy: {dimension: 60, mini_batch: 8, levels: [8], other_codings: [], trials: 2}
"""
#: Has loaded and compiled everything; runs each command it is told in a process of its own, which begins at once.
LAUNCHER = """
import inspect, json, os, sys
import relufit.training.checkpoint
from relufit import experiments, planted, training
from relufit.claims import trace_files
from relufit.cli import main
from relufit.experiments.framework import trials
import zarr
training.train(training.TrainingSpec(planted.PlantedModel(100, 10, 0), {"name": "qsgd", "levels": 4}, iterations=2))
inspect.unwrap(training.train).__kwdefaults__["checkpoint_seconds"] = 0.02
list(experiments.CATALOGUE.values())
for line in sys.stdin:
    arguments, folder, log = json.loads(line)
    child = os.fork()
    if child == 0:
        os.chdir(folder)
        for number in (1, 2):
            os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
        os._exit(main(arguments))
    print(child, flush=True)
    sys.stdin.readline()  # until then the number of the process is not another's
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@dataclass(frozen=True)
class Command:
    """A command, the outputs that are the same each time, and all names that it may leave in its folder."""

    arguments: tuple[str, ...]
    same: tuple[str, ...]
    names: tuple[str, ...]


DATA = ("--rows", "20000", "--dimension", "100", "--shards", "3")
TRAINING = (
    "-K",
    "2",
    "-m",
    "20",
    "--iterations",
    "1500",
    "--record-every",
    "50",
    "--compressor",
    "qsgd",
    "--levels",
    "4",
)
COMMANDS = {
    "dataset": Command(("dataset", "new.zarr", *DATA, "--seed", "9"), ("new.zarr",), ("new.zarr",)),
    "dataset, replacing": Command(
        ("dataset", "old.zarr", *DATA, "--seed", "9"),
        ("old.zarr",),
        ("old.zarr",),
    ),
    "train": Command(
        ("train", "../planted.zarr", *TRAINING, "-o", "trace.parquet", "--checkpoint", "state"),
        ("trace.parquet",),
        ("trace.parquet", "trace.timing.parquet"),
    ),
    "trials": Command(
        ("trials", "time_to_accuracy", "runs", "--config", "../config.yaml", "--data", "../data", "-o", "."),
        ("runs.parquet",),
        ("runs.parquet", "runs.timing.parquet"),
    ),
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the commands read, in which each kill has a folder of its own."""
    folder = tmp_path_factory.mktemp("kills")
    assert main(["dataset", str(folder / "planted.zarr"), "-n", "4000", "-d", "50", "--shards", "2"]) == 0
    (folder / "over.yaml").write_text(CONFIGURATION)
    files = [str(ROOT / "config.yaml"), str(folder / "over.yaml")]
    assert main(["config", *files, "-o", str(folder / "config.yaml")]) == 0
    config = load([folder / "config.yaml"])
    setting = find_group(config, "time_to_accuracy", "runs")[0]
    for trial, name in enumerate(setting.datasets):
        model = model_of(setting, config["seed"], trial)
        write(model, folder / "data" / f"{name}.zarr", shards=setting.spec["workers"])
    return folder


def make_place(inputs: Path, name: str) -> Path:
    """Make the folder that a command is run in, with a data set from before."""
    place = inputs / name
    place.mkdir()
    if "replacing" in name:
        assert main(["dataset", str(place / "old.zarr"), *DATA, "--seed", "1"]) == 0
    return place


class Launcher:
    """Runs commands in processes that begin at once."""

    def __init__(self, log: Path) -> None:
        command = [sys.executable, "-c", LAUNCHER]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._log = log

    def start(self, command: Command, place: Path) -> int:
        """Start a command and return the number of its process."""
        self._write(json.dumps([command.arguments, str(place), str(self._log)]))
        return self._read()

    def wait(self) -> int:
        """Return the exit status of what was started last."""
        self._write("")
        return self._read()

    def finish(self, command: Command, place: Path) -> None:
        """Run a command to its end."""
        self.start(command, place)
        assert self.wait() == 0, self._log.read_text()

    def end(self) -> None:
        """End the process that runs them."""
        self._process.communicate()

    def _write(self, line: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def _read(self) -> int:
        assert self._process.stdout
        return int(self._process.stdout.readline())


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    one = Launcher(tmp_path_factory.mktemp("launcher") / "log")
    yield one
    one.end()


@pytest.fixture(scope="module")
def undisturbed(inputs: Path, launcher: Launcher) -> Callable[[str], tuple[float, dict[str, str]]]:
    """The seconds that an undisturbed run of a command takes, and the digests of its outputs."""
    known: dict[str, tuple[float, dict[str, str]]] = {}

    def run(name: str) -> tuple[float, dict[str, str]]:
        if name not in known:
            place, command = make_place(inputs, f"{name} undisturbed"), COMMANDS[name]
            launcher.finish(command, place)  # compiles what is not in the cache yet
            began = time.monotonic()
            launcher.finish(command, place)
            known[name] = time.monotonic() - began, {it: digest(place / it) for it in command.same}
        return known[name]

    return run


def assert_nothing_half_written(place: Path) -> None:
    """Read everything that can be read in a folder by its name; a checkpoint is read by the run that goes on."""
    for path in place.glob("*.zarr"):
        data = Dataset(path)
        for rank in range(data.shards):
            data.shard(rank, data.shards)
    for path in place.glob("*.parquet"):
        trace_files.read(path)
    for path in place.glob(".*.unfinished/*.parquet"):
        trace_files.read(path)


def assert_old_or_new(place: Path, name: str, expected: dict[str, str]) -> None:
    if name == "dataset, replacing":
        seed = Dataset(place / "old.zarr").model.seed
        assert seed in (1, 9), "the data set of before is lost"
        assert (digest(place / "old.zarr") == expected["old.zarr"]) == (seed == 9)


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("kill", range(KILLS), ids=lambda number: f"kill_{number}")
def test_a_command_that_is_killed_loses_nothing_and_run_again_leaves_nothing(
    inputs: Path,
    launcher: Launcher,
    undisturbed: Callable[[str], tuple[float, dict[str, str]]],
    name: str,
    kill: int,
) -> None:
    draw, command = random.Random(f"{name} {kill}"), COMMANDS[name]
    seconds, expected = undisturbed(name)
    place = make_place(inputs, f"{name} {kill}")
    for _ in range(draw.choice([1, 1, 2, 3])):
        process = launcher.start(command, place)
        time.sleep(draw.uniform(0, seconds))
        os.kill(process, signal.SIGKILL)  # it may have ended, but is waited for only now
        launcher.wait()
        assert_nothing_half_written(place)
        assert_old_or_new(place, name, expected)
    launcher.finish(command, place)
    assert {it: digest(place / it) for it in command.same} == expected
    assert sorted(path.name for path in place.iterdir()) == sorted(command.names)
    shutil.rmtree(place)
