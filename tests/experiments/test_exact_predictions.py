"""The experiments that test exact predictions: single steps, initial weights, quantizers."""

from __future__ import annotations

import math
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import pyplot as plt

from relufit import theory
from relufit.claims.statistics import Interval
from relufit.claims.verdict import Verdict, agrees
from relufit.compression import make_compressor
from relufit.config import load
from relufit.errors import ConfigError
from relufit.experiments import CATALOGUE, trials
from relufit.experiments.exact_tests import (
    family_level,
    mean_over,
    off_by,
    shared,
    standard_errors,
    vanishes,
    weakest,
    within,
)
from relufit.experiments.quantizer_variance import grid, predicted_variance, published_bound
from relufit.figures import FIGURES, style
from relufit.records import Record

ROOT = Path(__file__).parent.parent.parent
NAMES = ("one_step_contraction", "initial_error", "quantizer_variance")
SGD_CELL = {"dimension": 10, "mini_batch": 23}
SHARED = {"dimension": 20, "mini_batch": 160, "workers": 4, "levels": 1, "bucket_size": None}
BUCKETS = {"dimension": 100, "mini_batch": 40, "workers": 1, "levels": 4, "bucket_size": 64}
Results = dict[str, dict[str, Record]]


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    config = load([ROOT / "config.yaml"])
    steps = config["one_step_contraction"]
    steps["sgd"] |= {"steps": 800, "step_factors": [0.5, 1.5], "cells": [SGD_CELL]}
    steps["qsgd"] |= {"steps": 600, "cells": [SHARED, BUCKETS]}
    cells = [{"dimension": 300, "samples": n, "workers": k} for n, k in ((400, 1), (401, 4))]
    config["initial_error"] |= {"cells": cells, "trials": 40}
    config["quantizer_variance"] |= {"dimensions": [100, 300], "levels": [1, 16], "bucket_size": 64, "vectors": 300}
    return config


@pytest.fixture(scope="module")
def traces(config: dict[str, Any]) -> Results:
    return {name: trials.simulate(CATALOGUE[name].settings(config), config["seed"])[0].results for name in NAMES}


