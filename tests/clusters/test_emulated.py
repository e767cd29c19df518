"""The emulated network, measured, and training runs on it: what is sent is what the kernel counts."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from emulation import as_nobody, needs_a_second_user, needs_delay, needs_hosts
from waiting import until

import relufit
from relufit.clusters import open_cluster
from relufit.clusters.emulated import Emulated
from relufit.errors import ClusterError, ConfigError
from relufit.planted import PlantedModel
from relufit.training import Progress, Timeouts
from relufit.transport.frames import HEADER_BYTES
from relufit.transport.greeting import CHALLENGE_BYTES, HELLO_BYTES, MAC_BYTES

pytestmark = [needs_hosts, needs_delay]
#: Of Ethernet, IPv4 and TCP with timestamps, for each packet.
PACKET_BYTES = 14 + 20 + 32
LARGEST_PACKET = 9015
SPEC = relufit.TrainingSpec(
    dataset=PlantedModel(n=2000, d=200, seed=3),
    compressor={"name": "qsgd", "levels": 15, "coding": "packed"},
    workers=2,
    batch_size=20,
    iterations=400,
)
#: Longer, for what happens in the middle of it.
LONG = replace(SPEC, iterations=1500)
_ATTEMPTS = 10
PATIENCE = Timeouts(start=60, message=1.5, rejoin=30)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Emulated]:
    section = {"kind": "emulated", "emulated": {"rate": 2e8, "round_trip": 5e-4}}
    with open_cluster(section, 2) as opened:
        assert isinstance(opened, Emulated)
        yield opened


@pytest.fixture(autouse=True)
def _no_packet_was_dropped_for_want_of_room(cluster: Emulated) -> Iterator[None]:
    yield
    cluster.reshape(rate=2e8, round_trip=5e-4, loss=0)
    for count in cluster.counters().values():
        assert count["queue_drops"] == 0


def _serial(spec: relufit.TrainingSpec) -> bytes:
    return relufit.train(spec).weights.tobytes()


def _sent_again(cluster: Emulated) -> list[int]:
    """Return the segments that TCP has sent again on each host, over either interface."""

    def segments() -> int:
        from pathlib import Path

        names, values = (line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line[:4] == "Tcp:")
        return int(values[names.index("RetransSegs")])

    return list(cluster.client.run(segments).values())


class _Once:
    """Does something at the first news of a run that is well under way."""

    def __init__(self, action: Callable[[], None]) -> None:
        self.action, self.done = action, False

    def __call__(self, news: Progress) -> None:
        if news.iteration > 20 and not self.done:
            self.done = True
            self.action()


def test_what_it_is_can_be_told(cluster: Emulated) -> None:
    details = cluster.describe()
    assert details["kind"] == "emulated"
    assert details["hosts"] == {"host-0": "127.77.0.1", "host-1": "127.77.0.2", "host-2": "127.77.0.3"}
    assert (details["rate"], details["round_trip"], details["loss"], details["tls"]) == (2e8, 5e-4, 0, False)
    assert details["how"]["rate"] == "tbf"
    assert details["how"]["delay"] in ("netem", "nfqueue")
    assert set(details["measured"]) == {"rate", "round_trip"}
    workers = cluster.client.scheduler_info(n_workers=-1)["workers"]
    assert sorted(worker["name"] for worker in workers.values()) == cluster.hosts
    assert {w["name"]: address.split("//")[1].split(":")[0] for address, w in workers.items()} == details["hosts"]


@pytest.mark.parametrize("rate", [4e6, 2e7])
def test_a_link_has_the_rate_that_was_asked_for(cluster: Emulated, rate: float) -> None:
    # So slow that the kernel has bytes to send while the processes wait for a core, on a busy machine too.
    cluster.reshape(rate=rate, round_trip=0)
    measured = (cluster.measure("host-1", "host-0", 0.4)["rate"] for _ in range(_ATTEMPTS))
    assert any(measured_rate == pytest.approx(rate, rel=0.1) for measured_rate in measured)


def test_connections_between_hosts_begin_with_wide_windows_and_are_of_one_kind(cluster: Emulated) -> None:
    workers = cluster.client.scheduler_info(n_workers=-1)["workers"]
    addresses = {worker["name"]: address for address, worker in workers.items()}
    host, _, port = addresses["host-0"].partition("//")[2].rpartition(":")

    def first_window_and_kind() -> tuple[int, str]:
        """Return the packets that a new connection may send before one is acknowledged, and its congestion control."""
        import socket
        import struct

        with socket.create_connection((host, int(port)), 10) as connection:
            tcp_info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
            kind = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
        (window,) = struct.unpack_from("=I", tcp_info, 80)
        return int(window), kind.rstrip(b"\0").decode()

    asked = cluster.client.run(first_window_and_kind, workers=[addresses["host-1"]])
    assert list(asked.values()) == [(32, cluster.describe()["congestion_control"])] == [(32, "reno")]


@pytest.mark.parametrize("round_trip", [0.002, 0.02])
def test_a_link_has_the_round_trip_that_was_asked_for(cluster: Emulated, round_trip: float) -> None:
    cluster.reshape(round_trip=round_trip)
    measured = [cluster.measure("host-2", "host-1", 0.0)["round_trip"] for _ in range(3)]
    # A packet is never early; how late it is depends on the cores that are free.
    assert min(measured) > 0.8 * round_trip


def test_so_many_packets_are_lost_as_were_asked_for(cluster: Emulated) -> None:
    before, asked = cluster.counters(), 0.03
    cluster.reshape(rate=5e8, round_trip=0, loss=asked)
    cluster.measure("host-1", "host-0", 1.0)
    cluster.reshape(loss=0)
    after = cluster.counters()
    lost = sum(after[host]["lost"] - before[host]["lost"] for host in after)
    received = sum(after[host]["packets_received"] - before[host]["packets_received"] for host in after)
    assert received > 1000
    # Five standard deviations of a binomial number.
    assert abs(lost - asked * received) < 5 * (received * asked * (1 - asked)) ** 0.5


def test_a_run_has_the_same_bits_and_its_bytes_are_those_of_the_kernel(cluster: Emulated) -> None:
    before, resent = cluster.counters(), sum(_sent_again(cluster))
    trace = relufit.train(SPEC, cluster.client)
    after = cluster.counters()
    assert trace.weights.tobytes() == _serial(SPEC)
    assert trace.counted is not None
    sent = {host: after[host]["bytes_sent"] - before[host]["bytes_sent"] for host in after}
    packets = {host: after[host]["packets_sent"] - before[host]["packets_sent"] for host in after}
    payload = sum(count["payload_bytes_sent"] for count in trace.counted.values())
    frames = sum(count["frame_bytes_sent"] for count in trace.counted.values())
    uplink = int(trace.table["uplink_bytes"].iloc[-1])
    assert uplink < payload < frames - HEADER_BYTES * SPEC.iterations
    headers = PACKET_BYTES * sum(packets.values())
    # Each rank has greeted the master, which counts show nothing of; what it said of itself is short.
    greetings = SPEC.workers * (3 * HEADER_BYTES + HELLO_BYTES + CHALLENGE_BYTES + MAC_BYTES)
    # Greetings of TCP have larger headers, questions for addresses of Ethernet smaller ones.
    again = sum(_sent_again(cluster)) - resent
    assert -500 < sum(sent.values()) - frames - greetings - headers < 500 + again * LARGEST_PACKET
    # Nothing but the exchange of the run is on these links: each message goes in one packet, and is answered by one.
    assert sum(packets.values()) < 2 * 2 * 2 * SPEC.iterations + 200
    received = sum(after[host]["bytes_received"] - before[host]["bytes_received"] for host in after)
    # A question for an address is sent once and comes to all hosts.
    assert 0 <= received - sum(sent.values()) < 500


def test_links_are_given_another_shape_in_the_middle_of_a_run(cluster: Emulated) -> None:
    reshape = _Once(lambda: cluster.reshape(rate=2e7, round_trip=2e-3, loss=0.001))
    trace = relufit.train(LONG, cluster.client, progress=reshape)
    assert reshape.done
    assert cluster.describe()["rate"] == 2e7
    assert trace.weights.tobytes() == _serial(LONG)
    assert not trace.faults


def test_a_host_that_is_cut_off_in_the_middle_of_a_run_and_healed_changes_no_bit(cluster: Emulated) -> None:
    def cut() -> None:
        cluster.cut("host-1")
        time.sleep(3)
        cluster.heal("host-1")

    interrupt = _Once(cut)
    trace = relufit.train(LONG, cluster.client, progress=interrupt, timeouts=PATIENCE)
    assert interrupt.done
    assert trace.faults
    assert trace.weights.tobytes() == _serial(LONG)


def test_a_host_whose_processes_are_killed_and_that_is_started_again_changes_no_bit(cluster: Emulated) -> None:
    def kill() -> None:
        cluster.kill("host-2")
        cluster.heal("host-2")

    interrupt = _Once(kill)
    trace = relufit.train(LONG, cluster.client, progress=interrupt, timeouts=PATIENCE)
    assert interrupt.done
    assert trace.faults
    assert trace.weights.tobytes() == _serial(LONG)
    cluster.client.wait_for_workers(3, timeout=300)


def test_a_killed_host_stays_without_processes_until_it_is_healed(cluster: Emulated) -> None:
    cluster.kill("host-0")
    until(lambda: len(cluster.client.scheduler_info(n_workers=-1)["workers"]) == 2, "a worker is left")
    cluster.heal("host-0")
    cluster.client.wait_for_workers(3, timeout=300)


def test_a_host_that_does_not_exist_is_named(cluster: Emulated) -> None:
    with pytest.raises(ClusterError, match="no host 'host-9'; choose one of host-0, host-1, host-2"):
        cluster.cut("host-9")


def test_a_link_that_is_none_is_refused(cluster: Emulated) -> None:
    with pytest.raises(ConfigError, match=r"cluster\.emulated\.loss: 1\.0 is not possible; it must be below 1"):
        cluster.reshape(loss=1.0)
    assert cluster.describe()["loss"] == 0


@needs_a_second_user
def test_nobody_but_the_user_who_opened_it_reaches_the_scheduler(cluster: Emulated, tmp_path: Path) -> None:
    port = cluster.client.scheduler.address.rsplit(":", 1)[1]
    # Who is passed on hears the scheduler greet, which speaks TLS alone.
    knock = (
        "import socket, ssl\n"
        "context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)\n"
        "context.check_hostname, context.verify_mode = False, ssl.CERT_NONE\n"
        f"connection = socket.create_connection(('127.0.0.1', {port}))\n"
        "try: print(context.wrap_socket(connection).version())\n"
        "except OSError: print('turned away')"
    )
    answers = [
        subprocess.run([*prefix, sys.executable, "-c", knock], capture_output=True, text=True, check=True).stdout
        for prefix in ([], as_nobody(tmp_path))
    ]
    assert answers == ["TLSv1.3\n", "turned away\n"]
