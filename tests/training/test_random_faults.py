"""Faults at random moments, in processes: every run ends with the bits of an undisturbed one, or with one clear error.

What a seed draws can be drawn again: `RELUFIT_FAULTY_RUNS=200 pytest tests/training/test_random_faults.py -k seed_117`.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, LocalCluster
from processes import KINDS, WORKERS, Processes, Strike
from traces import assert_same
from waiting import until

from relufit.errors import ClusterError, RelufitError, TransportError
from relufit.exchange import EXCHANGES
from relufit.planted import PlantedModel
from relufit.training import Timeouts, Trace, TrainingSpec, train

#: How many seeds are tried, without error feedback and with it.
RUNS = int(os.environ.get("RELUFIT_FAULTY_RUNS", "5"))
PATIENCE = Timeouts(start=20, message=1, rejoin=0.5, attempts=100)
#: Seconds after which a run is taken for one that never ends; three faults cost a few times `start` at most.
DEADLINE = 900.0
_ORACLES: dict[Any, Trace] = {}


@pytest.fixture
def client(
    own_cluster: LocalCluster, own_client: Client, processes_started: Callable[[], set[int]]
) -> Iterator[Client]:
    processes = Processes(own_cluster)
    before = processes_started() - {nanny.pid for nanny in processes.nannies}
    yield own_client
    own_client.wait_for_workers(WORKERS, timeout=300)
    until(lambda: not processes.sockets(), "a socket is left")
    assert processes_started() - before == {nanny.pid for nanny in processes.nannies}


def draw_strikes(draw: random.Random, members: list[str], seconds: float) -> list[Strike]:
    """Return up to three faults, at moments of their own or all at once."""
    count, at_once = draw.choice([1, 1, 2, 3]), draw.random() < 0.25
    moments = [draw.choice([0.0, *[draw.uniform(0.05, seconds) for _ in range(5)]]) for _ in range(count)]
    return [
        Strike(
            draw.choice(list(KINDS)),
            draw.choice(members),
            moments[0] if at_once else moment,
            draw.uniform(0.1, 2 * PATIENCE.message),
        )
        for moment in sorted(moments)
    ]


class Sabotage:
    """Has strikes happen while a run goes on, from a thread of its own."""

    def __init__(self, strikes: list[Strike], processes: Processes, client: Client) -> None:
        self._strikes, self._processes, self._client, self._over = strikes, processes, client, threading.Event()
        self._thread = threading.Thread(target=self._act)

    def __enter__(self) -> Sabotage:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _act(self) -> None:
        began = None
        for strike in self._strikes:
            while self._processes.holding(strike.member) is None or (
                began is not None and time.monotonic() - began < strike.moment
            ):
                if self._over.wait(0.002):
                    return
                if began is None and self._processes.holding("rank-0"):
                    began = time.monotonic()
            strike.happen(self._processes, self._client)


def run_within(seconds: float, asked: TrainingSpec, client: Client, **options: Any) -> Trace | RelufitError:
    """Return the trace, or the error, of a run; a run that does not end in time fails the test."""
    ended: list[Trace | BaseException] = []

    def run() -> None:
        try:
            ended.append(train(asked, client, **options))
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if not ended:
        frame = sys._current_frames()[thread.ident or 0]
        pytest.fail(f"the run did not end within {seconds:g} s:\n" + "".join(traceback.format_stack(frame)))
    if isinstance(ended[0], (Trace, RelufitError)):
        return ended[0]
    raise ended[0]


@pytest.mark.parametrize("feedback", [False, True], ids=["plain", "feedback"])
@pytest.mark.parametrize("seed", range(RUNS), ids=lambda seed: f"seed_{seed}")
def test_a_run_with_random_faults_ends_with_the_same_bits_or_with_one_error_and_a_checkpoint(
    client: Client, own_cluster: LocalCluster, tmp_path: Path, seed: int, feedback: bool
) -> None:
    draw, processes = random.Random(seed), Processes(own_cluster)
    exchange, workers, iterations = draw.choice(list(EXCHANGES)), draw.choice([2, 3, 4]), 2000
    checkpoint = tmp_path / "run.checkpoint" if draw.random() < 0.5 else None
    failures = draw.choice([0, 20, 20])
    # With as many ranks as slots the master is beside the first of them.
    members = [f"rank-{rank}" for rank in range(workers)] + ["master"] * (workers < WORKERS)
    strikes = draw_strikes(draw, members, 0.8)
    asked = TrainingSpec(
        PlantedModel(2100, 50, 3, noise_std=0.05),
        {"name": "sign"} if feedback else {"name": "qsgd", "levels": 4},
        workers=workers,
        batch_size=20,
        iterations=iterations,
        record_every=10,
        exchange=exchange,
        error_feedback=feedback,
    )
    key = (exchange, workers, feedback)
    oracle = _ORACLES[key] if key in _ORACLES else _ORACLES.setdefault(key, train(asked))
    print(f"seed {seed}: {exchange}, {workers} ranks, checkpoint {checkpoint is not None}, failures {failures}")
    processes.allow_failures(failures)
    log, seen = list[str](), list[float]()
    options = {"timeouts": PATIENCE, "checkpoint": checkpoint, "checkpoint_seconds": 0.1, "told": log.append}
    try:
        began = time.monotonic()
        with Sabotage(strikes, processes, client):
            ended = run_within(DEADLINE, asked, client, progress=lambda _: seen.append(time.monotonic()), **options)
        returned = time.monotonic()
        still = [strike for strike in strikes if strike.lasts]
    finally:
        for strike in strikes:
            print(strike)
            strike.undo()
    print(f"ended after {returned - began:.2f} s: {ended if isinstance(ended, RelufitError) else ended.faults}; {log}")
    assert not still, "a process that held a rank stays stopped"
    # What happens before the first iteration or after the last one may harm nobody.
    during = [strike for strike in strikes if strike.hit and seen and seen[0] < strike.at < seen[-1]]
    noticed = [strike for strike in during if strike.kind not in ("stopped for a while", "frame damaged")]
    if isinstance(ended, Trace):
        assert_same(ended, oracle)
        assert list(ended.faults) == log
        assert log or not noticed, "the log does not say what happened"
        assert not list(tmp_path.iterdir())
    else:
        died = isinstance(ended, ClusterError) and "died 1 times" in str(ended) and failures == 0
        # On a busy machine a process may need longer than that to be there again.
        late = isinstance(ended, TransportError) and returned - began > PATIENCE.start
        assert (died or late) and any(strike.hit for strike in strikes), ended
        if checkpoint:
            assert {path.name for path in tmp_path.iterdir() if not path.name.endswith(".part")} <= {checkpoint.name}
            assert_same(train(asked, checkpoint=checkpoint), oracle)
            assert not list(tmp_path.iterdir())
