"""The workflow killed at a random moment and run again: nothing is lost, nothing is left, the results are the same.

What a seed draws can be drawn again. The workflow is killed as often as RELUFIT_WORKFLOW_KILLS says.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from checkout import CONFIGURED, checkout, snakemake

from relufit.files.atomic import digest

KILLS = int(os.environ.get("RELUFIT_WORKFLOW_KILLS", "1"))


def files_of(folder: Path) -> set[str]:
    """Return the names of all files of a run but its logs, and of all folders."""
    run = folder / "results" / "tiny"
    return {path.relative_to(run).as_posix() for path in run.rglob("*") if path.relative_to(run).parts[0] != "logs"}


@pytest.fixture
def processes() -> Iterator[Callable[[int], list[psutil.Process]]]:
    """Remember the processes below one, and end those that are left."""
    known: dict[int, psutil.Process] = {}

    def below(number: int) -> list[psutil.Process]:
        try:
            children = psutil.Process(number).children(recursive=True)
        except psutil.NoSuchProcess:
            children = []
        known.update({child.pid: child for child in children})
        return [child for child in known.values() if child.is_running()]

    yield below
    for process in known.values():
        try:
            process.kill()
        except psutil.NoSuchProcess:
            pass


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kill", range(KILLS), ids=lambda number: f"kill_{number}")
def test_a_workflow_that_is_killed_loses_nothing_and_run_again_leaves_nothing(
    tmp_path: Path, finished: Path, processes: Callable[[int], list[psutil.Process]], kill: int
) -> None:
    draw, names = random.Random(f"killed workflow {kill}"), files_of(finished)
    expected = json.loads((finished / "results/tiny/manifest.json").read_text())["sha256"]
    folder = checkout(tmp_path)
    running = subprocess.Popen(
        [sys.executable, "-m", "snakemake", *CONFIGURED],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    # When so many of its results are there, and a moment later, in the middle of others.
    results = draw.randrange(len(expected))
    while running.poll() is None and sum((folder / "results/tiny" / name).exists() for name in expected) < results:
        processes(running.pid)
        time.sleep(0.05)
    end = time.monotonic() + draw.uniform(0, 3)
    while time.monotonic() < end and running.poll() is None:
        processes(running.pid)
        time.sleep(0.05)
    orphans = processes(running.pid)
    if kill % 2:
        running.kill()  # its jobs go on, and meet those of the next run
    else:
        for process in (running.pid, *(orphan.pid for orphan in orphans)):
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                pass
    running.wait()
    assert_results_are_whole(folder / "results" / "tiny", expected)
    for options in (["--unlock"], ["--rerun-incomplete"]):
        done = snakemake(folder, *CONFIGURED, *options)
        assert done.returncode == 0, done.stdout + done.stderr
    psutil.wait_procs(orphans)
    assert json.loads((folder / "results/tiny/manifest.json").read_text())["sha256"] == expected
    assert {name: digest(folder / "results/tiny" / name) for name in expected} == expected
    assert files_of(folder) == names


def assert_results_are_whole(run: Path, expected: dict[str, str]) -> None:
    """Compare what a killed workflow has left under the names of its results."""
    for name, sha256 in expected.items():
        if (run / name).exists():
            try:
                assert digest(run / name) == sha256, f"{name} is half-written"
            except FileNotFoundError:
                pass  # a job that goes on has replaced it meanwhile
