"""A cluster over SSH: a real server on loopback, as the user who runs the tests."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import dask
import psutil
import pytest
from living import command_line
from real_processes import (
    SOURCE,
    Sshd,
    doctored,
    environment,
    free_port,
    make_certificate,
    make_key,
    refusal,
    sshd,
    without_relufit,
)
from waiting import until

from relufit.clusters import open_cluster
from relufit.experiments.framework.base import Setting, Trial
from relufit.experiments.framework.procedures import PROCEDURES
from relufit.experiments.framework.spread import spread
from relufit.planted import PlantedModel
from relufit.training import TrainingSpec, train

PROGRAM = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
pytestmark = [
    pytest.mark.skipif(PROGRAM is None, reason="sshd is not installed (Debian: apt-get install openssh-server)"),
    pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed"),
]

SPEC = TrainingSpec(
    PlantedModel(210, 12, 3, noise_std=0.05), {"name": "qsgd", "levels": 4}, workers=2, batch_size=20, iterations=25
)
QUANTIZE = Setting(
    "quantizer_variance", "q", {"d": 64}, {"compressor": {"name": "qsgd", "levels": 4}, "vectors": 20}, 3, "quantize"
)
TRIALS = [(QUANTIZE, trial) for trial in range(3)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    pytest.importorskip("asyncssh", reason="asyncssh is not installed (relufit[ssh])")
    assert PROGRAM
    with sshd(tmp_path_factory.mktemp("ssh") / "server", PROGRAM, str(SOURCE)) as started:
        yield started


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return make_certificate(tmp_path_factory.mktemp("tls"))


def section(server: Sshd, **options: Any) -> dict[str, Any]:
    return {"kind": "ssh", "ssh": {"hosts": ["127.0.0.1"], "connect": server.connect, "timeout": 300, **options}}


def started_by(server: Sshd) -> list[psutil.Process]:
    """Processes of Dask that an SSH server has started: they have its path in their environment, and no terminal."""
    processes = []
    for process in psutil.process_iter(["cmdline"]):
        try:
            if "distributed.cli.dask_spec" in " ".join(process.info["cmdline"] or ()) and (
                process.environ().get("SSH_CONNECTION", "").endswith(f" {server.port}")
            ):
                processes.append(process)
        except psutil.Error:
            continue
    return processes


def workers_of(server: Sshd) -> list[psutil.Process]:
    """Those of them that will be workers: they are told the address of a scheduler."""
    return [process for process in started_by(server) if "://127.0.0.1:" in " ".join(command_line(process))]


@pytest.mark.parametrize("protected", [False, True], ids=["plain", "tls"])
def test_a_run_gives_the_bits_of_the_serial_engine_and_nothing_is_left(
    server: Sshd,
    tls: dict[str, str],
    protected: bool,
    assert_on_loopback: Callable[[list[psutil.Process]], None],
) -> None:
    def folder_of(dask_worker: Any) -> str:  # travels by value
        return str(dask_worker.local_directory)

    options: dict[str, Any] = {"workers_per_host": 2, **({"tls": tls} if protected else {})}
    with open_cluster(section(server, **options), 2) as cluster:
        trace = train(SPEC, cluster.client)
        spread_tables = [outcome.table for outcome in spread(cluster.client, TRIALS, 7, Path(), lambda done: None)]
        details, address = cluster.describe(), cluster.client.scheduler.address
        commands = [word for process in started_by(server) for word in command_line(process)]
        assert_on_loopback([child for one in started_by(server) for child in (one, *one.children(recursive=True))])
        assert set(cluster.client.run(dask.config.get, "distributed.admin.tick.interval").values()) == {"500ms"}
        folders = [Path(folder) for folder in cluster.client.run(folder_of).values()]
        for folder in folders:
            private = next(parent for parent in folder.parents if parent.name.startswith("relufit-"))
            assert (private.stat().st_mode & 0o777, private.stat().st_uid) == (0o700, os.getuid())
        assert len(started_by(server)) >= 2
    for table, (setting, trial) in zip(spread_tables, TRIALS, strict=True):
        alone = PROCEDURES["quantize"](Trial(setting, 7, trial))
        assert table.equals(alone.table)
    oracle = train(SPEC)
    assert trace.weights.tobytes() == oracle.weights.tobytes()
    assert trace.table.equals(oracle.table)
    assert details == {"kind": "ssh", "hosts": 1, "workers": 2, "tls": protected}
    assert address.startswith("tls://127.0.0.1:" if protected else "tcp://127.0.0.1:")
    assert not any("PRIVATE KEY" in word for word in commands)
    until(lambda: not started_by(server), "a process is left on the host")
    until(lambda: not any(folder.exists() for folder in folders), "a folder is left on the host")


class _MistakeError(Exception):
    pass


def test_after_a_failure_nothing_is_left(server: Sshd) -> None:
    with pytest.raises(_MistakeError), open_cluster(section(server), 1):
        assert started_by(server)
        raise _MistakeError
    until(lambda: not started_by(server), "a process is left on the host")


LIVE = """
import json, sys
from relufit.clusters import open_cluster

