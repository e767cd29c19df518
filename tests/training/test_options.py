"""What every option of training survives: real ranks, faults, a killed master, and a stop after any iteration."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from rig import CALM, IN_TURN, MASTER, Fault, Rig
from traces import assert_same

from relufit.errors import ConfigError, DataError
from relufit.exchange import EXCHANGES
from relufit.planted import PlantedModel
from relufit.training import TrainingSpec, train

MODEL = PlantedModel(210, 12, 3, noise_std=0.05)
#: A projection that is learnt from two iterations of seven.
GRADIVEQ = {"name": "gradiveq", "components": 1, "slice_size": 2, "window": 2, "period": 7}
#: Options alone: a new one is a line here, and a part of a combination below.
OPTIONS: dict[str, dict[str, Any]] = {
    "mean": {"average_from": 7},
    "delay": {"delay": 4},
    "halved": {"halve_every": 5, "step_size": 0.4, "compressor": "fp32"},
    "local": {"local_steps": 4},
    "local, fp64": {"local_steps": 4, "compressor": "fp64"},
    "local, fp32": {"local_steps": 4, "compressor": "fp32"},
    "learnt": {"compressor": GRADIVEQ, "step_size": 0.1},
}
#: All options that go together, so that a run tests them all: the bits are others if one of them is lost.
HALVED = {"average_from": 7, "delay": 4, "halve_every": 5, "step_size": 0.4}
LOCAL = {"average_from": 7, "delay": 4, "local_steps": 4, "step_size": 0.1}
FED_BACK = {
    **{"average_from": 5, "delay": 4, "local_steps": 2, "gradient": "glm_tron"},
    **{"error_feedback": True, "compressor": {"name": "sign"}, "step_size": 0.05, "copy_share": 1.0},
}
LEARNT = {"average_from": 7, "error_feedback": True, "compressor": GRADIVEQ, "step_size": 0.1, "copy_share": 1.0}
COMBINED = {"all with a halved step": HALVED, "all with local steps": LOCAL, "learnt with error feedback": LEARNT}
#: Of an option, a value, and two others.
VALUES: dict[str, tuple[Any, Any, Any]] = {
    "average_from": (7, None, 8),
    "delay": (4, 0, 3),
    "halve_every": (5, 0, 6),
    "local_steps": (4, 1, 3),
}

every_exchange = pytest.mark.parametrize("exchange", EXCHANGES)


def spec(exchange: str = "all_gather", **values: Any) -> TrainingSpec:
    settings = {"workers": 3, "batch_size": 20, "iterations": 40, "record_every": 3, **values}
    return TrainingSpec(MODEL, **{"compressor": {"name": "qsgd", "levels": 4}, "exchange": exchange, **settings})


def test_every_option_is_alone_and_in_a_combination() -> None:
    for options in (OPTIONS, COMBINED):
        assert set(VALUES) <= set().union(*options.values())


@pytest.mark.parametrize(("name", "workers"), [*((name, 3) for name in OPTIONS), *((name, 1) for name in COMBINED)])
@every_exchange
def test_ranks_that_exchange_end_with_the_bits_of_the_serial_engine(exchange: str, name: str, workers: int) -> None:
    asked = spec(exchange, workers=workers, **{**OPTIONS, **COMBINED}[name])
    trace, oracle = Rig(asked, timeouts=CALM).run(), train(asked)
    assert_same(trace, oracle)
    assert trace.received is not None
    assert trace.received["uplink_bytes"] == oracle.table["uplink_bytes"].iloc[-1]


@pytest.mark.parametrize("exchange", ["all_reduce", "requantize"])
def test_ranks_that_vote_end_with_the_bits_of_the_serial_engine(exchange: str) -> None:
    asked = spec(exchange, **{**HALVED, "compressor": "majority"})
    assert_same(Rig(asked, timeouts=CALM).run(), train(asked))
    assert_same(Rig(asked, faults=[Fault("killed while it receives", 1, 7)]).run(), train(asked))


@pytest.mark.parametrize(
    ("name", "exchange", "member", "at", "kind"), [(name, *case) for name in COMBINED for case in IN_TURN]
)
def test_a_run_with_a_fault_ends_with_the_same_bits(name: str, exchange: str, member: int, at: int, kind: str) -> None:
    asked = spec(exchange, **COMBINED[name])
    assert_same(Rig(asked, faults=[Fault(kind, member, at)]).run(), train(asked))


@every_exchange
def test_with_error_feedback_a_run_that_goes_back_ends_with_the_same_bits(exchange: str) -> None:
    asked = spec(exchange, **FED_BACK)
    assert_same(Rig(asked, faults=[Fault("killed while it receives", 1, 45)]).run(), train(asked))


@pytest.mark.parametrize("options", [{**HALVED, "halve_every": 50}, LOCAL, LEARNT], ids=COMBINED)
@every_exchange
def test_a_master_that_was_killed_goes_on_from_its_checkpoint(
    exchange: str, options: dict[str, Any], tmp_path: Path
) -> None:
    asked = spec(exchange, iterations=400, **options)
    faults = [Fault("ten times slower", 0, 1), Fault("killed while it receives", MASTER, 150)]
    assert_same(Rig(asked, faults=faults, checkpoint=tmp_path / "run.checkpoint").run(), train(asked))


class StopError(Exception):
    """Ends a run."""


def stop(news: Any) -> None:
    raise StopError


#: Runs that are stopped before, at and after the first of the weights that are averaged.
STOPPED = {
    "mean of all": {"average_from": 0},
    "mean and delay": {"average_from": 15, "delay": 1},
    "delay": {"delay": 4},
    "all with a halved step, mean later": {**HALVED, "average_from": 30},
    "all with local steps": LOCAL,
    "all with error feedback": FED_BACK,
    "learnt": {"compressor": GRADIVEQ, "step_size": 0.1, "local_steps": 4},
    "learnt with error feedback": LEARNT,
}


@pytest.mark.parametrize("options", STOPPED.values(), ids=STOPPED)
@every_exchange
def test_a_run_that_is_stopped_after_each_iteration_ends_with_the_same_bits(
    exchange: str, options: dict[str, Any], tmp_path: Path
) -> None:
    asked, path = spec(exchange, **options), tmp_path / "run.checkpoint"
    oracle, went_on = train(asked), 0
    while True:  # each time one more iteration
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("relufit.training.loop._NEWS_SECONDS", -1.0)
            try:
                trace = train(asked, progress=stop if went_on < 20 else None, checkpoint=path)
                break
            except StopError:
                went_on += 1
    assert went_on == 20
    assert_same(trace, oracle)
    assert not path.exists()


@pytest.mark.parametrize("name", VALUES)
def test_the_checkpoint_of_another_value_is_refused(name: str, tmp_path: Path) -> None:
    for value in VALUES[name]:
        path = tmp_path / f"{value}.checkpoint"
        with pytest.MonkeyPatch.context() as patch, pytest.raises(StopError):
            patch.setattr("relufit.training.loop._NEWS_SECONDS", -1.0)
            train(spec(**{name: value}), progress=stop, checkpoint=path)
        for other in set(VALUES[name]) - {value}:
            with pytest.raises(DataError, match="another specification"):
                train(spec(**{name: other}), checkpoint=path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("average_from", value) for value in (-1, 1.5, "3", True, math.nan, 41)),
        *(("delay", value) for value in (-1, 1.5, "3", True, None, 41)),
        *(("halve_every", value) for value in (-1, 1.5, "3", True, None)),
        *(("local_steps", value) for value in (0, -1, 1.5, math.nan, "2", None)),
    ],
)
def test_an_impossible_value_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=name) as caught:
        spec(**{name: value})
    assert caught.value.where == name
