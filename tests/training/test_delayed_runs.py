"""Delayed gradients: the algorithm in plain numpy, and the step; what a delay survives is in `test_options`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from relufit import planted, theory
from relufit.errors import ConfigError
from relufit.planted import PlantedModel
from relufit.planted.dataset import open_rows
from relufit.training import TrainingSpec, train
from relufit.training.spec import Plan, make_plan

MODEL = PlantedModel(210, 12, 3, noise_std=0.05)
QSGD = {"name": "qsgd", "levels": 4}


def spec(exchange: str = "all_gather", **values: Any) -> TrainingSpec:
    settings = {"workers": 3, "batch_size": 20, "iterations": 40, "record_every": 3, "delay": 4, **values}
    return TrainingSpec(MODEL, **{"compressor": QSGD, "exchange": exchange, **settings})


def plan(**values: Any) -> Plan:
    return make_plan(spec(**values), open_rows(MODEL))


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


def test_a_description_has_a_delay_only_where_there_is_one() -> None:
    assert "delay" not in spec(delay=0).describe()
    assert spec().describe()["delay"] == 4
