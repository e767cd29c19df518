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
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rig import CALM, FAULTS, MASTER, PATIENCE, TOKEN, Fault, Rig, tcp
from traces import assert_same
from waiting import until

from relufit.errors import TransportError
from relufit.exchange import EXCHANGES, Links
from relufit.planted import PlantedModel
from relufit.training import Timeouts, TrainingSpec, train
from relufit.training import member as member_module
from relufit.training.run_context import pack_report, unpack_reports
from relufit.transport import connections, reception
from relufit.transport.frames import HEADER_BYTES, Kind, body_digest, pack
from relufit.transport.greeting import HELLO_BYTES, run_number
from relufit.transport.memory import Memory

NETWORKS: dict[str, Callable[[], Any]] = {"memory": Memory, "tcp": tcp}
#: Faults at random: runs of one test.
RUNS = int(os.environ.get("RELUFIT_FAULTY_RUNS", "30"))
#: Exchange, kind, member, and at which time that it sends or receives: just after the greeting, in the first iterations
#: or later. Times take turns, so that any three of the four are combined in every way; what takes its time has one.
CASES = [
    (exchange, kind, member, 5 if kind in ("stopped for a while", "ten times slower") else (3, 6, 31)[(i + j + k) % 3])
    for i, kind in enumerate(FAULTS)
    for j, member in enumerate((0, 2, MASTER))
    for k, exchange in enumerate(EXCHANGES)
]
#: The exchanges in which ranks have a link to the master alone, and those in which they have one to each other.
STARS = [name for name, about in EXCHANGES.items() if about.links is not Links.MESH]
MESHES = [name for name, about in EXCHANGES.items() if about.links is Links.MESH]


def of_either_kind(number: int) -> list[str]:
    """Return an exchange of each kind, others for the next number: for what happens before an exchange begins."""
    return [STARS[number % len(STARS)], MESHES[number % len(MESHES)]]


#: The first that a rank sends and receives is its greeting of the master: HELLO and PROOF, and CHALLENGE.
_GREETINGS = [(kind, at) for kind, way in FAULTS.items() for at in ((1, 2) if way == "write" else (1,))]
GREETINGS = [(name, *case) for number, case in enumerate(_GREETINGS) for name in of_either_kind(number)]


def spec(exchange: str, **values: Any) -> TrainingSpec:
    settings = {"workers": 3, "batch_size": 20, "iterations": 40, "record_every": 3, "exchange": exchange, **values}
    return TrainingSpec(PlantedModel(210, 12, 3, noise_std=0.05), {"name": "qsgd", "levels": 4}, **settings)


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
@pytest.mark.parametrize("exchange", EXCHANGES)
def test_without_a_fault_the_bits_are_those_of_the_serial_engine_and_every_byte_is_counted(
    exchange: str, workers: int, network: str
) -> None:
    asked = spec(exchange, workers=workers)
    trace, oracle = Rig(asked, network=NETWORKS[network], timeouts=CALM).run(), train(asked)
    assert_same(trace, oracle)
    assert trace.received is not None
    assert not trace.faults
    last = oracle.table.iloc[-1]
    assert trace.received["uplink_bytes"] == last["uplink_bytes"]
    assert trace.received["downlink_bytes"] == last["downlink_bytes"]


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_what_one_end_of_a_link_sends_the_other_receives(exchange: str) -> None:
    counted = Rig(spec(exchange), timeouts=CALM).run().counted
    assert counted is not None
    for name, link in counted.items():
        here, there = name.split(" to ")
        other = counted[f"{there} to {here}"]
        for what in ("payload", "frame"):
            assert link[f"{what}_bytes_sent"] == other[f"{what}_bytes_received"]
    # Three ranks have a link to the master each, and in a mesh one to each other; every link has two ends.
    assert len(counted) == (12 if EXCHANGES[exchange].links is Links.MESH else 6)


@pytest.mark.parametrize(("exchange", "kind", "member", "at"), CASES)
def test_a_run_with_a_fault_ends_with_the_same_bits(exchange: str, kind: str, member: int, at: int) -> None:
    asked, fault = spec(exchange), Fault(kind, member, at)
    trace = Rig(asked, faults=[fault]).run()
    assert_same(trace, train(asked))
    mesh = EXCHANGES[exchange].links is Links.MESH
    if not fault.fired:  # among ranks the master has little to say
        assert mesh
        assert member == MASTER
    harmless = kind == "ten times slower" or not fault.fired or (kind == "stopped for a while" and mesh)
    assert harmless or trace.faults or "killed" in kind or member == MASTER


