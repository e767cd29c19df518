"""The serial engine against the algorithm in plain numpy, and what a trace tells of a run."""

from __future__ import annotations

import builtins
import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from relufit import planted, streams, theory
from relufit.compression import Compressor, make_compressor
from relufit.errors import ConfigError, DataError, PayloadError
from relufit.exchange import EXCHANGES
from relufit.planted import PlantedData, PlantedModel, dataset
from relufit.planted.dataset import Shard, shard_rows
from relufit.planted.starts import STARTS
from relufit.training import Progress, Trace, TrainingSpec, loop, train
from relufit.training.master import Master
from relufit.training.rank import Rank
from relufit.training.sampling import SAMPLINGS
from relufit.training.spec import make_plan

Array = NDArray[np.float64]
PLAIN = sum
MODEL = PlantedModel(210, 12, 3, noise_std=0.05)
DATA = planted.generate(210, 12, 3, noise_std=0.05)
QSGD = {"name": "qsgd", "levels": 4}


def run(data: str | Path | PlantedModel | PlantedData = MODEL, **values: Any) -> Trace:
    return train(TrainingSpec(data, **{"batch_size": 20, "iterations": 30, **values}))


def by_hand(
    workers: int, batch_size: int, step: float, iterations: int, compressor: Compressor, sampling: str, seed: int
) -> tuple[Array, list[float], list[float], list[int]]:
    """Algorithm and bookkeeping in plain numpy: weights, relative errors, losses of the batches, payload bytes."""
    x, y, w_star = DATA.x.astype(np.float64), DATA.y, DATA.w_star
    w = 2 * y @ x / len(y)
    parts = shard_rows(len(y), workers)
    shares = [len(part) for part in np.array_split(np.arange(batch_size), workers)]
    samplers = [
        SAMPLINGS[sampling](seed, rank, shares[rank], Shard(DATA.x[slice(*part)], y[slice(*part)]), MODEL, w_star)
        for rank, part in enumerate(parts)
    ]
    errors, losses, uplink = [np.linalg.norm(w - w_star)], [math.nan], [workers * (4 + 8 * len(w))]
    for iteration in range(iterations):
        total, squares, sent = np.zeros_like(w), 0.0, 0
        for rank, sampler in enumerate(samplers):
            rows_x, rows_y, taken = sampler.draw(iteration)
            batch_x, batch_y = rows_x[taken].astype(np.float64), rows_y[taken]
            products = batch_x @ w
            residuals = np.maximum(products, 0) - batch_y
            gradient = (residuals * (products > 0)) @ batch_x / batch_size
            payload = compressor.encode(gradient, streams.key(seed, rank=rank, iteration=iteration))
            total += compressor.decode(payload, len(w))
            squares += np.sum(residuals**2)
            sent += len(payload)
        w = w - step * total
        errors.append(np.linalg.norm(w - w_star))
        losses.append(squares / (2 * batch_size))
        uplink.append(uplink[-1] + sent)
    return w, errors, losses, uplink


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("compressor", ["fp64", "fp32", QSGD, {"name": "qsgd", "levels": 3, "bucket_size": 5}])
@pytest.mark.parametrize("workers", [1, 3, 5])
def test_a_run_is_that_of_the_algorithm_in_plain_numpy(
    workers: int, compressor: str | dict[str, Any], sampling: str
) -> None:
    trace = run(workers=workers, compressor=compressor, sampling=sampling, step_size=0.7, seed=8)
    name, parameters = (compressor, {}) if isinstance(compressor, str) else (compressor["name"], dict(compressor))
    parameters.pop("name", None)
    made = make_compressor(name, **parameters)
    weights, errors, losses, uplink = by_hand(workers, 20, 0.7, 30, made, sampling, 8)
    # fp32 may round a last bit differently where the gradients differ in theirs.
    tolerance = 1e-6 if compressor == "fp32" else 1e-11
    np.testing.assert_allclose(trace.weights, weights, rtol=0, atol=tolerance)
    np.testing.assert_allclose(trace.table["relative_error"], errors, rtol=0, atol=tolerance)
    np.testing.assert_allclose(trace.table["loss"], losses, rtol=0, atol=tolerance)
    assert trace.table["uplink_bytes"].tolist() == uplink
    assert trace.table["downlink_bytes"].tolist() == [t * workers * (4 + 8 * 12) for t in range(31)]
    assert trace.table["iteration"].tolist() == list(range(31))
    assert trace.received is None


def test_all_samples_of_every_rank_are_the_whole_gradient_descent() -> None:
    trace = run(workers=7, batch_size=210, sampling="reshuffled", step_size=0.5, iterations=5)
    w = planted.initial_weights(DATA.x, DATA.y)
    for _ in range(5):
        w = w - 0.5 * planted.gradient(w, DATA.x, DATA.y)
    np.testing.assert_allclose(trace.weights, w, rtol=0, atol=1e-13)


