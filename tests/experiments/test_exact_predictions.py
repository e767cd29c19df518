"""The experiments that test exact predictions: single steps, initial weights, quantizers."""

from __future__ import annotations

import math
import re
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import pyplot as plt

from relufit import theory
from relufit.claims.statistics import Interval
from relufit.claims.trace_files import Record
from relufit.claims.verdict import Verdict, agrees
from relufit.compression import make_compressor
from relufit.errors import ConfigError
from relufit.experiments import CATALOGUE
from relufit.experiments.configuration import check, load
from relufit.experiments.framework import trials
from relufit.experiments.framework.exact_tests import (
    FAMILIES,
    RUN_LEVEL,
    level_note,
    mean_over,
    off_by,
    shared,
    standard_errors,
    vanishes,
    weakest,
)
from relufit.experiments.quantizer_variance.experiment import grid, predicted_variance, published_bound
from relufit.figures import FIGURES, style

ROOT = Path(__file__).parent.parent.parent
NAMES = ("one_step_contraction", "initial_error", "quantizer_variance")
SGD_CELL = {"dimension": 10, "mini_batch": 23}
SHARED = {"dimension": 20, "mini_batch": 160, "workers": 4, "levels": 1, "bucket_size": None}
BUCKETS = {"dimension": 100, "mini_batch": 40, "workers": 1, "levels": 4, "bucket_size": 64}
#: The sum is encoded again: in parts, and as a whole.
IN_PARTS = {"dimension": 200, "mini_batch": 160, "workers": 2, "levels": 2, "bucket_size": None}
AGAIN = [{**IN_PARTS, "exchange": "all_reduce"}, {**IN_PARTS, "exchange": "requantize"}]
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


def verdicts(judgement: Any, word: str = "") -> list[str]:
    return [
        v.verdict
        for topic_verdicts in judgement.verdicts.values()
        for v in topic_verdicts
        if word in v.statistic + v.setting
    ]


def changed(results: dict[str, Record], name: str, **columns: Any) -> dict[str, Record]:
    """Return results in which columns of one setting are what functions make of them."""
    table, about = results[name]
    table = table.assign(**{column: change(table[column]) for column, change in columns.items()})
    return {**results, name: Record(table, about)}


# All tests of an experiment together are at the level .125 %; the seed is fixed.
@pytest.mark.parametrize(("name", "count"), [(NAMES[0], 4), (NAMES[1], 2), (NAMES[2], 15)])
def test_right_traces_are_confirmed(config: dict[str, Any], traces: Results, name: str, count: int) -> None:
    judgement = judged(config, name, traces[name])
    decided = [verdict for verdict in verdicts(judgement) if verdict != "described"]
    assert decided == ["confirmed"] * count
    assert tuple(judgement.tables) == CATALOGUE[name].TABLES
    assert all(len(table) for table in judgement.tables.values())
    files = {setting.evidence for setting in CATALOGUE[name].settings(config)}
    assert {v.evidence for topic_verdicts in judgement.verdicts.values() for v in topic_verdicts} == files


@pytest.mark.parametrize("name", NAMES)
def test_settings_differ_in_name_and_stream_and_groups_have_one_procedure(config: dict[str, Any], name: str) -> None:
    settings = CATALOGUE[name].settings(config)
    assert len({setting.name for setting in settings}) == len({setting.stream for setting in settings}) == len(settings)
    assert len({(setting.group, setting.procedure) for setting in settings}) == len({s.group for s in settings})


def test_verdicts_on_sgd_and_on_qsgd_are_filed_under_their_claims(config: dict[str, Any], traces: Results) -> None:
    by_topic = judged(config, NAMES[0], traces[NAMES[0]]).verdicts
    assert {topic: len(topic_verdicts) for topic, topic_verdicts in by_topic.items()} == {
        "geometric rate": 2,
        "fast convergence": 2,
    }
    assert {v.evidence.rsplit("/")[-1] for v in by_topic["fast convergence"]} == {"qsgd.parquet"}
    # Four tests share what an experiment has of the level of a run.
    assert {v.confidence for topic_verdicts in by_topic.values() for v in topic_verdicts} == {1 - 0.01 / 8 / 4}


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
    judgement = judged(config, NAMES[0], wrong)
    assert verdicts(judgement, "d = 20") == ["refuted"]
    assert verdicts(judgement, "d = 100") == ["confirmed"]


@pytest.fixture(scope="module")
def again(config: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Record]]:
    """A configuration whose cells of QSGD encode the sum again, and its traces."""
    steps = config["one_step_contraction"]
    qsgd = {**steps["qsgd"], "steps": 2500, "cells": AGAIN}
    config = {**config, "one_step_contraction": {"sgd": {**steps["sgd"], "steps": 2}, "qsgd": qsgd}}
    return config, trials.simulate(CATALOGUE[NAMES[0]].settings(config), config["seed"])[0].results


def test_sums_that_are_encoded_again_take_off_what_their_law_predicts(
    again: tuple[dict[str, Any], dict[str, Record]],
) -> None:
    config, results = again
    assert verdicts(judged(config, NAMES[0], results), "all_reduce") == ["confirmed"]
    assert verdicts(judged(config, NAMES[0], results), "requantize") == ["confirmed"]


