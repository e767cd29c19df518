"""Gradients that are computed while messages travel: when, from which weights, and the same bits through faults."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from rig import CALM, Fault, Rig

from relufit.compression.base import joined
from relufit.errors import PayloadError
from relufit.exchange import DEFAULT, EXCHANGES
from relufit.planted import PlantedModel
from relufit.planted.dataset import open_rows
from relufit.training import Trace, TrainingSpec, train
from relufit.training.ahead import Ahead
from relufit.training.exchanges.base import Clock
from relufit.training.rank import Rank
from relufit.training.residuals import Residual
from relufit.training.spec import make_plan

MODEL = PlantedModel(210, 12, 3, noise_std=0.05)
QSGD = {"name": "qsgd", "levels": 4}
#: Where ranks have weights of their own.
REPLICAS = [name for name, exchange in EXCHANGES.items() if exchange.replicas]
FEEDBACK = {"compressor": {"name": "sign"}, "error_feedback": True, "step_size": 0.05, "copy_share": 1.0}


def spec(exchange: str, **values: Any) -> TrainingSpec:
    settings = {"workers": 3, "batch_size": 20, "iterations": 30, "delay": 1, "compressor": QSGD, **values}
    return TrainingSpec(MODEL, exchange=exchange, **settings)


def assert_same(one: Trace, other: Trace) -> None:
    assert one.weights.tobytes() == other.weights.tobytes()
    assert one.table.equals(other.table)
    assert one.summary == other.summary


def rank_of(asked: TrainingSpec) -> Rank:
    rows = open_rows(MODEL)
    return Rank(make_plan(asked, rows), 0, rows)


@pytest.mark.parametrize("delay", [1, 3])
@pytest.mark.parametrize("exchange", REPLICAS)
def test_a_rank_computes_the_next_gradient_before_it_has_those_of_the_others(
    exchange: str, delay: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Rank 1 computes the gradient of iteration 5 only once rank 0 has begun with that of iteration 6.
    next_gradient_begun, seen = threading.Event(), list[bool]()

    def gated(step: Any) -> Any:
        def take(self: Rank, iteration: int, w: np.ndarray) -> Any:
            if self.rank == 0 and iteration == 6:
                next_gradient_begun.set()
            if self.rank == 1 and iteration == 5:
                seen.append(next_gradient_begun.wait(60))
            return step(self, iteration, w)

        return take

    for name in ("step", "step_in_parts"):
        monkeypatch.setattr(Rank, name, gated(getattr(Rank, name)))
    asked = spec(exchange, delay=delay)
    trace = Rig(asked, timeouts=CALM).run()
    assert seen == [True]
    monkeypatch.undo()
    assert_same(trace, train(asked))


@pytest.mark.parametrize("delay", [0, 1])
@pytest.mark.parametrize("exchange", EXCHANGES)
def test_gradients_are_computed_ahead_where_their_weights_are_known(
    exchange: str, delay: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead, start = list[int](), Ahead.start

    def noted(self: Ahead[Any], iteration: int, compute: Any) -> None:
        ahead.append(iteration)
        start(self, iteration, compute)

    monkeypatch.setattr(Ahead, "start", noted)
    Rig(spec(exchange, delay=delay), timeouts=CALM).run()
    known = delay > 0 and EXCHANGES[exchange].replicas
    # All but the first, none beyond the budget.
    assert sorted(ahead) == (sorted(list(range(1, 30)) * 3) if known else [])


@pytest.mark.parametrize("kind", ["killed half way through a frame", "connection reset while it receives"])
@pytest.mark.parametrize("exchange", REPLICAS)
@pytest.mark.parametrize("values", [{}, FEEDBACK], ids=["", "feedback"])
def test_what_was_computed_ahead_of_a_fault_is_computed_again(exchange: str, values: dict[str, Any], kind: str) -> None:
    asked = spec(exchange, **values)
    assert_same(Rig(asked, faults=[Fault(kind, 1, 20)]).run(), train(asked))
    assert not [thread for thread in threading.enumerate() if thread.name == "relufit-ahead"]


def test_a_run_that_ends_early_forgets_the_gradient_that_it_had_begun() -> None:
    asked = spec(REPLICAS[0], step_size=20.0, iterations=200)
    trace = Rig(asked, timeouts=CALM).run()
    assert trace.outcome == "diverged"
    assert_same(trace, train(asked))


@pytest.mark.parametrize(
    "values",
    [{"compressor": "fp64"}, {"compressor": "fp32"}, {}, {"compressor": {**QSGD, "coding": "rans"}}, FEEDBACK],
    ids=["fp64", "fp32", "packed", "rans", "feedback"],
)
@pytest.mark.parametrize("step", ["step", "step_in_parts"])
def test_a_payload_stays_while_the_next_one_is_made(step: str, values: dict[str, Any]) -> None:
    exchange = next(name for name in REPLICAS if (EXCHANGES[name].parts(12, 3) is not None) == (step != "step"))
    rng = np.random.default_rng(1)
    first, second = rng.standard_normal((2, 12))
    for delay in (1, 0):
        rank = rank_of(spec(exchange, delay=delay, **values))

        made = getattr(rank, step)(0, first)
        parts = [part.payload for part in (made if isinstance(made, list) else [made])]
        before = [bytes(joined(part)) for part in parts]
        getattr(rank, step)(1, second)
        same = [bytes(joined(part)) for part in parts] == before
        # Without a delay the next step has the same memory, unless payloads have their own.
        assert same or not delay
        if values.get("compressor") == "fp64":
            assert same is bool(delay)


def test_what_computing_raises_is_raised_where_it_is_taken_and_nowhere_else() -> None:
    ahead = Ahead[int]()

    def fails() -> int:
        raise PayloadError("too long")

    ahead.start(3, fails)
    with pytest.raises(PayloadError, match="too long"):
        ahead.take(3, lambda: 1)
    assert ahead.take(3, lambda: 1) == 1
    ahead.start(4, fails)
    assert ahead.take(5, lambda: 2) == 2
    ahead.start(5, fails)
    ahead.discard()
    assert ahead.take(5, lambda: 3) == 3
    ahead.start(6, lambda: 4)
    assert ahead.take(6, fails) == 4


def test_a_residual_from_which_runs_go_on_is_kept_while_one_is_computed_ahead() -> None:
    compressor, rng = spec(DEFAULT, **FEEDBACK).compressor, np.random.default_rng(2)
    vectors = rng.standard_normal((8, 12))

    def encode(residual: Residual, iteration: int) -> None:
        rank = rank_of(spec(DEFAULT, **FEEDBACK))
        residual.encode(compressor, vectors[iteration].copy(), iteration, iteration, rank._buffers[0].whole)  # type: ignore[arg-type]

    plain, ahead = Residual(12), Residual(12, ahead=True)
    for iteration in range(5):
        encode(plain, iteration)
        encode(ahead, iteration)
    assert plain.iterations == [0, 4, 5]
    assert ahead.iterations == [0, 3, 4, 5]
    due = [ahead.before(iteration).copy() for iteration in (4, 5)]
    for iteration in (3, 4):  # after a fault
        encode(ahead, iteration)
    assert ahead.iterations == [0, 3, 4, 5]
    for iteration, values in zip((4, 5), due, strict=True):
        assert ahead.before(iteration).tobytes() == values.tobytes()
    assert plain.before(5).tobytes() == due[1].tobytes()


def test_seconds_of_work_ahead_are_not_among_those_of_the_exchange() -> None:
    clock = Clock([])
    clock.start()
    clock.note(3.0, 1.0)
    assert clock.times(10.0, 4.0) == (3.0, 1.0, 6.0, 0.0, 0.0)
    assert clock.times(7.0, 4.0, 3.0) == (3.0, 1.0, 6.0, 0.0, 0.0)
    assert clock.times(6.0, 4.0, 4.0) == (3.0, 1.0, 6.0, 0.0, 0.0)
