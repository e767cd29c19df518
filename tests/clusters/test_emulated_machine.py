"""What a machine can emulate is found out and told; and nothing of an emulated network outlives the program."""

from __future__ import annotations

import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from uuid import uuid4

import dask
import distributed
import psutil
import pytest
from emulation import FINDINGS, as_nobody, needs_a_second_user, needs_delay, needs_hosts
from living import command_line

import relufit
from relufit.clusters import certificates, open_cluster
from relufit.clusters.emulated import Emulated, findings
from relufit.clusters.emulated.findings import Findings, probe
from relufit.clusters.emulated.forwarder import owner
from relufit.clusters.emulated.interfaces import bucket, emulator, encoded
from relufit.clusters.emulated.session import Session
from relufit.clusters.emulated.shaping import Link
from relufit.errors import ClusterError, ConfigError
from relufit.planted import PlantedModel
from relufit.transport.protection import frames_in_clear

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


def _tools(folder: Path, *without: str) -> str:
    """Return a folder with the programs of the system that are needed, but for some."""
    for name in (*findings.PROGRAMS, "iptables-restore"):
        path = shutil.which(name, path=findings.search_path())
        if path and not name.startswith(without):
            (folder / name).symlink_to(path)
    return str(folder)


def _marked(marker: str) -> list[str]:
    command_lines = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if marker.encode() in (entry / "environ").read_bytes():
                    command_lines.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
    return command_lines


def test_the_probe_tells_of_everything_whether_it_works() -> None:
    named = {"namespaces", "hosts", "bridge", "veth", "localnet", "tbf", "netem", "nfqueue", "statistic"}
    missing = FINDINGS.missing()
    assert FINDINGS.works | missing.keys() == named
    assert not FINDINGS.works & missing.keys()
    assert FINDINGS.describe()["missing"] == missing


def test_a_missing_program_is_named_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "_MORE_PLACES", ())
    monkeypatch.setenv("PATH", _tools(tmp_path, "unshare"))
    with (
        pytest.raises(ClusterError, match=r"unshare is not installed\); `apt-get install util-linux`"),
        open_cluster({"kind": "emulated"}, 1),
    ):
        pass


@needs_hosts
def test_no_program_but_unshare_is_needed_for_hosts_and_rates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "_MORE_PLACES", ())
    monkeypatch.setenv("PATH", _tools(tmp_path, "iptables"))
    assert [path.name for path in tmp_path.iterdir()] == ["unshare"]
    with open_cluster({"kind": "emulated", "emulated": {"rate": 1e8, "hosts": 2}}, 1) as cluster:
        assert isinstance(cluster, Emulated)
        cluster.cut("host-1")
        cluster.heal("host-1")
        assert set(cluster.counters()) == {"host-0", "host-1"}


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


@pytest.mark.parametrize(
    ("forbidden", "says"), [("0", r"`sysctl -w user\.max_user_namespaces=10000`"), ("99", "in a container, start it")]
)
def test_a_kernel_without_namespaces_is_told_of_with_the_command_that_allows_them(
    forbidden: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = tmp_path / "max_user_namespaces"
    setting.write_text(f"{forbidden}\n")
    monkeypatch.setattr(findings, "_SETTINGS", ((str(setting), "0", findings._SETTINGS[0][2]),))
    kernel_findings = Findings(frozenset(), {"namespaces": "unshare: Operation not permitted"})
    with pytest.raises(ClusterError, match=rf"Operation not permitted.*{says}"):
        kernel_findings.require(delay=False, loss=False)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"rat": 1e9}, r"cluster\.emulated\.rat: unknown key; did you mean 'rate'\?"),
        ({"rate": 0}, r"cluster\.emulated\.rate: 0 is not possible; it must be at least 10000"),
        ({"rate": "fast"}, r"cluster\.emulated\.rate: 'fast' is not possible; it must be of type number"),
        ({"round_trip": -1}, r"cluster\.emulated\.round_trip: -1 is not possible; it must be at least 0"),
        ({"loss": 1}, r"cluster\.emulated\.loss: 1 is not possible; it must be below 1"),
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
    end = time.monotonic() + 300
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
        done = subprocess.run(words, capture_output=True, text=True, check=False, cwd="/")
    assert done.stdout == f"{relufit.train(_SPEC).weights.tobytes().hex()} host-0 host-1\n", done.stderr


