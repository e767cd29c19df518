"""Local steps: the algorithm in plain numpy, and what is counted; what they survive is in `test_options`."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from relufit import planted, theory
from relufit.errors import PayloadError
from relufit.planted import PlantedModel
from relufit.planted.dataset import Shard, shard_rows
from relufit.training import TrainingSpec, train
from relufit.training.sampling import SAMPLINGS

MODEL = PlantedModel(210, 12, 3, noise_std=0.05)
QSGD = {"name": "qsgd", "levels": 4}


def spec(**values: Any) -> TrainingSpec:
    settings = {"workers": 3, "batch_size": 20, "iterations": 12, "record_every": 2, "local_steps": 4, **values}
    return TrainingSpec(MODEL, **{"compressor": QSGD, **settings})


def by_hand(local_steps: int, step: float, iterations: int, sampling: str, seed: int) -> tuple[np.ndarray, list[float]]:
    """Each rank's own weights, and their mean: the weights at the end, and the losses of first batches."""
    data = planted.generate(210, 12, 3, noise_std=0.05)
    w, shares, losses = planted.initial_weights(data.x, data.y), (7, 7, 6), []
    samplers = [
        SAMPLINGS[sampling](
            seed, rank, shares[rank], Shard(data.x[slice(*part)], data.y[slice(*part)]), MODEL, data.w_star
        )
        for rank, part in enumerate(shard_rows(210, 3))
    ]
    for iteration in range(iterations):
        mean, squares = np.zeros(12), 0.0
        for share, sampler in zip(shares, samplers, strict=True):
            own = w.copy()
            for local in range(local_steps):
                x, y, taken = sampler.draw(iteration * local_steps + local)
                batch, labels = x[taken].astype(np.float64), y[taken]
                products = batch @ own
                residuals = np.maximum(products, 0) - labels
                squares += np.sum(residuals**2) * (local == 0)
                own = own - step * (residuals * (products > 0)) @ batch / share
            mean += share / 20 * own
        w = mean
        losses.append(squares / 40)
    return w, losses


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("local_steps", [1, 2, 5])
def test_the_weights_are_the_mean_of_those_of_the_ranks(local_steps: int, sampling: str) -> None:
    asked = spec(compressor="fp64", local_steps=local_steps, sampling=sampling, step_size=0.3, seed=8, record_every=1)
    trace, (weights, losses) = train(asked), by_hand(local_steps, 0.3, 12, sampling, 8)
    np.testing.assert_allclose(trace.weights, weights, rtol=0, atol=1e-12)
    np.testing.assert_allclose(trace.table["loss"][1:], losses, rtol=1e-9)


def test_bytes_are_those_of_an_exchange_whatever_happens_between() -> None:
    few, many = (train(spec(compressor="fp32", local_steps=count, step_size=0.1)) for count in (1, 6))
    assert few.table[["uplink_bytes", "downlink_bytes"]].equals(many.table[["uplink_bytes", "downlink_bytes"]])
    assert few.weights.tobytes() != many.weights.tobytes()


def test_the_optimal_step_is_that_of_theory_and_is_told() -> None:
    trace = train(spec(exchange="all_reduce"))
    plan = trace.summary
    expected = theory.local_optimal_step(12, 20, 4, omega=plan["omega"], workers=3, sum_omega=plan["omega"])
    assert plan["step_size"] == pytest.approx(expected, rel=1e-12)
    assert plan["spec"]["local_steps"] == json.loads(json.dumps(trace.summary))["spec"]["local_steps"] == 4


def test_local_steps_that_go_beyond_the_range_of_floats_say_what_helps() -> None:
    with pytest.raises(PayloadError, match="take a shorter step, or fewer local steps"):
        train(spec(step_size=50.0, local_steps=500))
