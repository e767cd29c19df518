"""A cluster by address or scheduler file: real `dask scheduler` and `dask worker` processes, with and without TLS."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, Security
from real_processes import Dask, dask, make_certificate, refusal
from waiting import address_in, until

from relufit.claims import trace_files
from relufit.clusters import open_cluster, own_tcp
from relufit.errors import ClusterError
from relufit.experiments.framework import trials
from relufit.experiments.framework.base import Setting
from relufit.planted import PlantedModel
from relufit.training import TrainingSpec, train

SPEC = TrainingSpec(
    PlantedModel(210, 12, 3, noise_std=0.05), {"name": "qsgd", "levels": 4}, workers=2, batch_size=20, iterations=25
)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dask]:
    with dask(tmp_path_factory.mktemp("plain"), 3) as started:
        with Client(address_of(started)) as client:
            client.wait_for_workers(3, timeout=300)
        yield started


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory, tls: dict[str, str]) -> Iterator[Dask]:
    with dask(tmp_path_factory.mktemp("secure"), 2, tls) as started:
        yield started


def address_of(started: Dask) -> str:
    return address_in(started.scheduler_file)


def security_of(started: Dask) -> Security | None:
    tls = started.tls
    return tls and Security(tls_ca_file=tls["ca_file"], tls_client_cert=tls["cert"], tls_client_key=tls["key"])


def section(**options: Any) -> dict[str, Any]:
    return {"kind": "address", "address": options}


def of(started: Dask, **options: Any) -> dict[str, Any]:
    tls = {"tls": started.tls} if started.tls else {}
    return section(scheduler_file=str(started.scheduler_file), **tls, **{"timeout": 300, **options})


def left_on(client: Client) -> tuple[list[str], int]:
    """Tasks and clients that a scheduler knows, but for those of its workers."""

    def look(dask_scheduler: Any) -> tuple[list[str], int]:  # travels by value
        clients = [name for name in dask_scheduler.clients if name.startswith("Client-") and "worker" not in name]
        return list(dask_scheduler.tasks), len(clients)

    left: tuple[list[str], int] = client.run_on_scheduler(look)
    return left


def told_of(client: Client) -> set[str]:
    """The topics under which a scheduler keeps what a run has told."""
    return {name for name in client.get_events() if name.startswith("relufit-")}


@pytest.mark.parametrize("kind", ["plain", "secure"])
def test_a_run_gives_the_bits_of_the_serial_engine_and_leaves_the_cluster_as_it_was(
    request: pytest.FixtureRequest, kind: str
) -> None:
    started: Dask = request.getfixturevalue(kind)
    oracle = train(SPEC)
    with Client(address_of(started), security=security_of(started)) as other:
        other.log_event("relufit-another", "a run that goes on")
        with open_cluster(of(started), 2) as cluster:
            trace = train(SPEC, cluster.client)
            details = cluster.describe()
            assert told_of(other) > {"relufit-another"}
    assert trace.weights.tobytes() == oracle.weights.tobytes()
    assert trace.table.equals(oracle.table)
    # With three slots the master has one; with two it is beside a rank.
    assert details == {"kind": "address", "slots": 3 if kind == "plain" else 2, "tls": kind == "secure"}
    with Client(address_of(started), security=security_of(started)) as other:
        assert left_on(other) == ([], 1)
        until(lambda: told_of(other) == {"relufit-another"}, "what the run has told is kept")
    assert all(process.poll() is None for process in started.processes)


@pytest.mark.parametrize("kind", ["plain", "secure"])
def test_trials_without_real_ranks_leave_the_same_files_as_in_this_process(
    request: pytest.FixtureRequest, kind: str, tmp_path: Path
) -> None:
    started: Dask = request.getfixturevalue(kind)
    spec = {"compressor": {"name": "qsgd", "levels": 4}, "workers": 2, "batch_size": 20, "iterations": 30}
    settings = [Setting("qsgd_convergence", name, {"n": 100, "d": 10}, spec, 3, group="all") for name in ("one", "two")]
    trials.run(settings, 7, tmp_path / "here.parquet", tmp_path)
    trials.run(settings, 7, tmp_path / "there.parquet", tmp_path, cluster=of(started))
    assert (tmp_path / "here.parquet").read_bytes() == (tmp_path / "there.parquet").read_bytes()
    details = trace_files.read(trace_files.timing_path(tmp_path / "there.parquet")).about["cluster"]
    assert (details["kind"], details["tls"]) == ("address", kind == "secure")


def test_an_address_serves_as_well_as_a_file(plain: Dask, secure: Dask) -> None:
    for started in (plain, secure):
        tls = {"tls": started.tls} if started.tls else {}
        with open_cluster(section(address=address_of(started), **tls), 1) as cluster:
            assert cluster.client.status == "running"


def test_a_scheduler_file_that_comes_later_is_waited_for(plain: Dask, tmp_path: Path) -> None:
    path = tmp_path / "later.json"

    def write() -> None:
        time.sleep(0.5)
        path.write_text("{")
        time.sleep(0.3)
        path.write_text(plain.scheduler_file.read_text())

    thread = threading.Thread(target=write)
    thread.start()
    with open_cluster(section(scheduler_file=str(path), timeout=300), 1) as cluster:
        assert cluster.client.status == "running"
    thread.join()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "neither address nor scheduler_file"),
        ({"address": "tcp://127.0.0.1:1", "scheduler_file": "/x"}, "give one of"),
        ({"address": "127.0.0.1:8786"}, "is no address"),
        ({"address": "tcp://10.0.0.1:8786"}, "without TLS; start scheduler and workers with --tls-ca-file"),
        ({"address": "tls://10.0.0.1:8786"}, "give ca_file, cert and key"),
        ({"address": "tcp://scheduler.example:8786"}, "without TLS"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_sent(options: dict[str, Any], told: str) -> None:
    assert told in str(refusal(section(**options)))


def test_tls_files_are_looked_at_first(tls: dict[str, str], tmp_path: Path) -> None:
    address = "tls://127.0.0.1:1"
    error = refusal(section(address=address, tls={**tls, "cert": "/nowhere.pem"}))
    assert str(error).startswith("cluster.address.tls.cert: /nowhere.pem cannot be read")
    (tmp_path / "nonsense.pem").write_text("nonsense")
    error = refusal(section(address=address, tls={**tls, "ca_file": str(tmp_path / "nonsense.pem")}))
    assert "holds no certificate" in str(error)
    other = make_certificate(tmp_path / "other")
    error = refusal(section(address=address, tls={**tls, "key": other["key"]}))
    assert "no certificate and its key" in str(error)
    error = refusal(section(address="tcp://127.0.0.1:1", tls=tls))
    assert "is without TLS, and tls is given" in str(error)


def within(seconds: float, config: dict[str, Any], workers: int = 2) -> str:
    """Return the refusal that follows a deadline; without one the test would be ended."""
    assert config["address"]["timeout"] == seconds
    return str(refusal(config, workers))


def test_where_nobody_listens_the_deadline_is_kept() -> None:
    message = within(1, section(address="tcp://127.0.0.1:1", timeout=1))
    assert "no scheduler answers at tcp://127.0.0.1:1 within 1 s" in message


def test_a_server_that_says_nothing_is_no_scheduler() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        message = within(1, section(address=f"tcp://127.0.0.1:{silent.getsockname()[1]}", timeout=1))
    assert "no scheduler answers" in message


def test_a_worker_is_no_scheduler(plain: Dask) -> None:
    with Client(address_of(plain)) as client:
        client.wait_for_workers(3, timeout=300)
        worker = next(iter(client.scheduler_info(n_workers=-1)["workers"]))
    assert "is a Worker, not a scheduler" in within(60, section(address=worker, timeout=60))


def test_a_certificate_of_another_authority_is_refused(secure: Dask, tmp_path: Path) -> None:
    other = make_certificate(tmp_path / "other")
    message = within(20, section(address=address_of(secure), tls=other, timeout=20))
    assert message.startswith("cluster.address.tls: no TLS with tls://127.0.0.1:")


def test_a_scheduler_file_that_is_missing_nonsense_or_anybodys_is_refused(tmp_path: Path, plain: Dask) -> None:
    path = tmp_path / "scheduler.json"
    config = section(scheduler_file=str(path), timeout=0.5)
    assert "is not there after 0.5 s" in within(0.5, config)
    for content in ("nonsense", "[]", "{}"):
        path.write_text(content)
        assert "is no scheduler file" in within(0.5, config)
    path.write_text(plain.scheduler_file.read_text())
    for mode in (0o666, 0o664, 0o646):
        path.chmod(mode)
        message = within(0.5, config)
        assert f"others than you may write {path}, and decide by it which scheduler is trusted" in message
        assert f"chmod go-w {path}" in message
    path.chmod(0o644)
    with open_cluster(section(scheduler_file=str(path), timeout=300), 1):
        pass
    path.unlink()
    path.mkdir()
    assert "cannot be read (Is a directory)" in within(0.5, config)
    path.rmdir()
    os.mkfifo(path)
    assert "is no scheduler file" in within(0.5, config)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to somebody else")
def test_a_scheduler_file_of_somebody_else_is_refused(tmp_path: Path, plain: Dask) -> None:
    path = tmp_path / "scheduler.json"
    path.write_text(plain.scheduler_file.read_text())
    os.chown(path, 12345, 12345)
    assert "belongs to another user, who decides by it which scheduler is trusted" in within(
        1, section(scheduler_file=str(path), timeout=1)
    )


#: Listens as another user on loopback, and says how many bytes the first who comes has sent.
STRANGER = """
import os, socket, sys
os.setuid(54321)
family, both = (socket.AF_INET6, sys.argv[1] == "::") if ":" in sys.argv[1] else (socket.AF_INET, False)
with socket.create_server((sys.argv[1], 0), family=family, dualstack_ipv6=both) as listener:
    print(listener.getsockname()[1], flush=True)
    connection, _ = listener.accept()
    print(len(connection.recv(1 << 16)), flush=True)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize(("host", "address"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]"), ("::", "127.0.0.1")])
def test_nothing_is_said_to_another_user_who_listens_where_a_scheduler_was(host: str, address: str) -> None:
    if ":" in host and not Path("/proc/net/tcp6").exists():
        pytest.skip("no IPv6 here")
    command = [sys.executable, "-c", STRANGER, host]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as stranger:
        assert stranger.stdout is not None
        port = int(stranger.stdout.readline())
        error = refusal(section(address=f"tcp://{address}:{port}", timeout=300))
        assert "is not to be trusted: it belongs to another user (54321)" in str(error)
        assert "--tls-ca-file" in error.remedy
        assert stranger.stdout.readline() == "0\n"


def test_a_scheduler_of_another_user_is_not_asked(plain: Dask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_tcp, "trusted", lambda: {54321})
    error = refusal(of(plain))
    assert f"is not to be trusted: it belongs to another user ({os.getuid()})" in str(error)


def test_a_worker_of_another_user_is_not_asked(plain: Dask, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_cluster(of(plain), 1):  # when workers are there
        pass

    async def mine(connection: object) -> None:
        """Take the scheduler for this user's."""

    monkeypatch.setattr(own_tcp, "check_peer", mine)
    monkeypatch.setattr(own_tcp, "trusted", lambda: {54321})
    assert "is not one of this user" in str(refusal(of(plain)))


def test_too_few_slots_in_time_are_told(plain: Dask) -> None:
    message = within(4, of(plain, timeout=4), workers=4)
    assert "3 slots for 4 ranks after 4 s" in message
    assert "--resources slot=1" in message


def test_a_worker_that_comes_late_is_waited_for(tmp_path: Path) -> None:
    with dask(tmp_path, 0) as started:
        message = within(4, of(started, timeout=4), workers=0)
        assert "0 slots for 1 ranks" in message
        thread = threading.Timer(0.5, started.worker)
        thread.start()
        with open_cluster(of(started, timeout=300), 1) as cluster:
            assert cluster.describe()["slots"] == 1
        thread.join()


def test_a_worker_that_is_lost_while_starting_is_missed_at_the_deadline(plain: Dask) -> None:
    worker = plain.worker()
    threading.Timer(0.2, worker.kill).start()
    assert "3 slots for 4 ranks after 8 s" in within(8, of(plain, timeout=8), workers=4)
    worker.wait()
    plain.processes.remove(worker)


def _kill_scheduler_when_busy(started: Dask) -> None:
    try:
        with Client(address_of(started)) as client:
            until(lambda: any(client.processing().values()), "no trial has begun")
    finally:
        started.processes[0].kill()


def test_a_scheduler_that_is_killed_ends_the_trials_with_one_error(tmp_path: Path) -> None:
    spec = {"compressor": "fp64", "workers": 2, "batch_size": 20, "iterations": 10**8}
    endless = Setting("qsgd_convergence", "endless", {"n": 100, "d": 10}, spec, 2)
    with dask(tmp_path / "dask", 1) as started:
        threading.Thread(target=_kill_scheduler_when_busy, args=[started]).start()
        with pytest.raises(ClusterError, match="the scheduler is gone"):
            trials.run([endless], 7, tmp_path / "t.parquet", tmp_path, cluster=of(started))
    assert not (tmp_path / "t.parquet").exists()
