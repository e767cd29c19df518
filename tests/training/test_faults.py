"""The catalogue of faults, one by one: each run ends with the bits of an undisturbed one, or with one clear error.

Here the members of a run are threads of this process; `test_killed_processes.py` has processes of a Dask cluster.
"""

from __future__ import annotations

import math
import os
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rig import FAULTS, MASTER, PATIENCE, Fault, Rig, tcp

from relufit.errors import TransportError
from relufit.planted import PlantedModel
from relufit.training import Patience, Trace, TrainingSpec, train
from relufit.training import member as member_module
from relufit.training.terms import pack_report, unpack_reports
from relufit.transport import connections, reception
from relufit.transport.memory import Memory

TOPOLOGIES: dict[str, dict[str, Any]] = {
    "master": {},
    "relay": {"downlink": "relay"},
    "all to all": {"topology": "all_to_all"},
}
NETWORKS: dict[str, Callable[[], Any]] = {"memory": Memory, "tcp": tcp}
#: Faults at random: runs of one test.
RUNS = int(os.environ.get("RELUFIT_FAULTY_RUNS", "30"))
#: Kind, member, and at which time that it sends or receives; what takes its time is tried once a member.
CASES = [
    (kind, member, at)
    for kind in FAULTS
    for member in (0, 2, MASTER)
    for at in ((5,) if kind in ("stopped for a while", "ten times slower") else (2, 5, 30))
]


def spec(topology: str, **values: Any) -> TrainingSpec:
    settings = {"workers": 3, "batch_size": 20, "iterations": 40, "record_every": 3, **TOPOLOGIES[topology], **values}
    return TrainingSpec(PlantedModel(210, 12, 3, noise_std=0.05), {"name": "qsgd", "levels": 4}, **settings)


def assert_same(one: Trace, other: Trace) -> None:
    assert one.weights.tobytes() == other.weights.tobytes()
    assert one.table.equals(other.table)
    assert one.summary == other.summary


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(connections, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(reception, "_IDLE_SECONDS", 0.02)
    monkeypatch.setattr(member_module, "_RETRY_SECONDS", 0.02)
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) == before, "threads are left"


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_without_a_fault_the_bits_are_those_of_the_serial_engine_and_every_byte_is_counted(
    topology: str, workers: int, network: str
) -> None:
    asked = spec(topology, workers=workers)
    trace, oracle = Rig(asked, network=NETWORKS[network]).run(), train(asked)
    assert_same(trace, oracle)
    assert trace.received is not None
    assert not trace.faults
    last = oracle.table.iloc[-1]
    assert trace.received["uplink_bytes"] == last["uplink_bytes"]
    assert trace.received["downlink_bytes"] == last["downlink_bytes"]


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_what_one_end_of_a_link_sends_the_other_receives(topology: str) -> None:
    counted = Rig(spec(topology)).run().counted
    assert counted is not None
    for name, link in counted.items():
        here, there = name.split(" to ")
        other = counted[f"{there} to {here}"]
        for what in ("payload", "frame"):
            # The greeting is read before there is a link.
            missing = link[f"{what}_bytes_sent"] - other[f"{what}_bytes_received"]
            assert missing == 0 or (what == "frame" and 0 < missing < 1000)
    links = {"master": 6, "relay": 6, "all to all": 12}[topology]
    assert len(counted) == links


