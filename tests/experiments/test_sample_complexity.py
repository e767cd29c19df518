"""Sample complexity: made-up traces that are right, wrong or too short, and small real ones."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from relufit.claims.trace_files import Record
from relufit.errors import ConfigError
from relufit.experiments.configuration import check, load
from relufit.experiments.framework import trials
from relufit.experiments.framework.base import Judgement, Setting
from relufit.experiments.sample_complexity.experiment import SampleComplexity
from relufit.experiments.sample_complexity.recovery import METHODS
from relufit.figures import sample_complexity, samples_against_dimension, style
from relufit.planted import generate

ROOT = Path(__file__).parent.parent.parent
EXPERIMENT = SampleComplexity()
#: Where made-up gradient methods succeed in half of the trials: near what is predicted for the budgets below.
PLACES = {"gradient_descent": 2.48, "sgd": 2.79}
Place = Callable[[str, int], float]


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    config = load([ROOT / "config.yaml"])
    section = config["sample_complexity"]
    section["dimensions"] = [50, 300]
    for name in METHODS:
        section[name]["trials"] = [400, 200]
    # Few iterations, as the predictions go through all of them.
    section["gradient_descent"] |= {"iterations": 400, "tolerance": 0.01}
    section["sgd"] |= {"iterations": 400, "tolerance": 0.05}
    return config


def as_predicted(name: str, d: int) -> float:
    return PLACES[name]


def _table(setting: Setting, draw: np.random.Generator, place: Place, missing: int) -> pd.DataFrame:
    """Return a trace in which least squares needs d - `missing` active rows and the others cross at `place`."""
    n, d, count = setting.data["n"], setting.data["d"], setting.trials
    name, tolerance = setting.name.split("-")[0], setting.spec["tolerance"]
    active = draw.binomial(n, 0.5, count)
    if METHODS[name].direct:
        reached = active >= d - missing
    else:
        reached = draw.random(count) < norm.cdf((n / d - place(name, d)) * math.sqrt(d / 2))
    error = np.where(reached, 0.5 * tolerance, 0.3)
    if setting.procedure == "train":
        start = pd.DataFrame({"trial": range(count), "iteration": 0, "relative_error": 0.9})
        end = start.assign(iteration=setting.spec["iterations"], relative_error=error)
        return pd.concat([start, end]).sort_values("trial", kind="stable").reset_index(drop=True)
    return pd.DataFrame({"trial": range(count), "relative_error": error, "reached": reached, "active": active})


def made_up(
    config: dict[str, Any], *, seed: int = 1, place: Place = as_predicted, missing: int = 0
) -> dict[str, Record]:
    draw = np.random.default_rng(seed)
    return {s.name: Record(_table(s, draw, place, missing), {}) for s in EXPERIMENT.settings(config)}


def wide(config: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration with gradient methods on a grid in which any place is."""
    config = copy.deepcopy(config)
    for name in PLACES:
        config["sample_complexity"][name]["ratios"] = [1.6, 1.8, 2, 2.2, 2.5, 2.8, 3, 3.2, 3.5, 4]
    return config


def verdicts(judged: Judgement, word: str = "", setting: str = "") -> list[str]:
    every = [v for topic_verdicts in judged.verdicts.values() for v in topic_verdicts]
    return [v.verdict for v in every if word in v.statistic and setting in v.setting]


def test_settings_are_independent_of_each_other_and_share_jobs_by_method(config: dict[str, Any]) -> None:
    settings = EXPERIMENT.settings(config)
    assert len({s.name for s in settings}) == len({s.stream for s in settings}) == len(settings)
    assert {s.group for s in settings if s.procedure == "train"} == {"sgd-d50", "sgd-d300"}
    assert {s.group for s in settings if s.procedure == "solve"} == set(METHODS) - {"sgd"}


@pytest.mark.parametrize("seed", [1, 2])
def test_traces_that_are_as_predicted_are_confirmed(config: dict[str, Any], seed: int) -> None:
    judged = EXPERIMENT.judge(config, made_up(config, seed=seed), {})
    assert set(verdicts(judged)) == {"confirmed"}
    # Two exact tests, four distances, four upper bounds, four slopes; then least squares in one go: one and two.
    assert len(judged.verdicts["samples"]) == 14
    assert len(judged.verdicts["least squares"]) == 3
    assert set(judged.tables) == set(EXPERIMENT.TABLES)


