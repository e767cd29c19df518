"""Other starts: real traces, and what planted defects make of their verdicts."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from relufit.claims.trace_files import Record
from relufit.experiments.configuration import load
from relufit.experiments.framework import trials
from relufit.experiments.framework.base import Judgement
from relufit.experiments.framework.procedures import model_of
from relufit.experiments.initializations.experiment import Initializations
from relufit.figures import initializations, style
from relufit.solvers import STARTS

ROOT = Path(__file__).parent.parent.parent
EXPERIMENT = Initializations()


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    config = load([ROOT / "config.yaml"])
    config["initializations"] |= {"dimension": 20, "ratios": [6], "trials": 20}
    return config


@pytest.fixture(scope="module")
def traces(config: dict[str, Any]) -> dict[str, Record]:
    return trials.simulate(EXPERIMENT.settings(config), config["seed"])[0].results


def verdicts(judged: Judgement) -> dict[str, str]:
    return {verdict.setting.split(",")[0]: verdict.verdict for verdict in judged.verdicts["other starts"]}


def test_all_starts_see_the_same_data_and_different_ratios_other_data(config: dict[str, Any]) -> None:
    config = {**config, "initializations": {**config["initializations"], "ratios": [4, 6]}}
    settings = EXPERIMENT.settings(config)
    assert len({setting.name for setting in settings}) == len(settings) == 2 * len(STARTS)
    models = [{model_of(setting, 1, 2) for setting in settings if setting.data["n"] == n} for n in (80, 120)]
    assert [len(group) for group in models] == [1, 1]
    assert len({model.seed for group in models for model in group}) == 2


def test_every_start_reaches_the_planted_weights_and_zero_stays(
    config: dict[str, Any], traces: dict[str, Record]
) -> None:
    judged = EXPERIMENT.judge(config, traces, {})
    assert verdicts(judged) == dict.fromkeys(STARTS, "confirmed")
    zero = traces["zero, ratio 6"].table
    assert (zero["iterations"] == 0).all()
    assert not zero["reached"].any()


def test_the_iterations_due_are_near_those_taken_from_far_away(
    config: dict[str, Any], traces: dict[str, Record]
) -> None:
    summary = EXPERIMENT.judge(config, traces, {}).tables["summary"].set_index("start")
    # From 100 w* all but the length is right: no row changes its side, and the curve is that of the limiting spectrum.
    assert summary.loc["w* x 100", "predicted"] == pytest.approx(summary.loc["w* x 100", "iterations"], rel=0.35)
    assert np.isnan(summary.loc["zero", "predicted"])


@pytest.mark.parametrize(("failing", "verdict"), [(1, "inconclusive"), (8, "refuted")])
def test_trials_that_fail_leave_a_start_open_or_refute_it(
    config: dict[str, Any], traces: dict[str, Record], failing: int, verdict: str
) -> None:
    table, about = traces["random, ratio 6"]
    worse = {**traces, "random, ratio 6": Record(table.assign(reached=table["trial"] >= failing), about)}
    by_start = verdicts(EXPERIMENT.judge(config, worse, {}))
    assert by_start.pop("random") == verdict
    assert set(by_start.values()) == {"confirmed"}


def test_zero_that_moves_in_one_trial_is_refuted(config: dict[str, Any], traces: dict[str, Record]) -> None:
    table, about = traces["zero, ratio 6"]
    moved = table.assign(relative_error=table["relative_error"].mask(table["trial"] == 3, 0.999999))
    assert (
        verdicts(EXPERIMENT.judge(config, {**traces, "zero, ratio 6": Record(moved, about)}, {}))["zero"] == "refuted"
    )


def test_traces_without_trials_are_not_confirmed_and_warn_of_nothing(
    config: dict[str, Any], traces: dict[str, Record]
) -> None:
    empty = {name: Record(record.table.iloc[:0], record.about) for name, record in traces.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        by_start = verdicts(EXPERIMENT.judge(config, empty, {}))
    assert "confirmed" not in by_start.values()


def test_the_figure_is_drawn_from_its_tables(config: dict[str, Any], traces: dict[str, Record], tmp_path: Path) -> None:
    judged = EXPERIMENT.judge(config, traces, {})
    assert set(judged.tables) == set(EXPERIMENT.TABLES)
    for name, table in judged.tables.items():
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    with warnings.catch_warnings(), style.in_house():
        warnings.simplefilter("error")
        figure = initializations.draw([style.read(tmp_path / f"{name}.csv") for name in EXPERIMENT.TABLES])
        figure.draw_without_rendering()
    (axes,) = figure.axes
    assert "iterations" in axes.get_ylabel()
    assert len(axes.get_xticklabels()) == len(STARTS)
    assert [text.get_text() for text in axes.texts] == ["never reached"]
    dashed = [line for line in axes.get_lines() if line.get_linestyle() == "--"]
    assert len(dashed) == len(STARTS) - 1
