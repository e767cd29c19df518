"""What a specification accepts, and the plan that follows from it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from relufit import planted, theory
from relufit.compression import Compressor, make_compressor
from relufit.compression.cast import Float16
from relufit.compression.natural import Natural
from relufit.compression.qsgd import QSGD, Ternary
from relufit.errors import ConfigError
from relufit.planted import PlantedModel
from relufit.planted.dataset import open_rows
from relufit.training import TrainingSpec
from relufit.training.spec import Plan, make_plan

MODEL = PlantedModel(100, 20, 0)


def plan(**values: Any) -> Plan:
    spec = TrainingSpec(**{"dataset": MODEL, **values})
    return make_plan(spec, open_rows(spec.dataset))


@pytest.mark.parametrize("compressor", [QSGD(4), {"name": "qsgd", "levels": 4}])
def test_a_compressor_is_given_as_it_is_or_by_name_and_parameters(compressor: object) -> None:
    assert TrainingSpec(MODEL, compressor).compressor == QSGD(4)  # type: ignore[arg-type]
    assert TrainingSpec(MODEL, "fp32").compressor == make_compressor("fp32")
    assert TrainingSpec(MODEL).compressor == make_compressor("fp64")


def test_a_dict_of_a_compressor_is_left_as_it_is() -> None:
    given = {"name": "qsgd", "levels": 4}
    TrainingSpec(MODEL, given)
    assert given == {"name": "qsgd", "levels": 4}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("workers", [0, -1, 1.0, "2", True, None]),
        ("batch_size", [0, 1.5, "8", True]),
        ("iterations", [-1, 2.0, None]),
        ("record_every", [0, 0.5]),
        ("exchange", ["ring", "", None, ["relay"]]),
        ("sampling", ["without_replacement"]),
        ("initial_weights", ["Moments", "largest row", None]),
        ("seed", [0.5, "0", 2**63, None]),
        ("tolerance", [0, -1e-3, math.inf, math.nan, "1e-3", True]),
        ("step_size", [0, -0.1, math.inf, math.nan, "best", None, True]),
        ("compressor", ["zip", {"name": "zip"}, {}, {"levels": 4}, {"name": "fp64", "levels": 4}, None, 4]),
    ],
)
def test_an_impossible_value_is_refused_by_name(name: str, values: list[object]) -> None:
    for value in values:
        with pytest.raises(ConfigError) as caught:
            TrainingSpec(**{"dataset": MODEL, "workers": 1, "batch_size": 8, name: value})  # type: ignore[arg-type]
        assert caught.value.where == name


def test_fewer_samples_than_ranks_are_refused() -> None:
    with pytest.raises(ConfigError, match="batch_size"):
        TrainingSpec(MODEL, workers=5, batch_size=4)
    assert TrainingSpec(MODEL, workers=5, batch_size=5).workers == 5


def test_more_ranks_than_rows_are_refused() -> None:
    with pytest.raises(ConfigError, match="workers"):
        plan(workers=101, batch_size=101)


@pytest.mark.parametrize(("workers", "batch_size"), [(1, 1), (1, 7), (3, 7), (3, 8), (3, 9), (7, 7), (20, 64)])
def test_the_ranks_share_the_batch_and_the_first_take_what_is_left(workers: int, batch_size: int) -> None:
    made = plan(workers=workers, batch_size=batch_size)
    shares = [made.batch(rank) for rank in range(workers)]
    assert sum(shares) == batch_size
    assert shares == sorted(shares, reverse=True)
    assert shares[0] - shares[-1] <= 1


def test_the_plan_has_the_sizes_of_the_data() -> None:
    made = plan()
    assert (made.n, made.d) == (100, 20)


@pytest.mark.parametrize("workers", [1, 2, 3, 5])
@pytest.mark.parametrize("compressor", ["fp64", {"name": "qsgd", "levels": 4}])
def test_the_optimal_step_is_that_of_theory_with_the_omega_of_the_compressor(
    workers: int, compressor: str | dict[str, Any]
) -> None:
    made = plan(workers=workers, batch_size=16, compressor=compressor)
    omega = 0.0 if compressor == "fp64" else theory.qsgd_variance(20, 4)
    assert made.omega == pytest.approx(omega, rel=1e-14)
    assert made.step == theory.optimal_step(20, 16, omega=made.omega, workers=workers)


def test_a_step_that_is_given_is_taken_as_it_is() -> None:
    assert plan(step_size=0.3).step == 0.3
    assert plan(step_size=2).step == 2.0


class _NoOmega(QSGD):
    def variance(self, size: int) -> None:  # type: ignore[override]
        return None


def test_an_optimal_step_needs_an_omega_and_a_given_one_does_not() -> None:
    with pytest.raises(ConfigError, match="the compressor is biased"):
        plan(compressor=_NoOmega(4))
    assert plan(compressor=_NoOmega(4), step_size=0.5).step == 0.5


def test_a_batch_without_replacement_has_no_more_samples_than_a_rank_has_rows() -> None:
    # Ten ranks have 10 rows each; seven have 15, the last of them 10.
    assert plan(workers=10, batch_size=100, sampling="reshuffled").batch(0) == 10
    with pytest.raises(ConfigError, match="batch_size"):
        plan(workers=10, batch_size=101, sampling="reshuffled")
    with pytest.raises(ConfigError, match="batch_size"):
        plan(workers=7, batch_size=71, sampling="reshuffled")
    assert plan(workers=10, batch_size=1000).batch(0) == 100


def test_fresh_samples_need_to_know_the_model(tmp_path: Path) -> None:
    assert plan(sampling="fresh").n == 100
    with pytest.raises(ConfigError, match="fresh"):
        plan(sampling="fresh", dataset=planted.generate(100, 20, 0))


def test_the_description_makes_the_same_specification_again() -> None:
    spec = TrainingSpec(
        MODEL,
        QSGD(7, bucket_size=5),
        workers=3,
        batch_size=12,
        step_size=0.25,
        iterations=9,
        tolerance=1e-3,
        sampling="reshuffled",
        seed=-4,
        record_every=2,
        initial_weights="random x 10",
    )
    described = json.loads(json.dumps(spec.describe()))
    assert "dataset" not in described
    coded = {"coding": "packed", "bucket_size": 5}
    assert described["compressor"] == {"name": "qsgd", "levels": 7, "norm": "l2", **coded}
    assert TrainingSpec(MODEL, **described) == spec


@pytest.mark.parametrize("compressor", [Float16(), Ternary("elias", 9), Natural("auto"), QSGD(3, "rans", norm="max")])
def test_every_compressor_is_described_by_what_makes_it(compressor: Compressor) -> None:
    described = compressor.description
    assert make_compressor(described.pop("name"), **described) == compressor
