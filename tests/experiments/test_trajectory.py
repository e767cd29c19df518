"""The whole way from w0: verdicts on made traces, the figure, and a run in small."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_traces import cut, judged

from relufit import theory
from relufit.claims.trace_files import Record
from relufit.experiments.framework import trials
from relufit.experiments.framework.base import Setting
from relufit.experiments.trajectory.experiment import Trajectory, predicted_curve
from relufit.figures import FIGURES, style, trajectory

EXPERIMENT = Trajectory()
CONFIG: dict[str, Any] = {
    "seed": 1,
    "trajectory": {
        "dimension": 200,
        "ratio": 3,
        "coding": "packed",
        "runs": [
            {"levels": None, "workers": 1, "mini_batch": 40, "step_factor": 1.0},
            {"levels": 7, "workers": 2, "mini_batch": 40, "step_factor": 0.5},
        ],
        "end": 0.3,
        "iterations": 500,
        "points": 20,
        "trials": 24,
    },
}


def _curves() -> dict[str, np.ndarray]:
    section = CONFIG["trajectory"]
    settings = EXPERIMENT.settings(CONFIG)
    return {setting.name: predicted_curve(section, run) for setting, run in zip(settings, section["runs"], strict=True)}


def _made(setting: Setting, off: float = 0.0) -> Record:
    """Return traces around the prediction; at their end ln error^2 is off by so much."""
    curve, draw = _curves()[setting.name], np.random.default_rng(setting.spec["batch_size"])
    kept = np.unique(np.append(np.arange(0, len(curve), setting.spec["record_every"]), len(curve) - 1))
    share = kept / kept[-1]
    tables = []
    for trial in range(setting.trials):
        logs = np.log(curve[kept]) + share * (off + 0.15 * draw.standard_normal())
        columns = {"iteration": kept, "relative_error": np.exp(logs / 2), "uplink_bytes": kept, "downlink_bytes": kept}
        tables.append(pd.DataFrame({**columns, "trial": trial}))
    return Record(pd.concat(tables, ignore_index=True), {})


def test_a_run_ends_where_its_prediction_comes_down_to_the_end() -> None:
    for setting in EXPERIMENT.settings(CONFIG):
        curve = _curves()[setting.name]
        assert curve[0] == pytest.approx(403 / 600)
        assert curve[-1] <= 0.3**2 < curve[-2]
        assert setting.spec["iterations"] == len(curve) - 1
        assert "tolerance" not in setting.spec


def test_a_prediction_that_does_not_come_down_ends_with_the_budget() -> None:
    section = {**CONFIG["trajectory"], "iterations": 3}
    assert len(predicted_curve(section, section["runs"][0])) == 4


@pytest.mark.parametrize("iterations", [1, 400, 1500, 5000])
def test_a_prediction_is_the_beginning_of_the_curve_over_all_iterations(iterations: int) -> None:
    section = {**CONFIG["trajectory"], "iterations": iterations}
    run = {**section["runs"][0], "step_factor": 0.02}
    d, m, n = section["dimension"], run["mini_batch"], round(section["ratio"] * section["dimension"])
    square, inner = theory.initial_moments(n, d)
    step = 0.02 * theory.optimal_step(d, m)
    whole = theory.global_curve(d, m, step, iterations, norm_squared=square, inner=inner)
    predicted = predicted_curve(section, run)
    assert predicted.tobytes() == whole[: len(predicted)].tobytes()
    assert len(predicted) == iterations + 1 or predicted[-1] <= 0.3**2 < predicted[-2]
    # It is shared by all who ask, so that nobody may change it.
    assert not predicted.flags.writeable


def test_right_traces_are_confirmed_sgd_and_qsgd_under_topics_of_their_own() -> None:
    assert judged(EXPERIMENT, CONFIG, _made) == {"geometric rate": ["confirmed"], "fast convergence": ["confirmed"]}


@pytest.mark.parametrize("off", [-0.4, 0.4])
def test_an_end_that_is_off_is_refuted(off: float) -> None:
    verdicts = judged(
        EXPERIMENT, CONFIG, lambda setting: _made(setting, off if setting.name.startswith("qsgd") else 0.0)
    )
    assert verdicts == {"geometric rate": ["confirmed"], "fast convergence": ["refuted"]}


def test_traces_that_do_not_come_to_the_end_leave_the_verdicts_open() -> None:
    verdicts = judged(EXPERIMENT, CONFIG, lambda setting: cut(_made(setting), 3))
    assert verdicts == {"geometric rate": ["inconclusive"], "fast convergence": ["inconclusive"]}

    def without_one(setting: Setting) -> Record:
        table = _made(setting).table
        return Record(table[(table["trial"] > 0) | (table["iteration"] < 5)], {})

    assert judged(EXPERIMENT, CONFIG, without_one)["geometric rate"] == ["inconclusive"]


def test_the_figure_has_a_panel_for_each_run_with_its_prediction() -> None:
    results = {setting.name: _made(setting) for setting in EXPERIMENT.settings(CONFIG)}
    tables = EXPERIMENT.judge(CONFIG, results, {}).tables
    assert tuple(tables) == EXPERIMENT.TABLES
    with style.in_house():
        figure = trajectory.draw([tables[name.split(".")[1]] for name in FIGURES["trajectory"].tables])
        figure.draw_without_rendering()
    shown = [axes for axes in figure.axes if axes.get_visible() and axes.get_title()]
    assert len(figure.axes) == 2 * len(shown)
    assert [axes.get_title() for axes in shown] == [
        "SGD, K = 1, m = 40\noptimal step",
        "QSGD, s = 7, K = 2, m = 40\n0.5 x optimal step",
    ]
    for axes, curve in zip(shown, _curves().values(), strict=True):
        (dashed,) = [line for line in axes.lines if line.is_dashed()]
        kept = np.asarray(dashed.get_xdata(), int)
        assert np.asarray(dashed.get_ydata()) == pytest.approx(np.sqrt(curve[kept]))


def test_real_runs_in_small_are_not_refuted() -> None:
    config = {"seed": 5, "trajectory": {**CONFIG["trajectory"], "trials": 6}}
    judgement = EXPERIMENT.judge(config, trials.simulate(EXPERIMENT.settings(config), 5)[0].results, {})
    assert "refuted" not in {verdict.verdict for verdicts in judgement.verdicts.values() for verdict in verdicts}
    assert judgement.tables["ends"]["mean"].notna().all()
