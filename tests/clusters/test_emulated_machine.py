"""What a machine can emulate is found out and told; and nothing of an emulated network outlives the program."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from uuid import uuid4

import psutil
import pytest
from emulation import FINDINGS, as_nobody, needs_a_second_user, needs_delay, needs_hosts

import relufit
from relufit.clusters import open_cluster
from relufit.clusters.emulated import findings
from relufit.clusters.emulated.findings import Findings, probe
from relufit.clusters.emulated.forwarder import owner
from relufit.clusters.emulated.session import Session
from relufit.errors import ClusterError, ConfigError
from relufit.planted import PlantedModel

_PROGRAM = """
import sys, time
from relufit.clusters import open_cluster
print("begun", flush=True)
with open_cluster({"kind": "emulated", "emulated": {"rate": 1e8, "round_trip": 1e-3}}, 1) as cluster:
    print("opened", flush=True)
    time.sleep(600)
"""
_SMALL = """
import relufit
from relufit.clusters import open_cluster
from relufit.planted import PlantedModel

spec = relufit.TrainingSpec(
    dataset=PlantedModel(n=100, d=10, seed=3), compressor={"name": "fp64"}, workers=1, batch_size=4, iterations=20
)
with open_cluster({"kind": "emulated", "emulated": {"rate": 1e8, "round_trip": 1e-3, "loss": 0.01}}, 1) as cluster:
    print(relufit.train(spec, cluster.client).weights.tobytes().hex(), *cluster.counters())
