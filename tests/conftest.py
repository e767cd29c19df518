"""What several test modules share. Clusters are slow to start, so that there is one of each kind for all tests."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence

import pytest
from distributed import Client, LocalCluster


@pytest.fixture(scope="session")
def client() -> Iterator[Client]:
    """A cluster of six processes on this machine, with one slot each."""
    with (
        LocalCluster(
            n_workers=6,
            threads_per_worker=1,
            resources={"slot": 1},
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as connected,
    ):
        yield connected


@pytest.fixture(scope="session")
def run_python() -> Callable[..., str]:
    """Run a program in a process of its own and return what it prints."""

    def run(program: str, *arguments: object, prefix: Sequence[str] = (), **environment: str) -> str:
        done = subprocess.run(
            [*prefix, sys.executable, "-c", program, *map(str, arguments)],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