def test_least_squares_that_needs_a_few_rows_less_is_refuted(config: dict[str, Any]) -> None:
    records = made_up(config)
    for name, (table, about) in records.items():
        if name.startswith("least"):
            d = int(name.split("-")[1][1:])
            error = np.where(table["active"] >= 0.95 * d, 1e-9, 0.3)
            records[name] = Record(table.assign(relative_error=error), about)
    judged = EXPERIMENT.judge(config, records, {})
    assert set(verdicts(judged, "P(Binomial")) == {"refuted"}
    assert verdicts(judged, "less the prediction", "least squares") == ["refuted"]
    assert verdicts(judged, "in no other") == ["refuted"]


def test_a_single_trial_that_does_not_go_by_its_active_rows_is_refuted(config: dict[str, Any]) -> None:
    records = made_up(config)
    table, about = records["least_squares-d50-n100"]
    wrong = table.assign(
        relative_error=table["relative_error"].mask(table.index == 7, 0.3 - table["relative_error"][7])
    )
    records["least_squares-d50-n100"] = Record(wrong, about)
    judged = EXPERIMENT.judge(config, records, {})
    assert verdicts(judged, "in no other") == ["refuted"]
    assert set(verdicts(judged, "P(Binomial")) == {"confirmed"}


def test_samples_that_grow_as_d_ln_d_are_refuted(config: dict[str, Any]) -> None:
    config = wide(config)
    judged = EXPERIMENT.judge(config, made_up(config, place=lambda name, d: 2.2 * math.log(d) / math.log(50)), {})
    assert verdicts(judged, "growth", "gradient descent") == verdicts(judged, "growth", "SGD") == ["refuted"]
    assert verdicts(judged, "growth", "least squares") == ["confirmed"]


@pytest.mark.parametrize(("place", "word"), [(1.95, "less the prediction"), (3.2, "half of the trials succeed")])
def test_gradient_methods_that_cross_elsewhere_are_refuted(config: dict[str, Any], place: float, word: str) -> None:
    config = wide(config)
    judged = EXPERIMENT.judge(config, made_up(config, place=lambda name, d: place), {})
    for title in ("gradient descent", "SGD"):
        assert "refuted" in verdicts(judged, word, title)
        assert verdicts(judged, "growth", title) == ["confirmed"]


def test_traces_without_an_end_leave_the_verdict_open_and_warn_of_nothing(config: dict[str, Any]) -> None:
    records = made_up(config)
    for name, (table, about) in records.items():
        if name.startswith("sgd"):
            records[name] = Record(table[table["iteration"] == 0], about)
        if name.startswith("gradient"):
            records[name] = Record(table.assign(relative_error=np.nan), about)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        judged = EXPERIMENT.judge(config, records, {})
    for title in ("gradient descent", "SGD"):
        assert set(verdicts(judged, "", title)) == {"inconclusive"}


def test_few_trials_cannot_confirm_the_probability_of_least_squares(config: dict[str, Any]) -> None:
    few = copy.deepcopy(config)
    few["sample_complexity"]["least_squares"]["trials"] = [4, 200]
    judged = EXPERIMENT.judge(few, made_up(few), {})
    assert verdicts(judged, "P(Binomial") == ["inconclusive", "confirmed"]


def test_descent_is_predicted_to_succeed_where_the_spectrum_of_real_data_says_so() -> None:
    spec, d = {"tolerance": 1e-3, "step_size": 0.8, "iterations": 1500}, 400
    ratio = METHODS["gradient_descent"].predicted(spec, d)
    for sign in (-1, 1):
        data = generate(round((ratio + 0.15 * sign) * d), d, 31)
        active = data.x[data.y > 0].astype(np.float64)
        values, vectors = np.linalg.eigh(active.T @ active / len(data.x))
        start = vectors.T @ (2 / len(data.x) * data.y @ data.x - data.w_star)
        end = np.linalg.norm((1 - 0.8 * values) ** 1500 * start)
        assert (end <= 1e-3) == (sign > 0)