@pytest.mark.parametrize(("kind", "member", "at"), CASES)
@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_a_run_with_a_fault_ends_with_the_same_bits(topology: str, kind: str, member: int, at: int) -> None:
    asked, fault = spec(topology), Fault(kind, member, at)
    trace = Rig(asked, faults=[fault]).run()
    assert_same(trace, train(asked))
    if not fault.fired:  # in all-to-all the master has little to say
        assert (topology, member) == ("all to all", MASTER)
    harmless = (
        kind == "ten times slower" or not fault.fired or (kind, topology) == ("stopped for a while", "all to all")
    )
    assert harmless or trace.faults or "killed" in kind or member == MASTER


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_faults_at_random_moments_end_with_the_same_bits(topology: str, network: str) -> None:
    draw, oracles = random.Random(f"{topology} {network}"), {}
    kinds = [kind for kind in FAULTS if kind != "stopped for a while"]
    for _ in range(max(1, RUNS // 6)):
        workers = draw.choice([1, 2, 3, 4])
        faults = [
            Fault(draw.choice(kinds), draw.randrange(-1, workers), draw.randrange(1, 90))
            for _ in range(draw.randrange(1, 4))
        ]
        asked = spec(topology, workers=workers)
        if workers not in oracles:
            oracles[workers] = train(asked)
        assert_same(Rig(asked, faults=faults, network=NETWORKS[network]).run(), oracles[workers])


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_a_second_process_that_claims_a_rank_waits_and_changes_nothing(topology: str) -> None:
    asked = spec(topology, iterations=150)
    rig = Rig(asked, faults=[Fault("ten times slower", 0, 1)])
    with ThreadPoolExecutor(2) as pool:
        intruders = [pool.submit(rig.intrude, rank) for rank in (1, 2)]
        trace = rig.run()
        for intruder in intruders:
            intruder.result()
    assert_same(trace, train(asked))
    assert not trace.faults


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_a_master_that_was_killed_goes_on_from_its_checkpoint(topology: str, tmp_path: Path) -> None:
    asked = spec(topology, iterations=400)
    faults = [Fault("ten times slower", 0, 1), Fault("killed while it receives", MASTER, 150)]
    rig = Rig(asked, faults=faults, checkpoint=tmp_path / "run.checkpoint")
    assert_same(rig.run(), train(asked))
    assert all(fault.fired for fault in faults)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_a_rank_that_never_comes_back_ends_the_run_at_the_deadline(topology: str, tmp_path: Path) -> None:
    asked = spec(topology, iterations=400)
    oracle = train(asked)  # and all loops are compiled, which takes longer than the deadline
    rig = Rig(
        asked,
        faults=[Fault("killed before it sends", 1, 100)],
        patience=Patience(start=1.5, message=1, rejoin=0.2),
        respawn=False,
        checkpoint=tmp_path / "run.checkpoint",
    )
    with pytest.raises(TransportError, match=r"ranks \[1\] did not come within 1.5 s"):
        rig.run()
    assert set(rig.lost) == {(1, "worker 1")}
    assert [path.name for path in tmp_path.iterdir()] == ["run.checkpoint"]
    assert_same(Rig(asked, checkpoint=tmp_path / "run.checkpoint").run(), oracle)


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_faults_that_prevent_every_iteration_end_the_run(topology: str) -> None:
    patience = Patience(start=PATIENCE.start, message=PATIENCE.message, attempts=3)
    faults = [Fault("frame corrupted", 1, 2 * at) for at in range(1, 100)]
    with pytest.raises(TransportError, match=r"checksum|closed|broke|given up"):
        Rig(spec(topology, iterations=10**6), faults=faults, patience=patience).run()


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_thirty_two_ranks_end_with_the_same_bits(topology: str, network: str) -> None:
    asked = replace(spec(topology, workers=32, batch_size=64, iterations=12), dataset=PlantedModel(640, 12, 3))
    trace = Rig(asked, network=NETWORKS[network], patience=Patience(start=60, message=60)).run()
    assert_same(trace, train(asked))
    assert not trace.faults


def test_rows_that_travel_together_arrive_as_they_were() -> None:
    rows = [((t, 0.5**t, math.nan if not t else 0.25, 8 * t, 4 * t), (t, *np.arange(7.0).tolist())) for t in range(5)]
    body = b"".join(pack_report(*its, recorded=its[0][0] < 4) for its in rows)
    found = list(unpack_reports(memoryview(body)))
    assert [its[0] for its in found] == [True] * 4 + [False]
    assert repr([its[1:] for its in found]) == repr(rows)
    with pytest.raises(TransportError, match="size"):
        list(unpack_reports(memoryview(body)[:-1]))
