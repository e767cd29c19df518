"""Larger batches: verdicts on made traces, the figure, and a run in small."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_traces import cut, faster, judged, run

from relufit.claims.trace_files import Record
from relufit.experiments.batch_scaling.experiment import BatchScaling, batches, reached
from relufit.experiments.framework import trials
from relufit.experiments.framework.base import Setting
from relufit.figures import FIGURES, batch_scaling, style

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


#: Bytes of a gradient of 100 numbers in fp64, with the header.
PAYLOAD = 4 + 8 * 100


def _right(setting: Setting, cost: int = PAYLOAD) -> Record:
    return run(setting, _rate(setting), START, np.random.default_rng(setting.spec["batch_size"]), cost=cost)


def test_the_critical_batch_is_run_and_judged_though_the_configuration_does_not_name_it() -> None:
    assert batches(CONFIG["batch_scaling"]) == [2, 20, 203, 1000]
    settings = EXPERIMENT.settings(CONFIG)
    assert [setting.spec["batch_size"] for setting in settings] == [2, 20, 203, 1000]
    assert {setting.group for setting in settings} == {"all"}


def test_right_traces_are_confirmed() -> None:
    verdicts = judged(EXPERIMENT, CONFIG, _right)
    assert verdicts == {"geometric rate": ["confirmed"] * 5, "larger batches": ["confirmed"] * 5}


def test_a_rate_that_is_off_by_a_fifth_is_refuted_for_its_own_batch_alone() -> None:
    verdicts = judged(EXPERIMENT, CONFIG, lambda setting: faster(_right(setting), 1.2 if setting.name == "m20" else 1))
    assert verdicts["geometric rate"][:-1] == ["confirmed", "refuted", "confirmed", "confirmed"]


def test_a_rate_that_does_not_grow_with_the_batch_is_refuted() -> None:
    draw = np.random.default_rng(3)
    verdicts = judged(EXPERIMENT, CONFIG, lambda setting: run(setting, 1 - 2 / 205, START, draw, cost=PAYLOAD))
    assert verdicts["geometric rate"][:-1] == ["confirmed"] + ["refuted"] * 3
    assert verdicts["larger batches"] == ["refuted"] * 4 + ["confirmed"]


def test_larger_batches_that_cost_more_bytes_are_refuted() -> None:
    verdicts = judged(EXPERIMENT, CONFIG, lambda setting: _right(setting, cost=setting.spec["batch_size"]))
    assert verdicts["larger batches"] == ["confirmed"] * 4 + ["refuted"]


@pytest.mark.parametrize("rows", [1, 2])
def test_traces_that_are_too_short_leave_the_verdicts_open(rows: int) -> None:
    verdicts = judged(EXPERIMENT, CONFIG, lambda setting: cut(_right(setting), rows))
    assert set(verdicts["geometric rate"]) == {"inconclusive"}
    assert set(verdicts["larger batches"][:-1]) == {"inconclusive"}


def test_traces_that_diverge_are_not_confirmed() -> None:
    draw = np.random.default_rng(4)
    verdicts = judged(EXPERIMENT, CONFIG, lambda setting: run(setting, 1.05, START, draw))
    assert "confirmed" not in {*verdicts["geometric rate"], *verdicts["larger batches"][:-1]}


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
        figure.draw_without_rendering()
    upper, lower = figure.axes
    assert upper.get_ylabel() == "iterations to the tolerance"
    assert lower.get_xlabel() == "mini-batch $m$"
    lines = [(np.asarray(line.get_xdata()), np.asarray(line.get_ydata()), line.is_dashed()) for line in upper.lines]
    (predicted,) = [line for line in lines if line[2] and len(line[0]) > 2]
    inverse = lines[0]
    # A run goes by the mean logarithm, at d = 100 about 1.25 % beyond that of the mean square.
    expected = np.log(START * 1e12) / -np.log(1 - predicted[0] / (predicted[0] + 203)) / 1.0125
    assert predicted[1] == pytest.approx(expected, rel=0.012)
    assert inverse[1] == pytest.approx(predicted[1][0] * 2 / predicted[0])


def test_real_runs_in_small_are_not_refuted() -> None:
    config = {"seed": 5, "batch_scaling": {**CONFIG["batch_scaling"], "mini_batches": [20], "trials": 4}}
    settings = EXPERIMENT.settings(config)
    verdicts = EXPERIMENT.judge(config, trials.simulate(settings, 5)[0].results, {}).verdicts
    assert "refuted" not in {verdict.verdict for topic_verdicts in verdicts.values() for verdict in topic_verdicts}
    assert verdicts["larger batches"][-1].verdict == "confirmed"
