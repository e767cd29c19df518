"""The gradients of GLM-tron and Kaczmarz: the algorithm in plain numpy, and the same bits in both engines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from rig import CALM, Fault, Rig
from traces import assert_same

from relufit import planted, theory
from relufit.errors import ConfigError
from relufit.exchange import EXCHANGES
from relufit.planted import PlantedModel
from relufit.planted.dataset import open_rows
from relufit.training import TrainingSpec, train
from relufit.training.gradients import GRADIENTS
from relufit.training.spec import Plan, make_plan

MODEL = PlantedModel(210, 12, 3, noise_std=0.05)
OTHERS = [name for name in GRADIENTS if name != "sgd"]
QSGD = {"name": "qsgd", "levels": 4}
SIGN = {"name": "sign"}


def spec(**values: Any) -> TrainingSpec:
    return TrainingSpec(
        MODEL, **{"compressor": "fp64", "workers": 3, "batch_size": 20, "iterations": 30, "record_every": 2, **values}
    )


def plan(**values: Any) -> Plan:
    return make_plan(spec(**values), open_rows(MODEL))


def by_hand(gradient: str, step: float, iterations: int) -> np.ndarray:
    """Full-batch steps in numpy."""
    data = planted.generate(210, 12, 3, noise_std=0.05)
    x, w = data.x.astype(np.float64), planted.initial_weights(data.x, data.y)
    for _ in range(iterations):
        products = x @ w
        residuals = np.maximum(products, 0) - data.y
        if gradient != "glm_tron":
            residuals *= products > 0
        if gradient == "kaczmarz":
            residuals /= np.sum(x**2, axis=1)
        w = w - step / 210 * residuals @ x
    return w


@pytest.mark.parametrize(("gradient", "step"), [("sgd", 0.5), ("glm_tron", 0.5), ("kaczmarz", 6.0)])
def test_steps_on_all_rows_are_those_of_numpy(gradient: str, step: float) -> None:
    trace = train(spec(gradient=gradient, step_size=step, batch_size=210, sampling="reshuffled"))
    np.testing.assert_allclose(trace.weights, by_hand(gradient, step, 30), rtol=0, atol=1e-12)


def test_the_first_step_of_glm_tron_from_zero_is_the_moment_estimate() -> None:
    values: dict[str, Any] = {"initial_weights": "zero", "batch_size": 210, "sampling": "reshuffled", "step_size": 2.0}
    data = planted.generate(210, 12, 3, noise_std=0.05)
    moments = planted.initial_weights(data.x, data.y)
    trace = train(spec(gradient="glm_tron", iterations=1, **values))
    np.testing.assert_allclose(trace.weights, moments, rtol=1e-12, atol=1e-14)
    for gradient in ("sgd", "kaczmarz"):
        assert not train(spec(gradient=gradient, iterations=5, **values)).weights.any()


def test_a_kaczmarz_step_along_one_row_solves_its_equation() -> None:
    trace = train(TrainingSpec(PlantedModel(400, 12, 5), gradient="kaczmarz", iterations=60, step_size=1.0))
    data, start = (
        planted.generate(400, 12, 5),
        train(TrainingSpec(PlantedModel(400, 12, 5), gradient="kaczmarz", iterations=59, step_size=1.0)),
    )
    solved = np.abs(np.maximum(data.x.astype(np.float64) @ trace.weights, 0) - data.y) < 1e-12
    moved = trace.weights.tobytes() != start.weights.tobytes()
    assert moved and (solved & (data.y > 0)).any()


@pytest.mark.parametrize("compressor", ["fp64", QSGD], ids=str)
@pytest.mark.parametrize("gradient", OTHERS)
@pytest.mark.parametrize("exchange", EXCHANGES)
def test_ranks_that_exchange_end_with_the_bits_of_the_serial_engine(
    exchange: str, gradient: str, compressor: Any
) -> None:
    asked = spec(exchange=exchange, compressor=compressor, gradient=gradient)
    assert_same(Rig(asked, timeouts=CALM).run(), train(asked))


@pytest.mark.parametrize("gradient", OTHERS)
def test_a_run_with_a_fault_ends_with_the_same_bits(gradient: str) -> None:
    asked = spec(exchange="all_reduce", compressor=SIGN, error_feedback=True, gradient=gradient)
    assert_same(Rig(asked, faults=[Fault("killed while it receives", 1, 20)]).run(), train(asked))


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"compressor": QSGD},
        {"compressor": QSGD, "exchange": "all_reduce"},
        {"compressor": QSGD, "local_steps": 4},
        {"compressor": SIGN, "error_feedback": True},
    ],
    ids=str,
)
def test_the_optimal_step_knows_the_gradient(values: dict[str, Any]) -> None:
    made, sgd = plan(gradient="kaczmarz", **values), plan(**values)
    m, workers, omega = 20, 3, {"omega": made.omega, "workers": 3, "sum_omega": made.sum_omega}
    if values.get("error_feedback"):
        delta, _ = EXCHANGES["master"].encodings(made.compressor.encoding, 12, workers)
        assert delta is not None
        expected = 12 * theory.feedback_optimal_step(12, m, delta=delta, workers=workers, kurtosis=1.0)
    elif "local_steps" in values:
        expected = 12 * theory.local_optimal_step(12, m, 4, kurtosis=1.0, **omega)  # type: ignore[arg-type]
    else:
        expected = theory.kaczmarz_optimal_step(12, m, **omega)  # type: ignore[arg-type]
    assert made.step == pytest.approx(expected, rel=1e-12)
    assert made.step > 12 * sgd.step
    assert plan(gradient="glm_tron", **values).step == sgd.step


@pytest.mark.parametrize("gradient", OTHERS)
def test_a_biased_compressor_still_has_no_optimal_step(gradient: str) -> None:
    with pytest.raises(ConfigError, match="the compressor is biased"):
        plan(compressor=SIGN, gradient=gradient)


@pytest.mark.parametrize("gradient", ["SGD", "", None, 1, ["sgd"]])
def test_an_unknown_gradient_is_refused_with_those_that_there_are(gradient: Any) -> None:
    with pytest.raises(ConfigError, match="sgd, glm_tron, kaczmarz") as caught:
        spec(gradient=gradient)
    assert caught.value.where == "gradient"


def test_a_description_has_a_gradient_only_where_it_is_another_one() -> None:
    assert "gradient" not in spec(gradient="sgd").describe()
    described = spec(gradient="kaczmarz").describe()
    assert described["gradient"] == "kaczmarz"
    assert TrainingSpec(MODEL, **described) == spec(gradient="kaczmarz")
