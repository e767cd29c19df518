"""Larger batches: verdicts on made traces, the figure, and a run in small."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_traces import cut, faster, judged, run

from relufit.experiments import Setting, trials
from relufit.experiments.batch_scaling import BatchScaling, batches, reached
from relufit.figures import FIGURES, batch_scaling, style
from relufit.records import Record

EXPERIMENT = BatchScaling()
CONFIG: dict[str, Any] = {
    "seed": 1,
    "batch_scaling": {
        "dimension": 100,
        "ratio": 10,
        "mini_batches": [2, 20, 1000],
        "tolerance": 1e-6,
        "iterations": 6000,
        "points": 100,
        "trials": 8,
    },
}
START = 203 / 1000


def _rate(setting: Setting) -> float:
    m = setting.spec["batch_size"]
    return float(1 - m / (m + 203))


def _right(setting: Setting, cost: int = 100) -> Record:
    return run(setting, _rate(setting), START, np.random.default_rng(setting.spec["batch_size"]), cost=cost)


def test_the_critical_batch_is_run_and_judged_though_the_configuration_does_not_name_it() -> None:
    assert batches(CONFIG["batch_scaling"]) == [2, 20, 203, 1000]
    settings = EXPERIMENT.settings(CONFIG)
    assert [setting.spec["batch_size"] for setting in settings] == [2, 20, 203, 1000]
    assert {setting.group for setting in settings} == {"all"}


def test_right_traces_are_confirmed() -> None:
    found = judged(EXPERIMENT, CONFIG, _right)
    assert found == {"geometric rate": ["confirmed"] * 4, "larger batches": ["confirmed"] * 3}


def test_a_rate_that_is_off_by_a_fifth_is_refuted_for_its_own_batch_alone() -> None:
    found = judged(EXPERIMENT, CONFIG, lambda its: faster(_right(its), 1.2 if its.name == "m20" else 1))
    assert found["geometric rate"] == ["confirmed", "refuted", "confirmed", "confirmed"]


def test_a_rate_that_does_not_grow_with_the_batch_is_refuted() -> None:
    draw = np.random.default_rng(3)
    found = judged(EXPERIMENT, CONFIG, lambda its: run(its, 1 - 2 / 205, START, draw))
    assert found["geometric rate"] == ["confirmed"] + ["refuted"] * 3
    assert found["larger batches"] == ["refuted", "refuted", "confirmed"]


def test_larger_batches_that_cost_more_bytes_are_refuted() -> None:
    found = judged(EXPERIMENT, CONFIG, lambda its: _right(its, cost=its.spec["batch_size"]))
    assert found["larger batches"] == ["confirmed", "confirmed", "refuted"]


@pytest.mark.parametrize("rows", [1, 2])
def test_traces_that_are_too_short_leave_the_verdicts_open(rows: int) -> None:
    found = judged(EXPERIMENT, CONFIG, lambda its: cut(_right(its), rows))
    assert set(found["geometric rate"]) == {"inconclusive"}
    assert set(found["larger batches"][:-1]) == {"inconclusive"}


def test_traces_that_diverge_are_not_confirmed() -> None:
    draw = np.random.default_rng(4)
    found = judged(EXPERIMENT, CONFIG, lambda its: run(its, 1.05, START, draw))
    assert "confirmed" not in {*found["geometric rate"], *found["larger batches"][:-1]}


def test_a_tolerance_is_reached_between_two_rows_in_the_logarithm() -> None:
    errors = {"trial": [0] * 3 + [1] * 2 + [2] * 2, "iteration": [0, 10, 20, 0, 10, 0, 10]}
    table = pd.DataFrame({**errors, "relative_error": [1, 1e-2, 1e-6, 1, 0.5, 1e-5, 1e-9]})
    assert np.array_equal(reached(table, 1e-4), [15, np.nan, 0], equal_nan=True)


def test_the_figure_shows_what_was_measured_and_predicted_and_what_falls_as_one_over_m() -> None:
    results = {setting.name: _right(setting) for setting in EXPERIMENT.settings(CONFIG)}
    tables = EXPERIMENT.judge(CONFIG, results, {}).tables
    assert tuple(tables) == EXPERIMENT.TABLES
    with style.in_house():
        figure = batch_scaling.draw([tables[name.split(".")[1]] for name in FIGURES["batch_scaling"].tables])
        figure.canvas.draw()
    upper, lower = figure.axes
    assert upper.get_ylabel() == "iterations to the tolerance"
    assert lower.get_xlabel() == "mini-batch $m$"
    lines = [(np.asarray(line.get_xdata()), np.asarray(line.get_ydata()), line.is_dashed()) for line in upper.lines]
    (predicted,) = [line for line in lines if line[2] and len(line[0]) > 2]
    inverse = lines[0]
    expected = np.log(START * 1e12) / -np.log(1 - predicted[0] / (predicted[0] + 203))
    assert predicted[1] == pytest.approx(expected)
    assert inverse[1] == pytest.approx(expected[0] * 2 / predicted[0])


def test_real_runs_in_small_are_not_refuted() -> None:
    config = {"seed": 5, "batch_scaling": {**CONFIG["batch_scaling"], "mini_batches": [20], "trials": 4}}
    settings = EXPERIMENT.settings(config)
    verdicts = EXPERIMENT.judge(config, trials.simulate(settings, 5)[0].results, {}).verdicts
    assert "refuted" not in {its.verdict for found in verdicts.values() for its in found}
    assert verdicts["larger batches"][-1].verdict == "confirmed"
