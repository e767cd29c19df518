"""Starts of growing norm: real traces near n = 2d, and what made-up successes and failures make of the verdicts."""

from __future__ import annotations

import math
import warnings
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy

from relufit import solvers, streams
from relufit.claims.abstract import CLAIMS, FINDINGS
from relufit.claims.trace_files import Record
from relufit.errors import ConfigError
from relufit.experiments.configuration import check, load
from relufit.experiments.framework import trials
from relufit.experiments.framework.base import Judgement, Setting
from relufit.experiments.framework.exact_tests import mcnemar
from relufit.experiments.framework.procedures import model_of
from relufit.experiments.initialization_scale.experiment import EQUAL, FAR, MOMENTS, STARTS, TOPIC, InitializationScale
from relufit.figures import initialization_scale, style
from relufit.planted import generate, gradient, loss, relative_error
from relufit.solvers.gradient_descent import gradient_descent
from relufit.training import TrainingSpec

ROOT = Path(__file__).parent.parent.parent
EXPERIMENT = InitializationScale()
METHODS = ("gradient_descent", "sgd", "qsgd")
TRIALS = 40


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    config = load([ROOT / "config.yaml"])
    section = config["initialization_scale"]
    section |= {"dimension": 20, "mini_batch": 20}
    section["gradient_descent"] |= {"ratios": [2.5, 5], "iterations": 4000, "trials": TRIALS}
    section["sgd"] |= {"ratios": [5], "iterations": 2000, "trials": 20}
    section["qsgd"] |= {"ratios": [5], "levels": 4, "iterations": 2000, "trials": 20}
    return config


@pytest.fixture(scope="module")
def traces(config: dict[str, Any]) -> dict[str, Record]:
    return trials.simulate(EXPERIMENT.settings(config), config["seed"])[0].results


def made(config: dict[str, Any], failing: dict[str, set[int]]) -> Judgement:
    """Return the judgement of traces in which a start fails in some trials at n/d = 2.5, and nowhere else."""

    def record(setting: Setting) -> Record:
        start = setting.spec["start" if setting.procedure == "solve" else "initial_weights"]
        near = setting.data["n"] < 3 * setting.data["d"]
        away = [near and trial in failing.get(start, ()) for trial in range(setting.trials)]
        columns = {"trial": range(setting.trials), "relative_error": np.where(away, 3.0, 5e-4)}
        return Record(pd.DataFrame({**columns, "iterations": 100}), {})

    return EXPERIMENT.judge(config, {setting.name: record(setting) for setting in EXPERIMENT.settings(config)}, {})


def verdict_of(judged: Judgement, start: str, ratio: float = 2.5) -> str:
    (verdict,) = {
        v.verdict for v in judged.verdicts[TOPIC] if v.setting == f"gradient descent, {start}, n/d = {ratio:g}"
    }
    return verdict


def test_all_starts_and_methods_see_the_same_data_and_different_ratios_other_data(config: dict[str, Any]) -> None:
    settings = EXPERIMENT.settings(config)
    assert len({setting.name for setting in settings}) == len(settings) == 4 * len(STARTS)
    models = [{model_of(setting, 1, 2) for setting in settings if setting.data["n"] == n} for n in (50, 100)]
    assert [len(same) for same in models] == [1, 1]
    assert {setting.group for setting in settings} == set(METHODS)


def test_training_runs_are_told_where_to_start(config: dict[str, Any]) -> None:
    specs = [setting.spec for setting in EXPERIMENT.settings(config) if setting.procedure == "train"]
    model = model_of(EXPERIMENT.settings(config)[0], 1, 0)
    assert [TrainingSpec(model, **spec).initial_weights for spec in specs] == [*STARTS, *STARTS]
    assert {spec["compressor"]["name"] for spec in specs} == {"fp64", "qsgd"}


