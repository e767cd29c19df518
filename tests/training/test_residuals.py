"""Error feedback: what an encoding leaves out is sent later, and the bits are the same whatever happens to a run."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rig import CALM, FAULTS, MASTER, Fault, Rig

from relufit import streams
from relufit.compression import make_compressor
from relufit.compression.base import ScratchBuffer
from relufit.errors import ConfigError
from relufit.exchange import EXCHANGES
from relufit.planted import PlantedModel
from relufit.planted.dataset import open_rows
from relufit.training import Trace, TrainingSpec, train
from relufit.training.residuals import Residual
from relufit.training.spec import make_plan

MODEL = PlantedModel(210, 12, 3, noise_std=0.05)
COARSE = {"name": "qsgd", "levels": 1}


def spec(exchange: str = "all_gather", **values: Any) -> TrainingSpec:
    settings = {"workers": 3, "batch_size": 20, "iterations": 40, "step_size": 0.1, "error_feedback": True, **values}
    return TrainingSpec(MODEL, COARSE, exchange=exchange, **settings)


def assert_same(one: Trace, other: Trace) -> None:
    assert one.weights.tobytes() == other.weights.tobytes()
    assert one.table.equals(other.table)


def test_what_is_sent_and_what_is_left_are_the_vectors() -> None:
    residual, compressor, rng = Residual(50), make_compressor(**COARSE), np.random.default_rng(1)
    given, sent = np.zeros(50), np.zeros(50)
    for iteration in range(5):
        vector = rng.standard_normal(50)
        given += vector
        payload = residual.encode(compressor, vector, streams.key(1), iteration, ScratchBuffer())
        sent += compressor.decode(bytes(payload), 50)
        np.testing.assert_allclose(sent + residual.before(iteration + 1), given, atol=1e-12)
    assert residual.iterations == [0, 4, 5]


def test_an_iteration_that_is_repeated_has_the_same_payload() -> None:
    residual, compressor = Residual(50), make_compressor(**COARSE)
    vector = np.random.default_rng(1).standard_normal(50)

    def payload(iteration: int) -> bytes:
        return bytes(residual.encode(compressor, vector.copy(), iteration, iteration, ScratchBuffer()))

    payload(0)
    first = payload(1)
    assert payload(1) == first != payload(2)
    assert payload(0) and payload(1) == first
    with pytest.raises(LookupError, match="iteration 7"):
        payload(7)


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_an_exact_compressor_has_nothing_left(exchange: str) -> None:
    values = {"workers": 3, "batch_size": 20, "iterations": 30, "exchange": exchange}
    with_feedback = train(TrainingSpec(MODEL, "fp64", error_feedback=True, **values))
    assert_same(with_feedback, train(TrainingSpec(MODEL, "fp64", **values)))


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_feedback_changes_what_a_coarse_compressor_sends(exchange: str) -> None:
    assert not train(spec(exchange)).table.equals(train(spec(exchange, error_feedback=False)).table)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("exchange", EXCHANGES)
def test_the_bits_are_those_of_the_serial_engine(exchange: str, workers: int, share: float) -> None:
    asked = spec(exchange, workers=workers, copy_share=share)
    trace, oracle = Rig(asked, timeouts=CALM).run(), train(asked)
    assert_same(trace, oracle)
    assert not trace.faults
    assert trace.received is not None
    assert trace.received["uplink_bytes"] == oracle.table["uplink_bytes"].iloc[-1]
    plan = make_plan(asked, open_rows(MODEL))
    copies = oracle.summary["iterations"] // plan.copies_every if share else 0
    summed = exchange == "all_reduce"
    assert trace.received["copy_bytes"] == copies * 8 * MODEL.d * (workers + summed)


#: Every kind of fault of every member, with copies and without; the exchanges take turns, so that each kind of fault
#: and each member meet all of them. `test_faults` combines members and exchanges in every way.
CASES = [
    (list(EXCHANGES)[(i + j + 3 * k) % len(EXCHANGES)], member, at, kind, share)
    for i, kind in enumerate(FAULTS)
    for j, (member, at) in enumerate([(0, 6), (2, 31), (MASTER, 17)])
    for k, share in enumerate((0.0, 1.0))
]


def test_faults_of_every_kind_and_of_every_member_meet_every_exchange() -> None:
    assert {(case[0], case[3]) for case in CASES} == set(itertools.product(EXCHANGES, FAULTS))
    assert {case[:2] for case in CASES} == set(itertools.product(EXCHANGES, (0, 2, MASTER)))


@pytest.mark.parametrize(("exchange", "member", "at", "kind", "share"), CASES)
def test_a_run_with_a_fault_ends_with_the_same_bits(
    exchange: str, member: int, at: int, kind: str, share: float
) -> None:
    asked = spec(exchange, copy_share=share)
    assert_same(Rig(asked, faults=[Fault(kind, member, at)]).run(), train(asked))


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_copies_take_their_share_of_the_traffic(exchange: str) -> None:
    rows = open_rows(PlantedModel(4000, 400, 3))
    asked = TrainingSpec(
        rows.model, "fp32", workers=4, batch_size=40, exchange=exchange, error_feedback=True, copy_share=0.02
    )
    plan = make_plan(asked, rows)
    sent = EXCHANGES[exchange].sent(4)
    headers = 4 if exchange == "all_reduce" else 1
    traffic = (sent.up + sent.down) * (4 * 400 + 4 * headers) + sent.weights * 8 * 400
    copied = 8 * 400 * (5 if exchange == "all_reduce" else 4)
    assert copied / (plan.copies_every * traffic) <= 0.02 < copied / ((plan.copies_every - 1) * traffic)


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_checkpoint_holds_the_residuals(exchange: str, tmp_path: Path) -> None:
    asked, path = spec(exchange), tmp_path / "run.checkpoint"

    class StopError(Exception):
        pass

    def stop(news: Any) -> None:
        raise StopError

    oracle = train(asked)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(StopError):
        patch.setattr("relufit.training.loop._NEWS_SECONDS", -1.0)
        train(asked, progress=stop, checkpoint=path)
    assert path.exists()
    assert_same(train(asked, checkpoint=path), oracle)


@pytest.mark.parametrize("values", [{"error_feedback": 1}, {"copy_share": -0.1}, {"copy_share": 2}])
def test_bad_values_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(values))):
        spec(**values)