@needs_hosts
@pytest.mark.parametrize("tls", [False, True])
def test_what_dask_says_is_always_encrypted_and_what_ranks_send_if_it_is_asked_for(tls: bool) -> None:
    # One host for the rank and one to spare, with nothing that needs more than a rate.
    section = {"rate": 1e9, "tls": tls, "hosts": 2}
    with open_cluster({"kind": "emulated", "emulated": section}, 1) as cluster:
        assert cluster.client is not None
        assert cluster.client.scheduler.address.startswith("tls://127.0.0.1:")
        workers = cluster.client.scheduler_info(n_workers=-1)["workers"]
        assert all(address.startswith("tls://127.77.0.") for address in workers)
        assert set(cluster.client.run(dask.config.get, "distributed.admin.tick.interval").values()) == {"500ms"}
        assert set(cluster.client.run(frames_in_clear, "127.77.0.1").values()) == {not tls}
        trace = relufit.train(_SPEC, cluster.client)
    assert trace.weights.tobytes() == relufit.train(_SPEC).weights.tobytes()


@needs_hosts
def test_who_has_no_certificate_of_the_cluster_is_turned_away() -> None:
    with open_cluster({"kind": "emulated", "emulated": {"rate": 1e9, "hosts": 2}}, 1) as cluster:
        assert cluster.client is not None
        port = cluster.client.scheduler.address.rsplit(":", 1)[1]
        for address, security in (
            (f"tcp://127.0.0.1:{port}", None),
            (f"tls://127.0.0.1:{port}", certificates.make("somebody").security()),
        ):
            with pytest.raises(OSError, match=r"Timed out|[Cc]annot|closed|TLS"):
                distributed.Client(address, security=security, timeout=3, set_as_default=False)


@needs_hosts
def test_the_folders_of_workers_are_closed_to_others_and_named_by_nobody_else() -> None:
    def folder(dask_worker: distributed.Worker) -> list[tuple[str, int, int]]:
        path = Path(dask_worker.local_directory)
        above = [path, *path.parents]
        return [(str(part), part.stat().st_mode & 0o777, part.stat().st_uid) for part in above if "run" in part.parts]

    with open_cluster({"kind": "emulated", "emulated": {"rate": 1e9, "hosts": 2}}, 1) as cluster:
        assert cluster.client is not None
        folders = cluster.client.run(folder)
    assert len(folders) == 2
    for parts in folders.values():
        top = [part for part in parts if part[0] in ("/run", "/run/relufit", "/run/relufit/local")]
        assert len(top) == 3
        assert {mode for _, mode, _ in top} == {0o700}
        # Root of the namespaces is the user who opened them.
        assert {user for _, _, user in top} == {0}


def test_a_rate_is_the_message_that_the_kernel_documents() -> None:
    message = encoded(bucket(Link(rate=2e8)), 7)
    message.encode()
    length, kind, flags = struct.unpack_from("=IHH", message.data)
    # RTM_NEWQDISC, with REQUEST, ACK, REPLACE and CREATE.
    assert (length, kind, flags) == (len(message.data), 36, 0x505)
    family, index, handle, parent = struct.unpack_from("=BxxxiII", message.data, 16)
    assert (family, index, handle, parent) == (0, 7, 0x10000, 0xFFFFFFFF)
    attributes = _attributes(message.data[36:])
    assert attributes[1] == b"tbf\0"
    options = _attributes(attributes[2])
    # struct tc_tbf_qopt: two tc_ratespec, then limit, buffer and mtu.
    assert struct.unpack("=BBHhHI BBHhHI III", options[1]) == (
        *(0, 1, 0, 0, 0, 25_000_000),
        *(0, 0, 0, 0, 0, 0),
        *(1 << 28, 0, 0),
    )
    assert struct.unpack("=I", options[6]) == (18100,)  # TCA_TBF_BURST
    assert set(options) == {1, 6}


