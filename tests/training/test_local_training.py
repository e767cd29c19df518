"""Local steps: the algorithm in plain numpy, the same bits on real ranks and after faults, and what is counted."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rig import CALM, Fault, Rig

from relufit import planted, theory
from relufit.errors import ConfigError, PayloadError
from relufit.exchange import EXCHANGES
from relufit.planted import PlantedModel
from relufit.planted.dataset import Shard, shard_rows
from relufit.training import Trace, TrainingSpec, train
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


def assert_same(one: Trace, other: Trace) -> None:
    assert one.weights.tobytes() == other.weights.tobytes()
    assert one.table.equals(other.table)
    assert one.summary == other.summary


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


@pytest.mark.parametrize("compressor", ["fp64", "fp32", QSGD], ids=str)
@pytest.mark.parametrize("exchange", EXCHANGES)
def test_ranks_that_exchange_end_with_the_bits_of_the_serial_engine(exchange: str, compressor: Any) -> None:
    asked = spec(exchange=exchange, compressor=compressor)
    trace, oracle = Rig(asked, timeouts=CALM).run(), train(asked)
    assert_same(trace, oracle)
    assert trace.received is not None
    assert trace.received["uplink_bytes"] == oracle.table["uplink_bytes"].iloc[-1]


@pytest.mark.parametrize("kind", ["killed while it receives", "frame corrupted"])
@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_run_with_a_fault_ends_with_the_same_bits(exchange: str, kind: str) -> None:
    asked = spec(exchange=exchange)
    assert_same(Rig(asked, faults=[Fault(kind, 1, 9)]).run(), train(asked))


def test_a_run_that_was_stopped_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    class StoppedError(Exception):
        pass

    def stop(progress: Any) -> None:
        if progress.iteration > 150:
            raise StoppedError

    asked = spec(iterations=20_000, local_steps=2, record_every=100)
    with pytest.raises(StoppedError):
        train(asked, progress=stop, checkpoint=tmp_path / "state")
    assert (tmp_path / "state").exists()
    assert_same(train(asked, checkpoint=tmp_path / "state"), train(asked))


def test_the_optimal_step_is_that_of_theory_and_is_told() -> None:
    trace = train(spec(exchange="all_reduce"))
    plan = trace.summary
    expected = theory.local_optimal_step(12, 20, 4, omega=plan["omega"], workers=3, sum_omega=plan["omega"])
    assert plan["step_size"] == pytest.approx(expected, rel=1e-12)
    assert plan["spec"]["local_steps"] == json.loads(json.dumps(trace.summary))["spec"]["local_steps"] == 4


def test_local_steps_that_go_beyond_the_range_of_floats_say_what_helps() -> None:
    with pytest.raises(PayloadError, match="take a shorter step, or fewer local steps"):
        train(spec(step_size=50.0, local_steps=500))


@pytest.mark.parametrize("value", [0, -1, 1.5, math.nan, "2", None])
def test_a_number_of_local_steps_that_is_none_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match="local_steps"):
        spec(local_steps=value)