@pytest.mark.parametrize("compressor", ["fp64", QSGD])
def test_the_same_specification_gives_the_same_bits(compressor: str | dict[str, Any]) -> None:
    one, other = run(workers=3, compressor=compressor), run(workers=3, compressor=compressor)
    assert one.weights.tobytes() == other.weights.tobytes()
    assert one.table.equals(other.table)
    assert one.summary == other.summary
    assert run(workers=3, compressor=compressor, seed=1).weights.tobytes() != one.weights.tobytes()


def test_a_path_a_recipe_and_arrays_give_the_same_bits(tmp_path: Path) -> None:
    dataset.write(MODEL, tmp_path / "two", shards=2)
    dataset.write(MODEL, tmp_path / "three", shards=3)
    recipe = run(MODEL, workers=3, compressor=QSGD)
    for other in (tmp_path / "two", str(tmp_path / "three"), DATA):
        trace = run(other, workers=3, compressor=QSGD)
        assert trace.weights.tobytes() == recipe.weights.tobytes()
        assert trace.table.equals(recipe.table)
        assert trace.summary == recipe.summary


def test_a_run_without_noise_converges_to_the_planted_weights() -> None:
    for compressor in ("fp64", QSGD):
        trace = run(PlantedModel(600, 12, 1), workers=2, compressor=compressor, iterations=1000, tolerance=1e-9)
        assert trace.outcome == "converged"
        assert planted.relative_error(trace.weights, PlantedModel(600, 12, 1).weights()) <= 1e-9


def test_a_run_stops_at_the_first_iteration_within_the_tolerance() -> None:
    model = PlantedModel(600, 12, 1)
    whole = run(model, iterations=400)
    stopped = run(model, iterations=400, tolerance=1e-4)
    first = int(np.flatnonzero(whole.table["relative_error"] <= 1e-4)[0])
    assert 0 < first < 400
    assert stopped.summary["iterations"] == first
    assert stopped.table.equals(whole.table.iloc[: first + 1])
    assert (stopped.outcome, whole.outcome) == ("converged", "budget spent")


def test_initial_weights_within_the_tolerance_need_no_iteration() -> None:
    trace = run(tolerance=10.0)
    assert trace.outcome == "converged"
    assert trace.table["iteration"].tolist() == [0]
    np.testing.assert_allclose(trace.weights, 2 * DATA.y @ DATA.x.astype(np.float64) / 210, rtol=0, atol=1e-14)


@pytest.mark.parametrize("start", STARTS)
def test_a_run_starts_where_it_is_told(start: str) -> None:
    trace = run(iterations=0, initial_weights=start, workers=3, seed=8)
    draw = streams.generator(streams.key(8, purpose="start"))
    expected = STARTS[start](planted.initial_weights(DATA.x, DATA.y), DATA.w_star, draw)
    np.testing.assert_allclose(trace.weights, expected, rtol=1e-12, atol=1e-14)
    assert trace.table["relative_error"][0] == pytest.approx(np.linalg.norm(expected - DATA.w_star), abs=1e-12)
    assert trace.table["uplink_bytes"][0] == (3 * (4 + 8 * 12) if "moments" in start else 0)


def test_moments_are_refused_where_the_start_does_not_depend_on_them() -> None:
    rows = dataset.open_rows(DATA)
    master = Master(make_plan(TrainingSpec(DATA, initial_weights="random"), rows), DATA.w_star)
    master.add_moments(b"")
    with pytest.raises(PayloadError, match="moments"):
        master.add_moments(bytes(4 + 8 * 12))


def test_random_starts_follow_the_seed_of_the_run() -> None:
    one, same, other = (run(iterations=0, initial_weights="random", seed=seed).weights for seed in (1, 1, 2))
    assert one.tobytes() == same.tobytes() != other.tobytes()


def test_a_budget_of_nothing_gives_the_initial_weights() -> None:
    trace = run(iterations=0, workers=4)
    assert (trace.outcome, trace.summary["iterations"], len(trace.table)) == ("budget spent", 0, 1)
    assert trace.table["uplink_bytes"].tolist() == [4 * (4 + 8 * 12)]


@pytest.mark.parametrize("step_size", [20.0, 1e10, 1e300])
@pytest.mark.parametrize("compressor", ["fp64", QSGD, "fp16"])
@pytest.mark.filterwarnings("error")
def test_a_step_that_is_too_long_is_an_outcome_and_no_error(compressor: str | dict[str, Any], step_size: float) -> None:
    trace = run(compressor=compressor, step_size=step_size, iterations=1000, record_every=1000)
    assert trace.outcome == "diverged"
    assert trace.summary["iterations"] < 1000
    errors = trace.table["relative_error"]
    assert errors.iloc[-1] > 1e3
    assert trace.table["iteration"].iloc[-1] == trace.summary["iterations"]


