"""Delayed gradients: the algorithm in plain numpy, and the same bits on real ranks, after faults, from checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rig import CALM, IN_TURN, MASTER, Fault, Rig

from relufit import planted, theory
from relufit.errors import ConfigError, DataError
from relufit.exchange import EXCHANGES
from relufit.planted import PlantedModel
from relufit.planted.dataset import open_rows
from relufit.training import Trace, TrainingSpec, train
from relufit.training.spec import Plan, make_plan

MODEL = PlantedModel(210, 12, 3, noise_std=0.05)
QSGD = {"name": "qsgd", "levels": 4}


def spec(exchange: str = "all_gather", **values: Any) -> TrainingSpec:
    settings = {"workers": 3, "batch_size": 20, "iterations": 40, "record_every": 3, "delay": 4, **values}
    return TrainingSpec(MODEL, **{"compressor": QSGD, "exchange": exchange, **settings})


def plan(**values: Any) -> Plan:
    return make_plan(spec(**values), open_rows(MODEL))


def assert_same(one: Trace, other: Trace) -> None:
    assert one.weights.tobytes() == other.weights.tobytes()
    assert one.table.equals(other.table)
    assert one.summary == other.summary


@pytest.mark.parametrize("delay", [0, 1, 2, 5, 30])
def test_steps_are_along_gradients_at_the_weights_of_iterations_before(delay: int) -> None:
    data = planted.generate(210, 12, 3, noise_std=0.05)
    x, weights, losses = data.x.astype(np.float64), [planted.initial_weights(data.x, data.y)], []
    for t in range(30):
        products = x @ weights[max(0, t - delay)]
        residuals = np.maximum(products, 0) - data.y
        losses.append(np.mean(residuals**2) / 2)
        weights.append(weights[-1] - 0.3 / 210 * (residuals * (products > 0)) @ x)
    values: dict[str, Any] = {"batch_size": 210, "sampling": "reshuffled", "compressor": "fp64", "record_every": 1}
    trace = train(spec(delay=delay, step_size=0.3, iterations=30, **values))
    np.testing.assert_allclose(trace.weights, weights[-1], rtol=0, atol=1e-12)
    np.testing.assert_allclose(trace.table["loss"][1:], losses, rtol=1e-9)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("exchange", EXCHANGES)
def test_ranks_that_exchange_end_with_the_bits_of_the_serial_engine(exchange: str, workers: int) -> None:
    asked = spec(exchange, workers=workers)
    assert_same(Rig(asked, timeouts=CALM).run(), train(asked))


@pytest.mark.parametrize(("exchange", "member", "at", "kind"), IN_TURN)
def test_a_run_with_a_fault_ends_with_the_same_bits(exchange: str, member: int, at: int, kind: str) -> None:
    asked = spec(exchange)
    assert_same(Rig(asked, faults=[Fault(kind, member, at)]).run(), train(asked))


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_with_everything_else_a_run_that_goes_back_ends_with_the_same_bits(exchange: str) -> None:
    values = {"compressor": {"name": "sign"}, "error_feedback": True, "step_size": 0.05, "copy_share": 1.0}
    asked = spec(exchange, average_from=5, local_steps=2, gradient="glm_tron", **values)
    assert_same(Rig(asked, faults=[Fault("killed while it receives", 1, 45)]).run(), train(asked))


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_master_that_was_killed_goes_on_from_its_checkpoint(exchange: str, tmp_path: Path) -> None:
    asked = spec(exchange, iterations=400)
    faults = [Fault("ten times slower", 0, 1), Fault("killed while it receives", MASTER, 150)]
    assert_same(Rig(asked, faults=faults, checkpoint=tmp_path / "run.checkpoint").run(), train(asked))


class StopError(Exception):
    """Ends a run."""


def stop(news: Any) -> None:
    raise StopError


@pytest.mark.parametrize("average_from", [None, 3])
@pytest.mark.parametrize("delay", [1, 4])
@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_checkpoint_holds_the_weights_before(
    exchange: str, delay: int, average_from: int | None, tmp_path: Path
) -> None:
    asked, path = spec(exchange, delay=delay, average_from=average_from), tmp_path / "run.checkpoint"
    oracle, went_on = train(asked), 0
    while True:  # each time one more iteration
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("relufit.training.loop._NEWS_SECONDS", -1.0)
            try:
                trace = train(asked, progress=stop if went_on < 15 else None, checkpoint=path)
                break
            except StopError:
                went_on += 1
    assert went_on == 15
    assert_same(trace, oracle)
    assert not path.exists()


def test_the_checkpoint_of_another_delay_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.checkpoint"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(StopError):
        patch.setattr("relufit.training.loop._NEWS_SECONDS", -1.0)
        train(spec(), progress=stop, checkpoint=path)
    for delay in (0, 3):
        with pytest.raises(DataError, match="another specification"):
            train(spec(delay=delay), checkpoint=path)


def test_the_optimal_step_knows_the_delay() -> None:
    made = plan()
    expected = theory.delayed_optimal_step(12, 20, 4, omega=made.omega, workers=3)
    assert made.step == expected < plan(delay=0).step
    normalized = theory.delayed_optimal_step(12, 20, 4, omega=made.omega, workers=3, kurtosis=1.0)
    assert plan(gradient="kaczmarz").step == pytest.approx(12 * normalized, rel=1e-12)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"local_steps": 2}, "a delay with local steps"),
        ({"compressor": "sign", "error_feedback": True}, "a delay with error feedback"),
        ({"delay": 17}, "up to a delay of 16"),
    ],
)
def test_where_no_optimal_step_is_known_a_number_is_wanted(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        plan(**values)
    assert caught.value.where == "step_size"
    assert plan(step_size=0.1, **values).step == 0.1


@pytest.mark.parametrize("value", [-1, 1.5, "3", True, None, 41])
def test_an_impossible_delay_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match="delay") as caught:
        spec(delay=value)
    assert caught.value.where == "delay"


def test_a_description_has_a_delay_only_where_there_is_one() -> None:
    assert "delay" not in spec(delay=0).describe()
    assert spec().describe()["delay"] == 4