with open_cluster(json.loads(sys.argv[1]), 1) as cluster:
    print("open", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize(("number", "waited"), [(signal.SIGINT, True), (signal.SIGKILL, True), (signal.SIGKILL, False)])
def test_however_rudely_the_program_ends_nothing_is_left(server: Sshd, number: signal.Signals, waited: bool) -> None:
    import json

    program = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n" + LIVE
    process = subprocess.Popen(
        [sys.executable, "-c", program, json.dumps(section(server))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment(),
    )
    try:
        assert process.stdout is not None
        if waited:
            assert process.stdout.readline() == b"open\n"
        else:  # while everything starts
            until(lambda: started_by(server), "nothing has started")
        process.send_signal(number)
        process.wait(300)
        until(lambda: not started_by(server), "a process is left on the host")
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("number", "timeout", "told"),
    [
        (signal.SIGKILL, 300, "Dask did not start ("),
        (signal.SIGSTOP, 12, "Dask did not start on all hosts within 12 s"),
    ],
)
def test_a_worker_that_is_lost_while_starting_ends_all(
    server: Sshd, number: signal.Signals, timeout: int, told: str
) -> None:
    lost: list[psutil.Process] = []

    def lose() -> None:
        until(lambda: workers_of(server), "no worker has begun to start")
        lost.extend(workers_of(server))
        for process in lost:
            process.send_signal(number)

    thread = threading.Thread(target=lose)
    thread.start()
    error = refusal(section(server, timeout=timeout))
    thread.join()
    assert told in str(error)
    for process in lost:  # what is stopped ends as soon as it goes on
        with suppress(psutil.Error):
            process.send_signal(signal.SIGCONT)
    until(lambda: not started_by(server), "a process is left on the host")


def test_nothing_of_the_configuration_of_dask_is_on_a_command_line(server: Sshd) -> None:
    with dask.config.set({"secret": "never-to-be-shown"}), open_cluster(section(server), 1) as cluster:
        inherited = cluster.client.run_on_scheduler(lambda: os.environ.get("DASK_INTERNAL_INHERIT_CONFIG", ""))
        assert dask.config.get("secret") == "never-to-be-shown"
    assert "distributed" in dask.config.deserialize(inherited)
    assert "secret" not in dask.config.deserialize(inherited)


def test_a_port_where_nobody_listens_is_told_with_the_host(server: Sshd) -> None:
    connect = {**server.connect, "port": free_port()}
    message = str(refusal(section(server, connect=connect)))
    assert message.startswith(f"cluster.ssh.hosts.127.0.0.1: no SSH connection to port {connect['port']}")


def test_a_server_that_says_nothing_is_given_up_in_time(server: Sshd) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        connect = {**server.connect, "port": silent.getsockname()[1]}
        message = str(refusal(section(server, connect=connect, timeout=2)))
    assert "no answer at port" in message


def test_a_key_that_the_host_does_not_know_is_told(server: Sshd, tmp_path: Path) -> None:
    key = make_key(tmp_path / "other")
    message = str(refusal(section(server, connect={**server.connect, "client_key": str(key)})))
    assert "it lets nobody in with that user and key" in message


def test_a_host_that_nobody_knows_is_refused(server: Sshd, tmp_path: Path) -> None:
    other = make_key(tmp_path / "other").with_suffix(".pub").read_text()
    (tmp_path / "known_hosts").write_text(f"[127.0.0.1]:{server.port} {' '.join(other.split()[:2])}\n")
    message = str(refusal(section(server, connect={**server.connect, "known_hosts": str(tmp_path / "known_hosts")})))
    assert "its key is not among the known hosts" in message


def test_a_missing_python_and_one_without_relufit_are_told(server: Sshd, tmp_path: Path) -> None:
    assert "there is no /nowhere/python" in str(refusal(section(server, python="/nowhere/python")))
    for name, shim, reason in (
        ("without", without_relufit(tmp_path / "1"), "relufit does not run there ("),
        ("other", doctored(tmp_path / "2", "numba", "0.1"), "versions differ from those of this program"),
    ):
        python = tmp_path / name
        python.write_text(f'#!/bin/sh\nexport PYTHONPATH={shim}:{SOURCE}\nexec {sys.executable} "$@"\n')
        python.chmod(0o755)
        error = refusal(section(server, python=str(python)))
        assert reason in str(error)
    assert [line.split() for line in error.remedy.splitlines()[2:]] == [
        ["numba", _version("numba"), "0.1", "127.0.0.1"]
    ]


def _version(package: str) -> str:
    from importlib.metadata import version

    return version(package)


def test_a_path_of_python_is_no_command(server: Sshd, tmp_path: Path) -> None:
    python = f"/nowhere/python; touch {tmp_path}/made"
    assert "there is no" in str(refusal(section(server, python=python)))
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("options", "workers", "told"),
    [
        ({"hosts": ["127.0.0.1", "10.0.0.1"]}, 1, "ranks on a network need TLS"),
        ({"scheduler": "10.0.0.1"}, 1, "ranks on a network need TLS"),
        ({"workers_per_host": 2}, 3, "2 workers for 3 ranks"),
        ({"connect": {"client_key": "/nowhere"}}, 1, "client_key: /nowhere cannot be read"),
        ({"tls": {"ca_file": "/nowhere", "cert": "/nowhere", "key": "/nowhere"}}, 1, "/nowhere cannot be read"),
    ],
)
def test_what_cannot_be_is_refused_before_a_host_is_asked(
    server: Sshd, options: dict[str, Any], workers: int, told: str
) -> None:
    assert told in str(refusal(section(server, **options), workers))


@pytest.mark.skipif(os.getuid() == 0, reason="root can read every file")
def test_a_key_file_that_cannot_be_read_is_told(server: Sshd, tmp_path: Path) -> None:
    key = make_key(tmp_path / "key")
    key.chmod(0)
    assert "cannot be read" in str(refusal(section(server, connect={**server.connect, "client_key": str(key)})))