def test_a_budget_that_no_number_of_samples_makes_up_for_has_no_prediction() -> None:
    assert math.isnan(METHODS["gradient_descent"].predicted({"tolerance": 1e-6, "step_size": 0.1, "iterations": 9}, 50))
    spec = {"tolerance": 1e-6, "mini_batch_ratio": 0.2, "iterations": 9}
    assert math.isnan(METHODS["sgd"].predicted(spec, 50))


def test_longer_budgets_need_fewer_samples_down_to_two_a_dimension() -> None:
    spec = {"tolerance": 1e-3, "step_size": 0.8}
    places = [METHODS["gradient_descent"].predicted({**spec, "iterations": t}, 100) for t in (200, 2000, 20000)]
    assert 3.5 > places[0] > places[1] > places[2] > 2
    assert all(METHODS["gradient_descent"].most({**spec, "iterations": t}, 100) > 2 for t in (200, 2000))


@pytest.fixture(scope="module")
def small() -> tuple[dict[str, Any], dict[str, Record]]:
    """Real traces of few trials in few dimensions."""
    config = load([ROOT / "config.yaml"])
    section = config["sample_complexity"]
    section["dimensions"] = [10, 20]
    for name in METHODS:
        section[name] |= {"ratios": [1.5, 2.5, 5], "trials": [8, 4]}
    section["gradient_descent"]["iterations"] = section["sgd"]["iterations"] = 300
    section["sgd"]["tolerance"] = 0.3
    return config, trials.simulate(EXPERIMENT.settings(config), config["seed"])[0].results


def test_every_method_runs_and_is_judged(small: tuple[dict[str, Any], dict[str, Record]]) -> None:
    config, records = small
    judged = EXPERIMENT.judge(config, records, {})
    cells = judged.tables["cells"].set_index(["method", "dimension", "samples"])
    assert len(cells) == 24
    assert (cells.xs(100, level="samples")["successes"] >= 3).all()
    assert verdicts(judged, "in no other") == ["confirmed"]
    least = cells.loc["least_squares"]
    assert (least["agreeing"] == least["trials"]).all()
    # d active rows are necessary for the other that fits.
    fitted = records["alternating_minimisation-d10-n15"].table
    assert not (fitted["reached"] & (fitted["active"] < 10)).any()


@pytest.mark.parametrize("methods", [["least_squares"], ["gradient_descent"], ["sgd", "alternating_minimisation"]])
def test_figures_are_drawn_from_the_tables_of_any_methods(
    small: tuple[dict[str, Any], dict[str, Record]], methods: list[str], tmp_path: Path
) -> None:
    config = copy.deepcopy(small[0])
    config["sample_complexity"]["methods"] = methods
    tables = EXPERIMENT.judge(config, small[1], {}).tables
    for name, table in tables.items():
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    cells, crossings, predictions = (style.read(tmp_path / f"{name}.csv") for name in EXPERIMENT.TABLES)
    with warnings.catch_warnings(), style.in_house():
        warnings.simplefilter("error")
        shares = sample_complexity.draw([cells, crossings, predictions])
        places = samples_against_dimension.draw([crossings])
        for figure in (shares, places):
            figure.draw_without_rendering()
    shown = [axes for axes in shares.axes if axes.get_visible()]
    assert [axes.get_title() for axes in shown] == [sample_complexity.TITLES[name] for name in methods]
    assert len(places.axes) == len(methods)
    for axes in [*shown, *places.axes]:
        assert axes.get_xlabel() or axes is not shown[-1]
        assert any(line.get_linestyle() == "--" for line in axes.get_lines())
    assert "n / d" in places.axes[0].get_ylabel()


def test_trials_that_are_not_one_for_each_dimension_are_refused() -> None:
    config = load([ROOT / "config.yaml"])
    config["sample_complexity"]["sgd"]["trials"] = [10, 10]
    with pytest.raises(ConfigError, match=r"sample_complexity\.sgd\.trials"):
        check(config)


def test_ratios_that_are_the_same_number_of_samples_are_refused() -> None:
    config = load([ROOT / "config.yaml"])
    config["sample_complexity"]["sgd"]["ratios"] = [2.2, 2.501, 2.502]
    with pytest.raises(ConfigError, match=r"sample_complexity\.sgd\.ratios"):
        check(config)