@pytest.mark.parametrize(("exchange", "kind", "at"), GREETINGS)
def test_a_fault_within_a_greeting_is_repeated_and_forgotten(exchange: str, kind: str, at: int) -> None:
    asked, fault = spec(exchange), Fault(kind, 1, at)
    trace = Rig(asked, faults=[fault]).run()
    assert fault.fired
    assert_same(trace, train(asked))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("exchange", EXCHANGES)
def test_faults_at_random_moments_end_with_the_same_bits(exchange: str, network: str) -> None:
    draw, oracles = random.Random(f"{exchange} {network}"), {}
    kinds = [kind for kind in FAULTS if kind != "stopped for a while"]
    for _ in range(max(1, RUNS // 6)):
        workers = draw.choice([1, 2, 3, 4])
        faults = [
            Fault(draw.choice(kinds), draw.randrange(-1, workers), draw.randrange(1, 90))
            for _ in range(draw.randrange(1, 4))
        ]
        asked = spec(exchange, workers=workers)
        if workers not in oracles:
            oracles[workers] = train(asked)
        assert_same(Rig(asked, faults=faults, network=NETWORKS[network]).run(), oracles[workers])


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_second_process_that_claims_a_rank_waits_and_changes_nothing(exchange: str) -> None:
    asked = spec(exchange, iterations=60)
    rig = Rig(asked, faults=[Fault("ten times slower", 0, 1)], timeouts=CALM)
    with ThreadPoolExecutor(2) as pool:
        intruders = [pool.submit(rig.intrude, rank) for rank in (1, 2)]
        trace = rig.run()
        for intruder in intruders:
            intruder.result()
    assert_same(trace, train(asked))
    assert not trace.faults


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_master_that_was_killed_goes_on_from_its_checkpoint(exchange: str, tmp_path: Path) -> None:
    asked = spec(exchange, iterations=160)
    faults = [Fault("ten times slower", 0, 1), Fault("killed while it receives", MASTER, 60)]
    rig = Rig(asked, faults=faults, checkpoint=tmp_path / "run.checkpoint")
    assert_same(rig.run(), train(asked))
    assert all(fault.fired for fault in faults)
    # It is the client's to have it removed, once it has the trace.
    assert [path.name for path in tmp_path.iterdir()] == ["run.checkpoint"]


def test_a_rank_that_never_comes_back_ends_the_run_at_the_deadline(tmp_path: Path) -> None:
    """All exchanges at the same time, since each run waits for its deadline."""
    asked = {exchange: spec(exchange, iterations=400) for exchange in EXCHANGES}
    oracles = {exchange: train(asked[exchange]) for exchange in EXCHANGES}  # compiled, which outlasts the deadline
    rigs = {
        exchange: Rig(
            asked[exchange],
            faults=[Fault("killed before it sends", 1, 100)],
            timeouts=Timeouts(start=15, message=1, rejoin=0.2),
            respawn=False,
            checkpoint=tmp_path / exchange / "run.checkpoint",
        )
        for exchange in EXCHANGES
    }

    def error_of(exchange: str) -> str:
        (tmp_path / exchange).mkdir()
        with pytest.raises(TransportError) as caught:
            rigs[exchange].run()
        return str(caught.value)

    with ThreadPoolExecutor(len(EXCHANGES)) as pool:
        errors = dict(zip(EXCHANGES, pool.map(error_of, EXCHANGES), strict=True))
    for exchange, error in errors.items():
        assert "ranks [1] did not come within 15 s" in error, exchange
        assert (1, "worker 1") in rigs[exchange].lost
        assert [path.name for path in (tmp_path / exchange).iterdir()] == ["run.checkpoint"]
        resumed = Rig(asked[exchange], checkpoint=tmp_path / exchange / "run.checkpoint").run()
        assert_same(resumed, oracles[exchange])


@contextmanager
def stranger(answer: bytes) -> Iterator[tuple[tuple[str, int], list[bytes]]]:
    """Somebody without the secret, who has the port of a master that is gone: yield address and what it is told."""
    listener, messages, over = tcp().listen(), list[bytes](), threading.Event()

    def listen() -> None:
        while not over.is_set():
            connection = listener.accept(0.05)
            if connection:
                said, view, answered = bytearray(), memoryview(bytearray(10_000)), False
                with suppress(EOFError, OSError):
                    while True:  # until the other end closes, so that nothing that it has sent is missed
                        said += view[: connection.read(view, 0.05)]
                        if answer and not answered and len(said) >= HEADER_BYTES + HELLO_BYTES:
                            answered = connection.write([answer]) > 0
                messages.append(bytes(said))
                connection.close()

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        yield listener.address, messages
    finally:
        over.set()
        thread.join()
        listener.close()


#: What the stranger says: nothing, what comes first in a run, or what no member says.
ANSWERS = {
    "nothing": b"",
    "a challenge": pack(Kind.CHALLENGE, 0, run_number(TOKEN), 0, 64, body_digest(bytes(64))) + bytes(64),
    "a web page": b"HTTP/1.1 400 Bad Request" + bytes(100),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_rank_that_meets_a_stranger_searches_until_its_deadline_and_says_whom_it_met(answer: str) -> None:
    rig = Rig(spec("master"), network=tcp, timeouts=Timeouts(start=1, message=0.3))
    with stranger(ANSWERS[answer]) as ((host, port), messages):
        with pytest.raises(TransportError, match="has not shown that it knows the secret of this run") as caught:
            rig.serve(0, lambda: (host, port))
        assert caught.value.where == f"the master at {host}:{port}"
        until(lambda: messages, "nobody came")
    assert all(len(said) == HEADER_BYTES + HELLO_BYTES for said in messages), "it was told nothing but HELLO"


@pytest.mark.parametrize(
    ("answer", "exchange"),
    [(answer, exchange) for number, answer in enumerate(ANSWERS) for exchange in of_either_kind(number)],
)
def test_ranks_that_meet_a_stranger_first_find_the_master_and_end_with_the_same_bits(
    answer: str, exchange: str
) -> None:
    """Nobody waits for ever for who has the port of a master that has died, and says nothing."""
    asked = spec(exchange)
    with stranger(ANSWERS[answer]) as (address, messages):
        rig = Rig(asked, network=tcp, timeouts=PATIENCE.model_copy(update={"message": 2.0}), before=[address, address])
        assert_same(rig.run(), train(asked))
        until(lambda: len(messages) >= 2, "not all came")
    assert not any(b'"worker"' in said for said in messages)


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_faults_that_prevent_every_iteration_end_the_run(exchange: str) -> None:
    timeouts = Timeouts(start=PATIENCE.start, message=PATIENCE.message, attempts=3)
    # The greeting of the master takes two frames, and is repeated without a fault of the run.
    faults = [Fault("frame corrupted", 1, 3 * at) for at in range(1, 100)]
    with pytest.raises(TransportError, match=r"checksum|closed|broke|given up|no answer|did not come"):
        Rig(spec(exchange, iterations=10**6), faults=faults, timeouts=timeouts).run()


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_thirty_two_ranks_end_with_the_same_bits(exchange: str) -> None:
    asked = replace(spec(exchange, workers=32, batch_size=64, iterations=12), dataset=PlantedModel(640, 12, 3))
    trace = Rig(asked, network=tcp, timeouts=CALM).run()
    assert_same(trace, train(asked))
    assert not trace.faults


@pytest.mark.parametrize("averages", [False, True])
def test_rows_that_travel_together_arrive_as_they_were(averages: bool) -> None:
    mean = [0.125] * averages
    rows = [
        ((t, 0.5**t, math.nan if not t else 0.25, 8 * t, 4 * t, *mean), (t, *np.arange(7.0).tolist())) for t in range(5)
    ]
    body = b"".join(pack_report(*row, recorded=row[0][0] < 4) for row in rows)
    reports = list(unpack_reports(memoryview(body), averages=averages))
    assert [report[0] for report in reports] == [True] * 4 + [False]
    assert repr([report[1:] for report in reports]) == repr(rows)
    with pytest.raises(TransportError, match="size"):
        list(unpack_reports(memoryview(body)[:-1], averages=averages))
