"""More ranks: verdicts on made traces, the figure, and a run in small."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from made_traces import cut, faster, judged, run

from relufit import theory
from relufit.claims.trace_files import Record
from relufit.experiments.framework import trials
from relufit.experiments.framework.base import Setting
from relufit.experiments.worker_scaling.experiment import WorkerScaling
from relufit.figures import FIGURES, style, worker_scaling

EXPERIMENT = WorkerScaling()
CONFIG: dict[str, Any] = {
    "seed": 1,
    "worker_scaling": {
        "dimension": 100,
        "ratio": 10,
        "workers": [1, 4, 16],
        "mini_batch": 32,
        "rank_batch": 2,
        "levels": [2, 5],
        "coding": "packed",
        "tolerance": 1e-4,
        "iterations": 20000,
        "points": 50,
        "trials": 6,
    },
}
START = 203 / 1000


def _rate(setting: Setting, workers: int | None = None) -> float:
    """Return 1 - 1/(4 A_q), written out; `workers` are those among whom the rounding is averaged."""
    m, ranks = setting.spec["batch_size"], setting.spec["workers"]
    levels = setting.spec["compressor"].get("levels")
    omega = theory.qsgd_variance(100, levels) if levels else 0.0
    b = m / ranks
    return float(1 - 1 / ((m + 203) / m + omega / (workers or ranks) * (b + 203) / b))


def _right(setting: Setting) -> Record:
    return run(setting, _rate(setting), START, np.random.default_rng(len(setting.name)))


def test_a_cell_of_both_panels_is_run_once() -> None:
    names = [setting.name for setting in EXPERIMENT.settings(CONFIG)]
    assert len(names) == len(set(names)) == 3 * 5
    assert names.count("sgd-K16-m32") == 1


def test_right_traces_are_confirmed() -> None:
    assert judged(EXPERIMENT, CONFIG, _right) == {"fast convergence": ["confirmed"] * 17}


def test_rounding_that_does_not_average_over_ranks_is_refuted_for_qsgd_alone() -> None:
    draw = np.random.default_rng(2)
    verdicts = judged(EXPERIMENT, CONFIG, lambda setting: run(setting, _rate(setting, workers=1), START, draw))[
        "fast convergence"
    ]
    assert verdicts[:7] == ["confirmed"] * 7
    # Of each number of levels three cells with more than one rank, and the growth from one to many.
    assert verdicts.count("refuted") == 2 * (3 + 1)


def test_iterations_that_are_off_by_a_fifth_are_refuted() -> None:
    verdicts = judged(
        EXPERIMENT, CONFIG, lambda setting: faster(_right(setting), 1.25 if setting.name == "qsgd-s5-K4-m32" else 1)
    )
    assert verdicts["fast convergence"].count("refuted") == 1


@pytest.mark.parametrize("rows", [1, 3])
def test_traces_that_do_not_come_down_to_the_tolerance_leave_the_verdicts_open(rows: int) -> None:
    verdicts = judged(EXPERIMENT, CONFIG, lambda setting: cut(_right(setting), rows))
    assert set(verdicts["fast convergence"]) == {"inconclusive"}


def test_the_figure_has_a_panel_for_each_thing_that_is_given_and_the_predictions_in_both() -> None:
    results = {setting.name: _right(setting) for setting in EXPERIMENT.settings(CONFIG)}
    tables = EXPERIMENT.judge(CONFIG, results, {}).tables
    assert tuple(tables) == EXPERIMENT.TABLES
    with style.in_house():
        figure = worker_scaling.draw([tables[name.split(".")[1]] for name in FIGURES["worker_scaling"].tables])
        figure.draw_without_rendering()
    left, right, *lower = figure.axes
    assert (left.get_title(), right.get_title()) == ("mini-batch $m$ = 32", "batch of a rank $m / K$ = 2")
    assert all(axes.get_xlabel().startswith("ranks $K$") for axes in lower)
    dashed = [np.asarray(line.get_ydata()) for line in left.lines if line.is_dashed()]
    expected = np.log(START * 1e8) / -np.log(1 - 32 / (32 + 203))
    # A run goes by the mean logarithm, 1.25 / d beyond that of the mean square.
    assert dashed[-1] == pytest.approx([expected / 1.0125] * 3, rel=0.005)
    assert len(dashed) == 3


def test_real_runs_in_small_are_not_refuted() -> None:
    small = {"workers": [1, 2], "mini_batch": 40, "rank_batch": 20, "levels": [5], "tolerance": 1e-3, "trials": 3}
    config = {"seed": 5, "worker_scaling": {**CONFIG["worker_scaling"], **small}}
    judgement = EXPERIMENT.judge(config, trials.simulate(EXPERIMENT.settings(config), 5)[0].results, {})
    assert "refuted" not in {verdict.verdict for verdict in judgement.verdicts["fast convergence"]}
    assert judgement.tables["iterations"]["mean"].notna().all()
