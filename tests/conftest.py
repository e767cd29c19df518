"""What several test modules share. Clusters are slow to start, so that there is one of each kind for all tests."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence

import dask
import psutil
import pytest
import requests
from distributed import Client, LocalCluster

# A shell that starts something in the background has it ignore interrupts, and all that it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

#: Credentials that open nothing.
AWS_KEY, AWS_SECRET = "AKIAFORTESTSONLY1234", "never-to-be-sent-anywhere-0123456789abcd"


@pytest.fixture(scope="session")
def client() -> Iterator[Client]:
    """A cluster of six processes on this machine, with one slot each."""
    with (
        dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}),
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


@pytest.fixture(scope="session")
def moto_address() -> Iterator[str]:
    """Where a moto server listens, which keeps the books of an account of AWS."""
    server = pytest.importorskip("moto.server", reason="needs moto")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    running = server.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def aws_environment(moto_address: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """AWS's clients of this process, and of those it starts, led to an empty account."""
    s3fs = pytest.importorskip("s3fs", reason="needs s3fs")
    requests.post(f"{moto_address}/moto-api/reset", timeout=10)
    for name, value in {
        "AWS_ENDPOINT_URL": moto_address,
        "AWS_ACCESS_KEY_ID": AWS_KEY,
        "AWS_SECRET_ACCESS_KEY": AWS_SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }.items():
        monkeypatch.setenv(name, value)
    # Nobody outside this machine is ever called.
    monkeypatch.setattr("moto.ec2.models.elastic_network_interfaces.random_public_ip", lambda: "127.219.219.219")
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    s3fs.S3FileSystem.clear_instance_cache()
    return moto_address


@pytest.fixture(scope="session")
def processes_started() -> Callable[[], set[int]]:
    """Tell the processes that this one has had started by the server of `multiprocessing`, and that live."""

    def started() -> set[int]:
        return {
            child.pid
            for server in psutil.Process().children()
            if "forkserver" in " ".join(server.cmdline())
            for child in server.children(recursive=True)
            if child.status() != psutil.STATUS_ZOMBIE
        }

    return started