def test_the_variance_of_a_vector_of_any_direction_is_refuted_for_the_sum(
    again: tuple[dict[str, Any], dict[str, Record]],
) -> None:
    config, results = again
    steps = {setting.name: setting.spec["step_size"] for setting in CATALOGUE[NAMES[0]].settings(config)}
    experiment = import_module("relufit.experiments.one_step_contraction.experiment")
    cells = [cell for cell in experiment.cells(config[NAMES[0]]) if cell.sum_omega]
    assert len(cells) == 2
    for cell in cells:
        omega = theory.qsgd_variance(cell.dimension // (2 if cell.exchange == "all_reduce" else 1), 2)
        (name,) = [name for name in steps if name.startswith(f"{cell.name}-")]
        isotropic = 1 - theory.contraction(
            cell.dimension, cell.mini_batch, steps[name], omega=omega, workers=2, sum_omega=omega
        )
        taken = 1 - results[name].table["factor"].to_numpy()
        interval = mean_over(taken, cell.decrease(steps[name]), shared(4))
        assert not interval.low <= isotropic / cell.decrease(steps[name]) <= interval.high


def test_buckets_of_a_sum_that_is_encoded_again_are_refused(config: dict[str, Any]) -> None:
    steps = config["one_step_contraction"]
    other = {**steps, "qsgd": {**steps["qsgd"], "cells": [{**AGAIN[0], "bucket_size": 64}]}}
    with pytest.raises(ConfigError, match=r"one_step_contraction\.qsgd\.cells\.0\.bucket_size"):
        check({**config, "one_step_contraction": other})


def test_a_bias_that_omega_hides_is_refuted(config: dict[str, Any], traces: Results) -> None:
    """A drift of half a root-mean-square error, with the squared error as it should be."""
    cell = next(cell for cell in grid(config[NAMES[2]]) if cell.kind == "l2")
    drift = 0.5 * math.sqrt(predicted_variance(cell.compressor, cell.dimension))
    wrong = changed(traces[NAMES[2]], cell.name, along=lambda values: values - drift)
    judgement = judged(config, NAMES[2], wrong)
    assert verdicts(judgement, "bias along v") == ["refuted", *["confirmed"] * 4]
    assert verdicts(judgement, "over omega") == ["confirmed"] * 5


def test_a_variance_that_exceeds_its_bound_is_refuted_by_the_prediction(
    config: dict[str, Any], traces: Results
) -> None:
    cell = next(cell for cell in grid(config[NAMES[2]]) if cell.kind == "natural")
    wrong = changed(traces[NAMES[2]], cell.name, error=lambda values: 1.7 * values)
    judgement = judged(config, NAMES[2], wrong)
    assert verdicts(judgement, "natural") == ["refuted", "confirmed", "confirmed", "described"]
    (bound,) = [
        v
        for topic_verdicts in judgement.verdicts.values()
        for v in topic_verdicts
        if "bound" in v.statistic and "natural" in v.setting
    ]
    assert bound.value > 1


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
    short = {key: Record(record.table.head(rows), record.about) for key, record in traces[name].items()}
    judgement = judged(config, name, short)
    assert set(verdicts(judgement, "over omega") or verdicts(judgement)) - {"described"} == {"inconclusive"}
    assert "refuted" not in verdicts(judgement)


@pytest.mark.parametrize("value", [math.inf, 1e200])
@pytest.mark.parametrize(("name", "column"), zip(NAMES, ("factor", "relative_error", "error"), strict=True))
def test_steps_that_diverged_are_not_confirmed(
    config: dict[str, Any], traces: Results, name: str, column: str, value: float
) -> None:
    setting = CATALOGUE[name].settings(config)[0].name
    wrong = changed(traces[name], setting, **{column: lambda values: values.where(values.index > 0, value)})
    judgement = judged(config, name, wrong)
    assert verdicts(judgement).count("confirmed") < len(verdicts(judgement))


def test_ranks_with_unequal_batches_are_refused(config: dict[str, Any]) -> None:
    steps = config["one_step_contraction"]
    other = {**steps, "qsgd": {**steps["qsgd"], "cells": [BUCKETS, {**SHARED, "mini_batch": 161}]}}
    with pytest.raises(ConfigError, match=r"one_step_contraction\.qsgd\.cells\.1\.mini_batch"):
        check({**config, "one_step_contraction": other})


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
        figure.draw_without_rendering()
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
    assert FAMILIES * 20 * (1 - shared(20)) == pytest.approx(RUN_LEVEL)
    assert level_note(20) == (
        "20 tests at 6.3e-05 each: at most 0.125 % that any refutes what is true, and 1 % for all exact tests of a run."
    )


def test_no_more_experiments_have_exact_tests_than_share_the_level_of_a_run() -> None:
    folder = ROOT / "src/relufit/experiments"
    families = [path.stem for path in folder.glob("*.py") if re.search(r"\bshared\(", path.read_text())]
    assert len(set(families) - {"exact_tests"}) <= FAMILIES, families


def test_true_predictions_are_refuted_as_often_as_the_level_says() -> None:
    """2000 tests at 10 % of means of 50 exponential numbers; within 4 standard errors, a level of 6e-5."""
    draw = np.random.default_rng(8)
    outcomes = [
        agrees("x", "y", mean_over(sample, 2.0, 0.9), resolution=9, trials=50, evidence="e", confidence=0.9).verdict
        for sample in draw.exponential(2.0, (2000, 50))
    ]
    assert 0.10 - 0.027 < outcomes.count("refuted") / 2000 < 0.10 + 0.04


def test_z_is_the_distance_in_standard_errors_and_undefined_without_spread() -> None:
    assert standard_errors([1.0, 2.0, 3.0], 1.0) == pytest.approx(math.sqrt(3))
    assert all(math.isnan(standard_errors(values, 1.0)) for values in ([], [1.0], [2.0, 2.0], [1.0, math.inf]))
    assert np.isnan(mean_over([], 1.0)).all()