"""

_SPEC = relufit.TrainingSpec(
    dataset=PlantedModel(n=100, d=10, seed=3), compressor={"name": "fp64"}, workers=1, batch_size=4, iterations=20
)


def _tools(folder: Path, without: str) -> str:
    """Return a folder with all programs that are needed but one."""
    for name in (*findings.PROGRAMS, "sh", "cat", "iptables-restore"):
        found = shutil.which(name, path=findings.search_path())
        if found and not name.startswith(without):
            (folder / name).symlink_to(found)
    return str(folder)


def _marked(marker: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if marker.encode() in (entry / "environ").read_bytes():
                    found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
    return found


def test_the_probe_tells_of_everything_whether_it_works() -> None:
    named = {"namespaces", "hosts", "bridge", "veth", "localnet", "tbf", "netem", "nfqueue", "statistic"}
    missing = FINDINGS.missing()
    assert FINDINGS.works | missing.keys() == named
    assert not FINDINGS.works & missing.keys()
    assert FINDINGS.describe()["missing"] == missing


@needs_hosts
@pytest.mark.parametrize(
    ("program", "package"), [("ip", "iproute2"), ("tc", "iproute2"), ("unshare", "util-linux"), ("mount", "util-linux")]
)
def test_a_missing_program_is_named_with_its_package(
    program: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(findings, "_MORE_PLACES", ())
    monkeypatch.setenv("PATH", _tools(tmp_path, program))
    with (
        pytest.raises(ClusterError, match=rf"{program} is not installed\); `apt-get install {package}`"),
        open_cluster({"kind": "emulated"}, 1),
    ):
        pass


@needs_hosts
@pytest.mark.skipif("netem" in FINDINGS.works, reason="this kernel delays and loses packets without iptables")
@pytest.mark.parametrize("asked", [{"round_trip": 1e-3}, {"loss": 0.1}])
def test_a_delay_or_a_loss_that_cannot_be_had_is_refused(
    asked: dict[str, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(findings, "_MORE_PLACES", ())
    monkeypatch.setenv("PATH", _tools(tmp_path, "iptables"))
    (key,) = asked
    with (
        pytest.raises(ClusterError, match=rf"cluster\.emulated\.{key}: .*`apt-get install iptables`"),
        open_cluster({"kind": "emulated", "emulated": asked}, 1),
    ):
        pass


def test_a_kernel_without_namespaces_is_told_of_with_the_settings_that_allow_them() -> None:
    found = Findings(frozenset(), {"namespaces": "unshare: Operation not permitted"})
    with pytest.raises(ClusterError, match=r"Operation not permitted.*user\.max_user_namespaces"):
        found.require(delay=False, loss=False)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"rat": 1e9}, r"cluster\.emulated\.rat: unknown key; the keys here are rate, round_trip, loss, hosts, tls"),
        ({"rate": 0}, r"cluster\.emulated\.rate: 0 bits a second; give a number from 1e4 to 1e11"),
        ({"rate": "fast"}, r"cluster\.emulated\.rate: 'fast'; give a number"),
        ({"round_trip": -1}, r"cluster\.emulated\.round_trip: -1; give a number of at least 0"),
        ({"loss": 1}, r"cluster\.emulated\.loss: 1: nothing would arrive"),
        ({"hosts": 2}, r"cluster\.emulated\.hosts: 2 hosts for 3 ranks"),
    ],
)
def test_what_is_impossible_is_refused_before_anything_is_started(asked: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says), open_cluster({"kind": "emulated", "emulated": asked}, 3):
        pass


@needs_hosts
@needs_delay
@pytest.mark.parametrize("seconds", [0.05, 0.6, None])
def test_nothing_is_left_of_a_program_that_is_killed(seconds: float | None, tmp_path: Path) -> None:
    marker, interfaces = f"relufit-test-{uuid4().hex}", os.listdir("/sys/class/net")
    environment = {**os.environ, "RELUFIT_MARKER": marker, "TMPDIR": str(tmp_path)}
    program = subprocess.Popen([sys.executable, "-c", _PROGRAM], env=environment, stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    assert program.stdout.readline() == "begun\n"
    if seconds is None:
        assert program.stdout.readline() == "opened\n"
        # The program, and inside a scheduler, a forwarder, who holds packets, and two hosts with two processes each.
        assert len(_marked(marker)) >= 8
    else:
        time.sleep(seconds)
    program.send_signal(signal.SIGKILL)
    program.wait()
    end = time.monotonic() + 15
    while _marked(marker) and time.monotonic() < end:
        time.sleep(0.05)
    assert _marked(marker) == []
    assert list(tmp_path.iterdir()) == []
    assert sorted(os.listdir("/sys/class/net")) == sorted(interfaces)


@needs_hosts
@needs_delay
@needs_a_second_user
def test_an_ordinary_user_can_open_it_and_train(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as own:
        Path(own).chmod(0o777)
        words = [*as_nobody(tmp_path), "env", f"NUMBA_CACHE_DIR={own}", sys.executable, "-c", _SMALL]
        done = subprocess.run(words, capture_output=True, text=True, check=False, cwd="/", timeout=300)
    assert done.stdout == f"{relufit.train(_SPEC).weights.tobytes().hex()} host-0 host-1\n", done.stderr


@needs_hosts
def test_with_tls_everything_is_encrypted_and_the_bits_are_the_same() -> None:
    pytest.importorskip("cryptography")
    # One host for the rank and one to spare, with nothing that needs more than a rate.
    with open_cluster({"kind": "emulated", "emulated": {"rate": 1e9, "tls": True, "hosts": 2}}, 1) as cluster:
        assert cluster.client is not None
        assert cluster.client.scheduler.address.startswith("tls://127.0.0.1:")
        workers = cluster.client.scheduler_info(n_workers=-1)["workers"]
        assert all(address.startswith("tls://127.77.0.") for address in workers)
        trace = relufit.train(_SPEC, cluster.client)
    assert trace.weights.tobytes() == relufit.train(_SPEC).weights.tobytes()


@needs_hosts
@pytest.mark.skipif(FINDINGS.delay != "nfqueue", reason="the kernel delays packets itself, or not at all")
def test_when_packets_are_held_no_more_everything_ends_with_an_error() -> None:
    before = psutil.Process(os.getpid()).children(recursive=True)
    session = Session()
    try:
        arguments = {"link": {"rate": 1e9, "round_trip": 1e-3}, "delays": "rules", "tables": FINDINGS.tables}
        measured = session.ask("build", 60, count=2, **arguments)
        assert measured["round_trip"] > 5e-4
        inside = [its for its in psutil.Process(os.getpid()).children(recursive=True) if its not in before]
        (holder,) = [process for process in inside if "relufit.clusters.emulated.delay" in process.cmdline()]
        holder.kill()
        time.sleep(0.1)
        with pytest.raises(ClusterError, match="the process that delays packets has died"):
            session.ask("measure", 60, source="host-0", target="host-1", seconds=0.0)
    finally:
        session.close()
    assert not psutil.wait_procs(inside, timeout=10)[1]


def test_a_connection_is_its_users_until_it_is_closed() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        accepted, far = server.accept()
        table = os.open("/proc/self/net/tcp", os.O_RDONLY)
        try:
            assert owner(table, accepted.getsockname(), far) == os.getuid()
            client.close()
            assert owner(table, accepted.getsockname(), far) is None
        finally:
            os.close(table)
            accepted.close()


def test_the_probe_is_the_same_twice() -> None:
    assert probe() == FINDINGS
