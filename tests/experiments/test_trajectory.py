"""The whole way from w0: verdicts on made traces, the figure, and a run in small."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_traces import cut, judged

from relufit.experiments import Setting, trials
from relufit.experiments.trajectory import Trajectory, predicted_curve
from relufit.figures import FIGURES, style, trajectory
from relufit.records import Record

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
    return {its.name: predicted_curve(section, run) for its, run in zip(settings, section["runs"], strict=True)}


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


def test_right_traces_are_confirmed_sgd_and_qsgd_under_topics_of_their_own() -> None:
    assert judged(EXPERIMENT, CONFIG, _made) == {"geometric rate": ["confirmed"], "fast convergence": ["confirmed"]}


@pytest.mark.parametrize("off", [-0.4, 0.4])
def test_an_end_that_is_off_is_refuted(off: float) -> None:
    found = judged(EXPERIMENT, CONFIG, lambda its: _made(its, off if its.name.startswith("qsgd") else 0.0))
    assert found == {"geometric rate": ["confirmed"], "fast convergence": ["refuted"]}


def test_traces_that_do_not_come_to_the_end_leave_the_verdicts_open() -> None:
    found = judged(EXPERIMENT, CONFIG, lambda its: cut(_made(its), 3))
    assert found == {"geometric rate": ["inconclusive"], "fast convergence": ["inconclusive"]}

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
        figure.canvas.draw()
    shown = [axes for axes in figure.axes if axes.get_visible()]
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
    found = EXPERIMENT.judge(config, trials.simulate(EXPERIMENT.settings(config), 5)[0].results, {})
    assert "refuted" not in {its.verdict for verdicts in found.verdicts.values() for its in verdicts}
    assert found.tables["ends"]["mean"].notna().all()
