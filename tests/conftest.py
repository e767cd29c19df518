"""What several test modules share. Clusters are slow to start, so that there is one of each kind for all tests."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path

import dask
import psutil
import pytest
import requests
from distributed import Client, LocalCluster
from forked import FORKED, preload
from hypothesis import HealthCheck, settings
from living import alive, command_line
from longest import LONGEST
from loops import compile_side_by_side

from relufit.clusters.emulated import findings as findings_module
from relufit.clusters.emulated import probe

# What a shell starts in the background ignores interrupts, and what `nohup` starts hang-ups.
if threading.current_thread() is threading.main_thread():
    for number, default in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, default)

# An example may take as long as the machine needs.
settings.register_profile("any speed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any speed")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the longest modules first in the processes of pytest-xdist, which hands them out in this order."""
    if not hasattr(config, "workerinput"):
        return
    ranks = {Path(__file__).parent / name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config) -> None:
    """Compile loops before the processes of pytest-xdist begin, where all tests are run."""
    if config.args_source is pytest.Config.ArgsSource.TESTPATHS:
        compile_side_by_side()


#: Credentials that open nothing.
AWS_KEY, AWS_SECRET = "AKIAFORTESTSONLY1234", "never-to-be-sent-anywhere-0123456789abcd"


@pytest.fixture(scope="session")
def client() -> Iterator[Client]:
    """A cluster of six processes on this machine, with one slot each."""
    preload()
    with (
        dask.config.set(FORKED),
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


WRITER = """
import os, signal, sys
from relufit.files.atomic import replacing
with replacing(sys.argv[1]) as fresh:
    fresh.write_bytes(b"half")
    print(fresh.parent, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="session")
def killed_writer() -> Callable[[Path], Path]:
    """Have a process killed while it writes a file, and return what it leaves: a staging folder."""

    def killed(target: Path) -> Path:
        done = subprocess.run([sys.executable, "-c", WRITER, str(target)], capture_output=True, text=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
        return Path(done.stdout.strip())

    return killed


@pytest.fixture(scope="session")
def moto_address() -> Iterator[str]:
    """Where a moto server listens, which keeps the books of an account of AWS."""
    server = pytest.importorskip("moto.server", reason="needs moto")
    loaders = pytest.importorskip("botocore.loaders", reason="needs botocore")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    running = server.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    read = cache(partial(loaders.JSONFileLoader.load_file, loaders.JSONFileLoader()))
    with pytest.MonkeyPatch.context() as patch:
        # Each session reads the descriptions of services, megabytes of JSON, and each test has sessions of its own.
        patch.setattr(loaders.JSONFileLoader, "load_file", lambda self, path: read(path))
        yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def aws_environment(moto_address: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """AWS's clients of this process, and of those it starts, led to an empty account."""
    s3fs = pytest.importorskip("s3fs", reason="needs s3fs")
    requests.post(f"{moto_address}/moto-api/reset", timeout=300)
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
            if "forkserver" in " ".join(command_line(server))
            for child in server.children(recursive=True)
            if alive(child)
        }

    return started


@pytest.fixture(scope="session")
def without_iptables() -> list[str]:
    """What a command begins with for which iptables is not installed: its files are covered in a mount namespace."""
    findings = probe()
    if findings.delay != "nfqueue":
        pytest.skip("packets are not delayed by iptables here")
    places = [Path(folder) / name for folder in ("/usr/sbin", "/sbin") for name in findings_module.PROGRAMS]
    files = sorted({str(path.resolve()) for path in places if path.name.startswith("iptables") and path.exists()})
    covered = " && ".join(f"mount --bind /dev/null {shlex.quote(file)}" for file in files)
    words = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", f'{covered} && exec "$@"', "sh"]
    if subprocess.run([*words, "true"], capture_output=True, check=False).returncode:
        pytest.skip("files cannot be covered here")
    return words