def judged(config: dict[str, Any], name: str, results: dict[str, Record]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return CATALOGUE[name].judge(config, results, {})


def verdicts(found: Any, word: str = "") -> list[str]:
    return [v.verdict for its in found.verdicts.values() for v in its if word in v.statistic + v.setting]


def changed(results: dict[str, Record], name: str, **columns: Any) -> dict[str, Record]:
    """Return results in which columns of one setting are what functions make of them."""
    table, about = results[name]
    table = table.assign(**{column: change(table[column]) for column, change in columns.items()})
    return {**results, name: Record(table, about)}


# Each test is at the level of its experiment, 1 % (single steps), 2 x 0.27 % and 30 x 6e-5; the seed is fixed.
@pytest.mark.parametrize(("name", "count"), [(NAMES[0], 4), (NAMES[1], 2), (NAMES[2], 20)])
def test_right_traces_are_confirmed(config: dict[str, Any], traces: Results, name: str, count: int) -> None:
    found = judged(config, name, traces[name])
    assert verdicts(found) == ["confirmed"] * count
    assert tuple(found.tables) == CATALOGUE[name].TABLES
    assert all(len(table) for table in found.tables.values())
    files = {setting.evidence for setting in CATALOGUE[name].settings(config)}
    assert {v.evidence for its in found.verdicts.values() for v in its} == files


@pytest.mark.parametrize("name", NAMES)
def test_settings_differ_in_name_and_stream_and_groups_have_one_procedure(config: dict[str, Any], name: str) -> None:
    settings = CATALOGUE[name].settings(config)
    assert len({setting.name for setting in settings}) == len({setting.stream for setting in settings}) == len(settings)
    assert len({(setting.group, setting.procedure) for setting in settings}) == len({s.group for s in settings})


def test_verdicts_on_sgd_and_on_qsgd_are_filed_under_their_claims(config: dict[str, Any], traces: Results) -> None:
    found = judged(config, NAMES[0], traces[NAMES[0]]).verdicts
    assert {topic: len(its) for topic, its in found.items()} == {"geometric rate": 2, "fast convergence": 2}
    assert {v.evidence.rsplit("/")[-1] for v in found["fast convergence"]} == {"qsgd.parquet"}
    # Four tests share 1 %.
    assert {v.confidence for its in found.values() for v in its} == {1 - 0.01 / 4}


def test_steps_half_as_large_again_are_refuted(config: dict[str, Any], traces: Results) -> None:
    experiment, longer = CATALOGUE[NAMES[0]], {}
    for setting in experiment.settings(config):
        spec = {**setting.spec, "step_size": 1.5 * setting.spec["step_size"]}
        longer[setting.name] = trials.simulate([_with(setting, spec)], config["seed"])[0].results[setting.name]
    assert verdicts(judged(config, NAMES[0], longer)) == ["refuted"] * 4


def _with(setting: Any, spec: dict[str, Any]) -> Any:
    return type(setting)(**{**setting.__dict__, "spec": spec})


def test_ranks_that_round_alike_are_refuted_where_their_gradients_are_alike(
    config: dict[str, Any], traces: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    from relufit import streams

    key = streams.key

    def alike(seed: int, *, rank: int = 0, iteration: int = 0, purpose: str = "dither") -> int:
        return key(seed, rank=0 if purpose == "dither" else rank, iteration=iteration, purpose=purpose)

    monkeypatch.setattr(streams, "key", alike)
    (setting,) = [s for s in CATALOGUE[NAMES[0]].settings(config) if "qsgd-d20" in s.name]
    wrong = {**traces[NAMES[0]], **trials.simulate([setting], config["seed"])[0].results}
    found = judged(config, NAMES[0], wrong)
    assert verdicts(found, "d = 20") == ["refuted"]
    assert verdicts(found, "d = 100") == ["confirmed"]


def test_a_bias_that_omega_hides_is_refuted(config: dict[str, Any], traces: Results) -> None:
    """A drift of half a root-mean-square error, with the squared error as it should be."""
    cell = next(cell for cell in grid(config[NAMES[2]]) if cell.kind == "l2")
    drift = 0.5 * math.sqrt(predicted_variance(cell.compressor, cell.dimension))
    wrong = changed(traces[NAMES[2]], cell.name, along=lambda values: values - drift)
    found = judged(config, NAMES[2], wrong)
    assert verdicts(found, "bias along v") == ["refuted", *["confirmed"] * 4]
    assert verdicts(found, "over omega") == ["confirmed"] * 5


def test_a_variance_that_exceeds_its_bound_is_refuted(config: dict[str, Any], traces: Results) -> None:
    cell = next(cell for cell in grid(config[NAMES[2]]) if cell.kind == "natural")
    wrong = changed(traces[NAMES[2]], cell.name, error=lambda values: 1.7 * values)
    found = judged(config, NAMES[2], wrong)
    assert verdicts(found, "natural") == ["refuted", "confirmed", "confirmed", "refuted"]


@pytest.mark.parametrize("factor", [0.7, 1.4])
def test_initial_weights_that_are_nearer_or_farther_than_due_are_refuted(
    config: dict[str, Any], traces: Results, factor: float
) -> None:
    name = CATALOGUE[NAMES[1]].settings(config)[1].name
    wrong = changed(traces[NAMES[1]], name, relative_error=lambda values: math.sqrt(factor) * values)
    assert verdicts(judged(config, NAMES[1], wrong)) == ["confirmed", "refuted"]


@pytest.mark.parametrize("rows", [0, 1, 12])
@pytest.mark.parametrize("name", NAMES)
def test_short_traces_leave_every_agreement_open(config: dict[str, Any], traces: Results, name: str, rows: int) -> None:
    short = {key: Record(its.table.head(rows), its.about) for key, its in traces[name].items()}
    found = judged(config, name, short)
    assert set(verdicts(found, "over omega") or verdicts(found)) == {"inconclusive"}
    assert "refuted" not in verdicts(found)


@pytest.mark.parametrize("value", [math.inf, 1e200])
@pytest.mark.parametrize(("name", "column"), zip(NAMES, ("factor", "relative_error", "error"), strict=True))
def test_steps_that_diverged_are_not_confirmed(
    config: dict[str, Any], traces: Results, name: str, column: str, value: float
) -> None:
    setting = CATALOGUE[name].settings(config)[0].name
    wrong = changed(traces[name], setting, **{column: lambda values: values.where(values.index > 0, value)})
    found = judged(config, name, wrong)
    assert verdicts(found).count("confirmed") < len(verdicts(found))


def test_ranks_with_unequal_batches_are_refused(config: dict[str, Any]) -> None:
    steps = config["one_step_contraction"]
    other = {**steps, "qsgd": {**steps["qsgd"], "cells": [BUCKETS, {**SHARED, "mini_batch": 161}]}}
    with pytest.raises(ConfigError, match=r"one_step_contraction\.qsgd\.cells\.1\.mini_batch"):
        CATALOGUE[NAMES[0]].settings({**config, "one_step_contraction": other})


@pytest.mark.parametrize(
    ("compressor", "d"),
    [
        ({"name": "qsgd", "levels": 3}, 70),
        ({"name": "qsgd", "levels": 3, "bucket_size": 32}, 70),
        ({"name": "qsgd", "levels": 2, "norm": "max", "bucket_size": 200}, 70),
        ({"name": "ternary", "bucket_size": 50}, 70),
        ({"name": "natural"}, 70),
    ],
)
def test_predictions_are_those_that_the_compressors_state(compressor: dict[str, Any], d: int) -> None:
    """Two ways to the same number: the compressor's own, which steps follow, and that of the judgement."""
    made = make_compressor(**compressor)
    assert predicted_variance(compressor, d) == pytest.approx(made.variance(d), rel=1e-12)
    assert published_bound(compressor, d) == made.variance_bound(d)


def test_the_prediction_of_buckets_weighs_them_by_their_length() -> None:
    omega = predicted_variance({"name": "qsgd", "levels": 2, "bucket_size": 40}, 100)
    by_hand = (80 * theory.qsgd_variance(40, 2) + 20 * theory.qsgd_variance(20, 2)) / 100
    assert omega == pytest.approx(by_hand, rel=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_the_figure_shows_every_prediction_and_names_its_axes(
    config: dict[str, Any], traces: Results, name: str
) -> None:
    tables = judged(config, name, traces[name]).tables
    with warnings.catch_warnings(), style.in_house():
        warnings.simplefilter("error")
        drawn = [tables[table.removeprefix(f"{name}.")] for table in FIGURES[name].tables]
        figure = import_module(f"relufit.figures.{name}").draw(drawn)
        figure.canvas.draw()
    assert all(axes.get_xlabel() for axes in figure.axes[-1:])
    assert figure.axes[0].get_ylabel()
    dashed = [line for axes in figure.axes for line in axes.get_lines() if line.get_linestyle() == "--"]
    curves = tables["predictions"].groupby([c for c in ("kind", "cell", "dimension") if c in tables["predictions"]])
    shown = [line.get_ydata().tolist() for line in dashed]
    expected = [list(curve["predicted"]) for key, curve in curves if key[0] not in ("ternary", "natural")]
    assert all(curve in shown for curve in expected)
    plt.close(figure)


def verdict(value: float, decided: str) -> Verdict:
    return Verdict("x", f"cell {value}", value, value - 1, value + 1, -1, 1, decided, 9, "e")


def test_the_weakest_is_refuted_before_inconclusive_before_farthest() -> None:
    cells = [verdict(0.1, "confirmed"), verdict(-0.3, "confirmed"), verdict(0.2, "inconclusive")]
    assert weakest(cells[:2], off_by(0.0)).setting == "cell -0.3, the weakest of 2"
    assert weakest(cells, off_by(0.0)).verdict == "inconclusive"
    assert weakest([*cells, verdict(0.0, "refuted")], off_by(0.0)).verdict == "refuted"
    assert weakest(cells[:1], off_by(0.0)) == cells[0]


def test_what_must_vanish_is_judged_around_zero() -> None:
    def at(mean: float, half: float) -> Verdict:
        interval = Interval(mean, mean - half, mean + half)
        return vanishes("x", "y", interval, resolution=0.1, trials=9, evidence="e", confidence=0.9)

    assert [at(0.01, 0.02).verdict, at(0.05, 0.02).verdict, at(0.05, 0.2).verdict] == [
        "confirmed",
        "refuted",
        "inconclusive",
    ]
    assert (at(0.01, 0.02).value, at(0.01, 0.02).least, at(0.01, 0.02).most) == (0.01, -0.1, 0.1)


def test_levels_of_tests() -> None:
    assert within(1.959963985) == pytest.approx(0.95, abs=1e-9)
    assert within(3) == pytest.approx(0.9973002, abs=1e-7)
    assert shared(0.01, 20) == pytest.approx(0.9995)
    assert family_level(0.9, 2) == pytest.approx(0.19)


def test_true_predictions_are_refuted_as_often_as_the_level_says() -> None:
    """2000 tests at 10 % of means of 50 exponential numbers; within 4 standard errors, a level of 6e-5."""
    draw = np.random.default_rng(8)
    found = [
        agrees("x", "y", mean_over(sample, 2.0, 0.9), resolution=9, trials=50, evidence="e", confidence=0.9).verdict
        for sample in draw.exponential(2.0, (2000, 50))
    ]
    assert 0.10 - 0.027 < found.count("refuted") / 2000 < 0.10 + 0.04


def test_z_is_the_distance_in_standard_errors_and_undefined_without_spread() -> None:
    assert standard_errors([1.0, 2.0, 3.0], 1.0) == pytest.approx(math.sqrt(3))
    assert all(math.isnan(standard_errors(values, 1.0)) for values in ([], [1.0], [2.0, 2.0], [1.0, math.inf]))
    assert np.isnan(mean_over([], 1.0)).all()