def test_a_rate_that_needs_more_than_32_bits_is_sent_in_64() -> None:
    message = encoded(bucket(Link(rate=1e11)), 7)
    message.encode()
    options = _attributes(_attributes(message.data[36:])[2])
    assert struct.unpack_from("=I", options[1], 8) == (0xFFFFFFFF,)
    assert struct.unpack("=Q", options[4]) == (12_500_000_000,)  # TCA_TBF_RATE64


def test_a_delay_and_a_loss_are_the_message_that_the_kernel_documents() -> None:
    message = encoded(emulator(Link(round_trip=5e-3, loss=0.25)), 7)
    message.encode()
    _, _, handle, parent = struct.unpack_from("=BxxxiII", message.data, 16)
    assert (handle, parent) == (0x100000, 0x10001)
    attributes = _attributes(message.data[36:])
    assert attributes[1] == b"netem\0"
    # struct tc_netem_qopt: latency in units of 64 ns, limit, loss of 2^32 - 1, gap, duplicate, jitter.
    assert struct.unpack("=6I", attributes[2]) == (round(2.5e-3 / 64e-9), 1_000_000, 0x40000000, 0, 0, 0)


def _attributes(data: bytes) -> dict[int, bytes]:
    """Return the attributes of a netlink message, read without the library that wrote them."""
    attributes, offset = {}, 0
    while offset < len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        attributes[kind & 0x3FFF] = bytes(data[offset + 4 : offset + length])
        offset += (length + 3) & ~3
    return attributes


@needs_hosts
def test_the_kernel_has_the_rate_the_burst_and_the_room_that_were_asked_for() -> None:
    """By `tc` where it is installed, which the project does not need."""
    tc = shutil.which("tc", path=findings.search_path())
    if tc is None:
        pytest.skip("tc is not installed")
    program = (
        "import subprocess, sys; from relufit.clusters.emulated.interfaces import Interfaces, bucket\n"
        "from relufit.clusters.emulated.shaping import Link\n"
        "with Interfaces() as interfaces:\n"
        "    interfaces.pair('p0', 'p1')\n"
        "    for rate in (1e8, 8e8):\n"
        "        interfaces.queue('p0', bucket(Link(rate=rate)))\n"
        "        subprocess.run([sys.argv[1], '-r', 'qdisc', 'show', 'dev', 'p0'], check=True)"
    )
    output = subprocess.run(
        [*findings.UNSHARE, sys.executable, "-c", program, tc], capture_output=True, text=True, check=True
    ).stdout
    first, second = (line for line in output.splitlines() if " tbf " in line)
    assert "root" in first
    assert "rate 100Mbit" in first
    assert re.search(r"rate 800Mbit burst (25Kb|25600b)", second)


@needs_hosts
@pytest.mark.skipif(FINDINGS.delay != "nfqueue", reason="the kernel delays packets itself, or not at all")
def test_when_packets_are_held_no_more_everything_ends_with_an_error() -> None:
    before = psutil.Process(os.getpid()).children(recursive=True)
    session = Session()
    try:
        arguments = {"link": {"rate": 1e9, "round_trip": 1e-3}, "delays": "rules", "tables": FINDINGS.tables}
        measured = session.ask("build", 60, count=2, **arguments)
        assert measured["round_trip"] > 5e-4
        inside = [process for process in psutil.Process(os.getpid()).children(recursive=True) if process not in before]
        (holder,) = [
            process for process in inside if "relufit.clusters.emulated.nfqueue_holder" in command_line(process)
        ]
        holder.kill()
        time.sleep(0.1)
        with pytest.raises(ClusterError, match="the process that delays packets has died"):
            session.ask("measure", 60, source="host-0", target="host-1", seconds=0.0)
    finally:
        session.close()
    assert not psutil.wait_procs(inside, timeout=300)[1]


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
