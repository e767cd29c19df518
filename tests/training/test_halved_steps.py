"""A step that is halved again and again: what it is, and what it does not go with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from relufit import planted
from relufit.errors import ConfigError
from relufit.planted import PlantedModel
from relufit.training import TrainingSpec, train

MODEL = PlantedModel(210, 12, 3, noise_std=0.05)


def spec(**values: Any) -> TrainingSpec:
    settings = {"workers": 3, "batch_size": 21, "iterations": 12, "step_size": 0.4, "halve_every": 5, **values}
    return TrainingSpec(MODEL, **{"compressor": "fp64", **settings})


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


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"error_feedback": True, "compressor": "sign"}, "a step that is halved with error feedback"),
        ({"local_steps": 2}, "a step that is halved with local steps"),
    ],
)
def test_what_it_does_not_go_with_is_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        spec(**values)
    assert says in str(caught.value)
    assert caught.value.where == "halve_every"
