"""A step that is halved again and again: what it is, on real ranks and after faults, and what it does not go with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rig import CALM, Fault, Rig

from relufit import planted
from relufit.errors import ConfigError
from relufit.exchange import EXCHANGES
from relufit.planted import PlantedModel
from relufit.training import Trace, TrainingSpec, train

MODEL = PlantedModel(210, 12, 3, noise_std=0.05)


def spec(**values: Any) -> TrainingSpec:
    settings = {"workers": 3, "batch_size": 21, "iterations": 12, "step_size": 0.4, "halve_every": 5, **values}
    return TrainingSpec(MODEL, **{"compressor": "fp64", **settings})


def assert_same(one: Trace, other: Trace) -> None:
    assert one.weights.tobytes() == other.weights.tobytes()
    assert one.table.equals(other.table)


def test_the_step_is_halved_after_so_many_iterations() -> None:
    # Ranks that take all of their rows in an iteration, without replacement: gradients are those of the data.
    data = planted.generate(210, 12, 3, noise_std=0.05)
    w = planted.initial_weights(data.x, data.y)
    for iteration in range(12):
        step = 0.4 / 2 ** (iteration // 5)
        w = w - step * planted.gradient(w, data.x, data.y)
    trace = train(spec(batch_size=210, sampling="reshuffled"))
    np.testing.assert_allclose(trace.weights, w, rtol=0, atol=1e-12)
    assert not np.allclose(train(spec(batch_size=210, sampling="reshuffled", halve_every=0)).weights, w, atol=1e-6)


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_ranks_that_exchange_end_with_the_bits_of_the_serial_engine(exchange: str) -> None:
    asked = spec(exchange=exchange, compressor="majority" if exchange in ("all_reduce", "requantize") else "fp32")
    oracle = train(asked)
    assert_same(Rig(asked, timeouts=CALM).run(), oracle)
    assert_same(Rig(asked, faults=[Fault("killed while it receives", 1, 7)]).run(), oracle)


def test_a_run_that_was_stopped_goes_on_with_the_step_that_it_had(tmp_path: Path) -> None:
    class StoppedError(Exception):
        pass

    def stop(progress: Any) -> None:
        if progress.iteration > 150:
            raise StoppedError

    asked = spec(iterations=20_000, halve_every=1000, record_every=100)
    with pytest.raises(StoppedError):
        train(asked, progress=stop, checkpoint=tmp_path / "state")
    assert (tmp_path / "state").exists()
    assert_same(train(asked, checkpoint=tmp_path / "state"), train(asked))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"halve_every": -1}, "-1 is no whole number from 0 up"),
        ({"error_feedback": True, "compressor": "sign"}, "a step that is halved with error feedback"),
        ({"local_steps": 2}, "a step that is halved with local steps"),
    ],
)
def test_what_it_does_not_go_with_is_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        spec(**values)
    assert says in str(caught.value)
    assert caught.value.where == "halve_every"