@pytest.mark.parametrize("every", [1, 4, 7, 29, 30, 31, 1000])
def test_rows_are_recorded_every_so_often_and_at_both_ends(every: int) -> None:
    whole, trace = run(compressor=QSGD), run(compressor=QSGD, record_every=every)
    kept = sorted({0, 30, *range(0, 31, every)})
    assert trace.table["iteration"].tolist() == kept
    assert trace.table.equals(whole.table.iloc[kept].reset_index(drop=True))
    assert trace.weights.tobytes() == whole.weights.tobytes()
    assert trace.timing["iteration"].tolist() == kept


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("compressor", ["fp64", QSGD])
def test_the_optimal_step_is_that_of_theory_and_is_recorded(workers: int, compressor: str | dict[str, Any]) -> None:
    omega = 0.0 if compressor == "fp64" else theory.qsgd_variance(12, 4)
    step = theory.optimal_step(12, 20, omega=omega, workers=workers)
    optimal = run(workers=workers, compressor=compressor)
    given = run(workers=workers, compressor=compressor, step_size=optimal.summary["step_size"])
    assert optimal.summary["step_size"] == pytest.approx(step, rel=1e-14)
    assert optimal.summary["omega"] == pytest.approx(omega, rel=1e-14)
    assert optimal.summary["step_rule"].startswith("optimal")
    assert given.summary["step_rule"] == "given"
    assert given.weights.tobytes() == optimal.weights.tobytes()


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({}, "optimal, omega = 0"),
        ({"gradient": "kaczmarz"}, "optimal, omega = 0, gradient kaczmarz"),
        ({"delay": 2}, "optimal, omega = 0, delay 2"),
        ({"local_steps": 3}, "optimal, omega = 0, 3 local steps"),
        ({"compressor": "sign", "error_feedback": True}, "optimal with error feedback"),
    ],
)
def test_the_rule_of_the_step_names_what_it_depends_on(options: dict[str, Any], rule: str) -> None:
    assert run(workers=2, **{"compressor": "fp64", **options}).summary["step_rule"] == rule


def test_the_summary_is_json_and_tells_what_ran() -> None:
    trace = run(workers=3, compressor=QSGD, seed=5)
    summary = json.loads(json.dumps(trace.summary, allow_nan=False))
    assert (summary["n"], summary["d"], summary["iterations"]) == (210, 12, 30)
    assert summary["weights_sha256"] == hashlib.sha256(trace.weights.tobytes()).hexdigest()
    again = run(**{key: value for key, value in summary["spec"].items() if key != "dataset"})
    assert again.weights.tobytes() == trace.weights.tobytes()


def test_times_are_in_a_table_of_their_own() -> None:
    trace = run(workers=2, compressor=QSGD)
    assert not set(trace.table) & set(trace.timing) - {"iteration"}
    seconds = trace.timing.drop(columns="iteration").to_numpy()
    assert np.isfinite(seconds).all()
    assert (seconds >= 0).all()
    assert (np.diff(trace.timing["elapsed"]) >= 0).all()
    assert (trace.timing[["compute", "encode", "decode", "update"]].iloc[1:] > 0).all(axis=None)


def test_progress_is_told_what_the_trace_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_NEWS_SECONDS", -1.0)
    reports: list[Progress] = []
    trace = train(TrainingSpec(MODEL, batch_size=20, iterations=10), progress=reports.append)
    rows = trace.table[["iteration", "relative_error", "uplink_bytes", "downlink_bytes"]].iloc[1:]
    assert [news[:4] for news in reports] == [tuple(row) for row in rows.itertuples(index=False, name=None)]


@pytest.mark.parametrize("compressor", ["fp64", "fp16", {"name": "qsgd", "levels": 4}])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nothing_is_sent_for_weights_that_are_not_finite(compressor: Any, bad: float) -> None:
    spec = TrainingSpec(DATA, batch_size=20, iterations=10, compressor=compressor)
    rows = dataset.open_rows(spec.dataset)
    rank, weights = Rank(make_plan(spec, rows), 0, rows), DATA.w_star.copy()
    rank.step(0, weights)
    weights[3] = bad
    with pytest.raises(PayloadError, match="NaN or infinity"):
        rank.step(0, weights)


def test_data_are_checked_before_a_run_begins(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no data set"):
        run(tmp_path / "none")
    with pytest.raises(ConfigError, match="workers"):
        run(workers=300, batch_size=300)
    x, y, w_star = DATA
    with pytest.raises(DataError, match="zero"):
        run(PlantedData(x, y, 0 * w_star))


def test_damage_to_one_shard_is_told_of_with_its_file(tmp_path: Path) -> None:
    dataset.write(MODEL, tmp_path / "data", shards=3)
    broken = tmp_path / "data" / "x" / "c" / "1" / "0"
    broken.unlink()
    with pytest.raises(DataError) as caught:
        run(tmp_path / "data", workers=3)
    assert caught.value.where == str(broken)


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_no_bit_depends_on_how_the_built_in_sum_rounds(exchange: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # From Python 3.12 on it compensates for rounding.
    def compensated(values: Any, start: Any = 0) -> Any:
        values = list(values)
        if values and all(isinstance(value, float) for value in values):
            return math.fsum([start, *values])
        return PLAIN(values, start)

    values = {"workers": 5, "exchange": exchange, "compressor": {**QSGD, "bucket_size": 5}}
    expected = run(**values)
    monkeypatch.setattr(builtins, "sum", compensated)
    assert run(**values).table.equals(expected.table)
