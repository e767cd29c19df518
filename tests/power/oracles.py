"""What no verdict judges, held against plain numpy, against counts by hand, or against a clock that is set."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from relufit import planted, theory
from relufit.experiments.framework import procedures
from relufit.experiments.framework.base import Outcome, Setting, Trial
from relufit.experiments.framework.procedures import PROCEDURES, model_of
from relufit.planted import PlantedData, PlantedModel
from relufit.planted.dataset import Shard, shard_rows
from relufit.solvers.gradient_descent import STRIDE
from relufit.training import Trace, TrainingSpec, exchanges, loop, rank, sampling, trace, train
from relufit.training.master import Master

#: Every rank has as many rows as any other, so that all rows together are a batch.
N, D, RANKS = 102, 6, 3
SEED = 3
ORACLES: dict[str, Callable[[], None]] = {}
_FLOAT32, _FLOAT64, _HEADER = 4, 8, 4


def _oracle(name: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    def register(check: Callable[[], None]) -> Callable[[], None]:
        ORACLES[name] = check
        return check

    return register


def _data(norm: float = 1.0) -> PlantedData:
    """Return a data set whose planted weights have that norm."""
    x, _, w_star = planted.generate(N, D, SEED)
    return PlantedData(x, np.maximum(norm * (x.astype(np.float64) @ w_star), 0.0), norm * w_star)


def _run(data: PlantedData, iterations: int, **values: Any) -> Trace:
    asked = {"workers": RANKS, "batch_size": N, "sampling": "reshuffled", "step_size": 0.5, "seed": SEED, **values}
    return train(TrainingSpec(data, iterations=iterations, **asked))


def _outcome(procedure: str, data: dict[str, Any], spec: dict[str, Any]) -> tuple[Setting, Outcome]:
    setting = Setting("oracles", procedure, data, spec, 1, procedure=procedure)
    return setting, PROCEDURES[procedure](Trial(setting, SEED, 0))


@_oracle("loss")
def the_loss_is_that_of_all_rows_at_the_weights_before_the_update() -> None:
    data = _data()
    losses = _run(data, 4).table["loss"].to_numpy()
    weights = [_run(data, iterations).weights for iterations in range(4)]
    residuals = [np.maximum(data.x.astype(np.float64) @ w, 0.0) - data.y for w in weights]
    assert np.isnan(losses[0])
    np.testing.assert_allclose(losses[1:], [np.mean(r**2) / 2 for r in residuals], rtol=1e-10)


@_oracle("relative error")
def the_error_of_a_row_is_that_of_the_weights_after_its_iteration() -> None:
    data = _data(norm=3.0)
    table = _run(data, 5, record_every=2).table
    kept = [0, 2, 4, 5]
    errors = [np.linalg.norm(_run(data, iterations).weights - data.w_star) / 3 for iterations in kept]
    assert table["iteration"].tolist() == kept
    np.testing.assert_allclose(table["relative_error"], errors, rtol=1e-10)


@_oracle("rows of a batch")
def rows_are_independent_with_replacement_and_once_an_epoch_in_a_new_order() -> None:
    model, batch, batches = PlantedModel(N, D, SEED), 6, 3400
    shard = Shard(*model.rows(0, N, model.weights()))

    def rows(name: str) -> np.ndarray:
        drawn = sampling.SAMPLINGS[name](SEED, 0, batch, shard, model, model.weights())
        return np.stack([drawn.draw(iteration)[2] for iteration in range(batches)])

    replaced = rows("with_replacement")
    pairs = [(i, j) for i in range(batch) for j in range(i)]
    for i, j in pairs:  # each refutes what is true with probability 6e-7
        equal = np.mean(replaced[:, i] == replaced[:, j])
        assert abs(equal - 1 / N) < 5 * np.sqrt(1 / N * (1 - 1 / N) / batches)
    epochs = rows("reshuffled").reshape(-1, N)
    assert (np.sort(epochs, axis=1) == np.arange(N)).all()


@_oracle("seconds")
def the_seconds_of_a_row_are_those_that_its_parts_took() -> None:
    clock, costs = SimpleNamespace(now=0.0), {"gradient": 1, "encoding": 10, "adding": 100, "updating": 1000}

    def taking(call: Callable[..., Any], seconds: float) -> Callable[..., Any]:
        def timed(*given: Any) -> Any:
            clock.now += seconds
            return call(*given)

        return timed

    with pytest.MonkeyPatch.context() as patch:
        for module in (loop, rank, trace):
            patch.setattr(module, "perf_counter", lambda: clock.now)
        patch.setattr(rank.kernels, "gradient_sum", taking(rank.kernels.gradient_sum, costs["gradient"]))
        patch.setattr(rank.EXACT.__class__, "pieces", taking(rank.EXACT.__class__.pieces, costs["encoding"]))
        patch.setattr(Master, "add", taking(Master.add, costs["adding"]))
        patch.setattr(Master, "prepare", taking(Master.prepare, costs["updating"]))
        spec = {"workers": RANKS, "batch_size": 20, "iterations": 5, "record_every": 2}
        table = _outcome("train", {"n": N, "d": D}, spec)[1].timing
    passed = np.diff([0, 0, 2, 4, 5])
    expected = {
        "iteration": np.cumsum(passed),
        "elapsed": np.cumsum(passed) * (RANKS * 111 + 1000),
        "compute": RANKS * passed,
        "encode": RANKS * 10 * passed,
        "exchange": 0 * passed,
        "wait": 0 * passed,
        "decode": RANKS * 100 * passed,
        "update": 1000 * passed,
    }
    assert set(table) == set(expected)
    for column, seconds in expected.items():
        assert np.array_equal(table[column], seconds), column


@_oracle("seconds at a master")
def a_master_waits_where_it_neither_talks_nor_the_slowest_rank_works() -> None:
    links: Any = [SimpleNamespace(waited=1.0), SimpleNamespace(waited=4.0)]
    clock = exchanges.base.Clock(links)
    clock.start()
    clock.note(1.0, 0.5)
    clock.note(3.0, 1.0)
    links[0].waited, links[1].waited = 6.0, 6.0
    # 7 seconds of waiting, in 4 of which the slowest rank works, in 1 of these the member itself where it is a rank.
    assert tuple(clock.times(12.0)) == (3.0, 1.0, 5.0, 3.0, 0.0)
    assert tuple(clock.times(12.0, 1.0)) == (3.0, 1.0, 4.0, 4.0, 0.0)


@_oracle("elapsed")
def the_seconds_of_a_trial_are_those_between_its_beginning_and_its_end() -> None:
    def measured(procedure: str, data: dict[str, Any], spec: dict[str, Any]) -> list[float]:
        ticks = iter((5.0, 12.0))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(procedures, "perf_counter", lambda: next(ticks))
            _, outcome = _outcome(procedure, data, spec)
        return [float(seconds) for seconds in outcome.timing["elapsed"]]

    step = {"workers": 1, "batch_size": 4, "iterations": 2, "sampling": "fresh"}
    assert measured("one_step", {"n": 1, "d": D}, step) == [7.0]
    assert measured("quantize", {"n": 1, "d": D}, {"compressor": {"name": "fp32"}, "vectors": 2}) == [7.0]
    assert measured("solve", {"n": N, "d": D}, {"solver": "least_squares", "start": "zero", "tolerance": 0.1}) == [7.0]
    shipped = {"workers": RANKS, "compressor": {"name": "fp32"}, "rows": None}
    assert measured("ship_rows", {"n": N, "d": D}, shipped) == [7.0]


@_oracle("summary")
def the_summary_is_that_of_the_weights_and_of_the_last_row() -> None:
    m, b = 21, 7
    spec = {"workers": RANKS, "batch_size": m, "iterations": 4, "compressor": {"name": "qsgd", "levels": 2}}
    setting, (table, summary, _, measured) = _outcome("train", {"n": N, "d": D}, spec)
    model = model_of(setting, SEED, 0)
    asked = {key: value for key, value in summary["spec"].items() if value != "optimal"}
    again = train(TrainingSpec(model, **asked))
    omega = theory.qsgd_variance(D, 2)
    assert (summary["outcome"], summary["iterations"], table["iteration"].iloc[-1]) == ("budget spent", 4, 4)
    assert (summary["n"], summary["d"]) == (N, D)
    assert summary["omega"] == pytest.approx(omega, rel=1e-12)
    curvature = (m + 2 * D + 3) / (4 * m) + omega / RANKS * (b + 2 * D + 3) / (4 * b)
    assert summary["step_size"] == pytest.approx(1 / (2 * curvature), rel=1e-12)
    assert summary["step_rule"].startswith("optimal, omega = ")
    digest = hashlib.sha256(again.weights.tobytes()).hexdigest()
    assert summary["weights_sha256"] == measured["weights_sha256"] == digest
    assert table["relative_error"].iloc[-1] == pytest.approx(np.linalg.norm(again.weights - model.weights()), rel=1e-12)
    _, stepped = _outcome("one_step", {"n": 1, "d": D}, {"batch_size": 4, "iterations": 1, "sampling": "fresh"})
    assert stepped.summary["step_size"] == pytest.approx(2 * 4 / (4 + 2 * D + 3), rel=1e-12)


@_oracle("lengths of payloads")
def payloads_of_floats_are_their_numbers_and_a_header() -> None:
    _, outcome = _outcome("quantize", {"n": 1, "d": D}, {"compressor": {"name": "fp32"}, "vectors": 3})
    assert outcome.table["bytes"].tolist() == [_HEADER + _FLOAT32 * D] * 3


@_oracle("gradient descent")
def gradient_descent_takes_the_steps_that_it_takes_in_numpy() -> None:
    spec = {"solver": "gradient_descent", "start": "moments x 2", "tolerance": 1e-2, "step_size": 0.5, "iterations": 99}
    setting, outcome = _outcome("solve", {"n": N, "d": D}, spec)
    model = model_of(setting, SEED, 0)
    w_star = model.weights()
    x, y = model.rows(0, N, w_star)
    x = x.astype(np.float64)
    w = 4 / N * (y @ x)
    errors = [np.linalg.norm(w - w_star)]
    while errors[-STRIDE:][0] > 1e-2:  # the solver may look at its error as late as that
        products = x @ w
        w -= 0.5 / N * ((np.maximum(products, 0.0) - y) * (products > 0)) @ x
        errors.append(np.linalg.norm(w - w_star))
    taken = int(np.argmax(np.array(errors) <= 1e-2))
    (row,) = outcome.table.to_dict("records")
    assert row["start"] == pytest.approx(errors[0], rel=1e-10)
    assert taken <= row["iterations"] < taken + STRIDE
    assert row["relative_error"] == pytest.approx(errors[row["iterations"]], rel=1e-8)
    assert row["reached"]
    assert row["active"] == np.count_nonzero(x @ w_star > 0)


@_oracle("shipped rows")
def rows_are_sent_with_their_labels_and_their_number() -> None:
    setting, outcome = _outcome(
        "ship_rows", {"n": N, "d": D}, {"workers": RANKS, "compressor": {"name": "fp32"}, "rows": None}
    )
    model = model_of(setting, SEED, 0)
    active = [np.count_nonzero(model.rows(*part)[1] > 0) for part in shard_rows(N, RANKS)]
    payloads = [_HEADER + _FLOAT32 * rows + _HEADER + _FLOAT32 * rows * D for rows in active]
    (row,) = outcome.table.to_dict("records")
    assert row["rows"] == sum(active)
    assert row["payload_bytes"] == sum(payloads) + RANKS * struct.calcsize("<I")
    x, y = model.rows(0, N)
    weights = np.linalg.lstsq(x[y > 0].astype(np.float64), y[y > 0].astype(np.float32).astype(np.float64))[0]
    assert row["relative_error"] == pytest.approx(np.linalg.norm(weights - model.weights()), rel=1e-3)


@_oracle("a restart with error feedback")
def a_run_that_was_stopped_ends_with_the_weights_of_one_that_was_not() -> None:
    data, values = _data(), {"compressor": "sign", "error_feedback": True, "exchange": "all_reduce"}

    class StoppedError(Exception):
        pass

    def stop(news: Any) -> None:
        raise StoppedError

    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        checkpoint = Path(folder) / "run.checkpoint"
        spec = TrainingSpec(data, iterations=12, workers=RANKS, batch_size=N, step_size=0.5, seed=SEED, **values)
        with patch.context() as hurried, pytest.raises(StoppedError):
            hurried.setattr(loop, "_NEWS_SECONDS", -1.0)
            train(spec, progress=stop, checkpoint=checkpoint)
        assert checkpoint.exists()
        resumed = train(spec, checkpoint=checkpoint)
    assert resumed.weights.tobytes() == train(spec).weights.tobytes()