def test_near_the_threshold_far_starts_fail_and_beyond_it_none_does(
    config: dict[str, Any], traces: dict[str, Record]
) -> None:
    judged = EXPERIMENT.judge(config, traces, {})
    assert {v.verdict for v in judged.verdicts[TOPIC]} == {"confirmed"}
    cells = judged.tables["cells"].set_index(["method", "ratio", "start"])
    assert list(cells.index) == [
        (method, ratio, start)
        for method, ratio in [("gradient_descent", 2.5), *product(METHODS, [5.0])]
        for start in STARTS
    ]
    far, moments = (cells.loc["gradient_descent", 2.5, start] for start in (FAR, MOMENTS))
    assert far["share"] < moments["share"]
    # They end elsewhere, not on the way: farther from w* than zero is.
    assert far["away"] > 0 == moments["away"]
    assert (moments["moments_alone"], moments["start_alone"]) == (0, 0)


def test_where_runs_from_far_away_rest_the_active_rows_are_fitted_and_the_loss_is_not_zero() -> None:
    d, n, resting = 20, 50, 0
    for seed in range(12):
        data = generate(n, d, seed)
        start = solvers.STARTS[FAR](*data, streams.generator(seed))
        w = gradient_descent(data.x, data.y, start, near=lambda w: False, iterations=40_000, step_size=0.8).weights
        if relative_error(w, data.w_star) < 0.5 or np.linalg.norm(gradient(w, data.x, data.y)) > 1e-9:
            continue
        resting += 1
        active = data.x @ w > 0
        assert loss(w, data.x, data.y) > 1e-3
        assert np.count_nonzero(active) <= d
        # At a fitted row with label 0 the product is zero but for rounding.
        np.testing.assert_allclose(data.x[active] @ w, data.y[active], atol=1e-6)
    assert resting >= 2


def test_a_far_start_that_fails_more_often_confirms_and_one_that_fails_less_often_refutes(
    config: dict[str, Any],
) -> None:
    # Of one test at level 5 % the least discordant data sets are six: 2 * 0.5^6 < 0.05 < 2 * 0.5^5.
    assert verdict_of(made(config, {FAR: set(range(6))}), FAR) == "confirmed"
    assert verdict_of(made(config, {FAR: set(range(5))}), FAR) == "inconclusive"
    assert verdict_of(made(config, {}), FAR) == "inconclusive"
    others = set(STARTS) - {FAR}
    assert verdict_of(made(config, {start: set(range(6)) for start in others}), FAR) == "refuted"


def test_data_sets_where_both_starts_fail_tell_nothing(config: dict[str, Any]) -> None:
    failing = set(range(20))
    assert verdict_of(made(config, dict.fromkeys(STARTS, failing)), FAR) == "inconclusive"
    judged = made(config, {**dict.fromkeys(STARTS, failing), FAR: failing | set(range(30, 36))})
    assert verdict_of(judged, FAR) == "confirmed"


@pytest.mark.parametrize(("failing", "verdict"), [(0, "confirmed"), (6, "inconclusive"), (16, "refuted")])
def test_a_random_start_as_long_as_the_planted_weights_must_not_be_much_worse(
    config: dict[str, Any], failing: int, verdict: str
) -> None:
    assert verdict_of(made(config, {EQUAL: set(range(failing))}), EQUAL) == verdict


def test_failures_beyond_the_threshold_refute(config: dict[str, Any], traces: dict[str, Record]) -> None:
    name = f"sgd, {FAR}, ratio 5"
    table, about = traces[name]
    worse = {**traces, name: Record(table.assign(relative_error=table["relative_error"].clip(lower=0.5)), about)}
    judged = EXPERIMENT.judge(config, worse, {})
    assert [v.setting for v in judged.verdicts[TOPIC] if v.verdict != "confirmed"] == [f"SGD, {FAR}, n/d = 5"]


def test_traces_without_trials_are_not_confirmed_and_warn_of_nothing(
    config: dict[str, Any], traces: dict[str, Record]
) -> None:
    empty = {name: Record(trace.table.iloc[:0], trace.about) for name, trace in traces.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        judged = EXPERIMENT.judge(config, empty, {})
    assert {v.verdict for v in judged.verdicts[TOPIC]} == {"inconclusive"}


def test_the_p_value_is_that_of_a_binomial_test() -> None:
    for one, other in [(0, 0), (1, 0), (3, 3), (2, 9), (14, 0), (5, 31)]:
        expected = scipy.stats.binomtest(one, one + other).pvalue if one + other else 1.0
        assert mcnemar(one, other) == pytest.approx(expected, rel=1e-12)
        assert mcnemar(one, other) == mcnemar(other, one)


def test_equally_good_starts_are_told_apart_no_more_often_than_stated(config: dict[str, Any]) -> None:
    draw, runs = streams.generator(5), 60
    told_apart = 0
    for _ in range(runs):
        failing = {start: set(np.flatnonzero(draw.random(TRIALS) < 0.3)) for start in (MOMENTS, FAR)}
        told_apart += verdict_of(made(config, failing), FAR) != "inconclusive"
    # 5 % at most; ten and more of 60 have probability 0.001.
    assert told_apart < 10


def test_a_cell_that_is_there_twice_is_refused() -> None:
    config = load([ROOT / "config.yaml"])
    config["initialization_scale"]["sgd"]["ratios"] = [2.4, 2.401]
    with pytest.raises(ConfigError, match=r"initialization_scale\.sgd\.ratios"):
        check(config)


def test_what_is_said_of_other_starts_is_what_the_configuration_tries() -> None:
    config = load([ROOT / "config.yaml"])
    conditions = {claim.name: claim.condition for claim in (*CLAIMS, *FINDINGS)}
    section = config["initializations"]
    for value in (f"d = {section['dimension']}", f"{section['trials']} data sets", f"{section['iterations']:,} steps"):
        assert value in conditions["other_starts"]
    assert (
        f"n/d = {section['ratios'][0]}, {section['ratios'][1]} and {section['ratios'][2]}" in conditions["other_starts"]
    )
    section = config["initialization_scale"]
    assert f"d = {section['dimension']}" in conditions["initialization_scale"]
    for method in METHODS:
        assert f"{section[method]['iterations']:,}" in conditions["initialization_scale"]


def test_the_figure_is_drawn_from_its_tables(config: dict[str, Any], traces: dict[str, Record], tmp_path: Path) -> None:
    judged = EXPERIMENT.judge(config, traces, {})
    assert tuple(judged.tables) == EXPERIMENT.TABLES
    for name, table in judged.tables.items():
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    with warnings.catch_warnings(), style.in_house():
        warnings.simplefilter("error")
        figure = initialization_scale.draw([style.read(tmp_path / f"{name}.csv") for name in EXPERIMENT.TABLES])
        figure.canvas.draw()
    assert [axes.get_title() for axes in figure.axes] == [initialization_scale.TITLES[name] for name in METHODS]
    (legend,) = [axes.get_legend() for axes in figure.axes if axes.get_legend()]
    assert len(legend.get_texts()) == len(STARTS) + 1
    points = figure.axes[0].containers[STARTS.index(FAR)].lines[0]
    shares = judged.tables["cells"].query(f"method == 'gradient_descent' and start == '{FAR}'")["share"]
    np.testing.assert_allclose(np.asarray(points.get_ydata(), np.float64), shares)


def test_the_bound_is_the_probability_that_the_rows_suffice(config: dict[str, Any], traces: dict[str, Record]) -> None:
    curve = EXPERIMENT.judge(config, traces, {}).tables["predictions"]
    n = round(curve["ratio"].iloc[0] * 20)
    exact = sum(math.comb(n, k) for k in range(20, n + 1)) / 2**n
    assert curve["probability"].iloc[0] == pytest.approx(exact, rel=1e-12)
    assert curve["probability"].is_monotonic_increasing
