"""Steps that are too long: verdicts on made traces, the figure, and a run in small."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_traces import cut, judged, run

from relufit import theory
from relufit.claims.trace_files import Record
from relufit.experiments.framework import trials
from relufit.experiments.framework.base import Setting
from relufit.experiments.step_instability.experiment import StepInstability
from relufit.figures import FIGURES, step_instability, style

EXPERIMENT = StepInstability()
CONFIG: dict[str, Any] = {
    "seed": 1,
    "step_instability": {
        "dimension": 100,
        "ratio": 10,
        "workers": 4,
        "mini_batch": 8,
        "levels": [1, 2, 8],
        "coding": "packed",
        "tolerance": 1e-2,
        "iterations": 1000,
        "record_every": 25,
        "trials": 16,
        "shown": 2,
        "steps": 3000,
        "factors": [0.9, 1.1],
        "limit_steps": 1000,
    },
}
#: Steps of the same length as SGD's best; with one and two levels omega is above 1, with eight below.
A, START = (8 + 203) / 32, 203 / 1000


def _growth(setting: Setting, longer: float = 1.0) -> float:
    """Return 1 - step + step^2 A_q, written out, of a step that is so many times longer than it says."""
    levels, step = setting.spec["compressor"].get("levels"), longer * setting.spec["step_size"]
    omega = theory.qsgd_variance(100, levels) if levels else 0.0
    return float(1 - step + step**2 * (A + omega / 4 * (2 + 203) / 8))


def _made(setting: Setting, longer: float = 1.0) -> Record:
    draw = np.random.default_rng(len(setting.name) + setting.trials)
    growth = _growth(setting, longer)
    if setting.procedure == "train":
        return run(setting, growth, START, draw)
    spread = 2 * np.sqrt(setting.spec["step_size"] / 100)
    factors = growth + spread * draw.uniform(-1, 1, setting.spec["iterations"])
    return Record(pd.DataFrame({"factor": factors, "trial": 0}), {})


def test_settings_of_a_job_have_the_same_procedure_and_steps_that_are_not_runs_have_draws_of_their_own() -> None:
    settings = EXPERIMENT.settings(CONFIG)
    for group, procedure in (("runs", "train"), ("single-steps", "one_step")):
        assert {setting.procedure for setting in settings if setting.group == group} == {procedure}
    single = [setting.stream for setting in settings if setting.procedure == "one_step"]
    assert len(single) == len(set(single)) == 3 + 8


def test_the_step_of_the_runs_is_that_of_sgd_and_then_the_best_there_is() -> None:
    settings = {setting.name: setting for setting in EXPERIMENT.settings(CONFIG)}
    assert settings["run-sgd-step-s1"].spec["step_size"] == pytest.approx(1 / (2 * A))
    own = settings["run-own-step-s1"]
    assert _growth(own) < min(_growth(own, longer) for longer in (0.9, 1.1))
    for factor, sign in (("0.9", -1), ("1.1", 1)):
        for label in ("sgd", "s1", "s2", "s8"):
            assert sign * (_growth(settings[f"single-limit-{factor}-{label}"]) - 1) > 0


def test_right_traces_are_confirmed() -> None:
    verdicts = judged(EXPERIMENT, CONFIG, _made)
    assert verdicts == {"unadapted step": ["confirmed"] * 6, "fast convergence": ["confirmed"] * (8 + 3)}


def test_steps_that_are_half_as_long_again_are_refuted() -> None:
    verdicts = judged(EXPERIMENT, CONFIG, lambda setting: _made(setting, 1.5))
    growth = verdicts["unadapted step"][1::2]
    assert growth == ["refuted"] * 3
    assert verdicts["fast convergence"][:8] == ["refuted", "confirmed"] * 4


def test_steps_that_are_too_short_are_refuted_where_they_must_diverge() -> None:
    verdicts = judged(EXPERIMENT, CONFIG, lambda setting: _made(setting, 0.05))
    assert verdicts["unadapted step"][:4] == ["refuted"] * 4
    assert verdicts["fast convergence"][:8] == ["confirmed", "refuted"] * 4


def test_a_run_that_goes_the_other_way_leaves_the_sign_open() -> None:
    def one_falls(setting: Setting) -> Record:
        record = _made(setting)
        if setting.name != "run-sgd-step-s2":
            return record
        first = record.table["trial"] == 0
        return Record(record.table.assign(relative_error=record.table["relative_error"].where(~first, 0.1)), {})

    assert judged(EXPERIMENT, CONFIG, one_falls)["unadapted step"][2] == "inconclusive"


def test_traces_that_are_too_short_are_not_confirmed() -> None:
    verdicts = judged(EXPERIMENT, CONFIG, lambda setting: cut(_made(setting)))
    assert set(verdicts["unadapted step"][1::2]) == {"inconclusive"}
    assert set(verdicts["fast convergence"][:8]) == {"inconclusive"}
    assert verdicts["unadapted step"][0] == "refuted"
    assert set(verdicts["fast convergence"][8:]) == {"refuted"}


def test_the_figure_has_runs_at_both_steps_and_their_predictions() -> None:
    results = {setting.name: _made(setting) for setting in EXPERIMENT.settings(CONFIG)}
    tables = EXPERIMENT.judge(CONFIG, results, {}).tables
    assert tuple(tables) == EXPERIMENT.TABLES
    with style.in_house():
        figure = step_instability.draw([tables[name.split(".")[1]] for name in FIGURES["step_instability"].tables])
        figure.draw_without_rendering()
    for axes in figure.axes:
        assert axes.get_xlabel() == "iterations"
        dashed = [np.asarray(line.get_ydata()) for line in axes.lines if line.is_dashed()]
        assert len(dashed) == 3
        for curve in dashed:
            assert curve[0] == pytest.approx(np.sqrt(START))
    assert figure.axes[0].get_ylabel().startswith("relative error")


def test_real_runs_in_small_are_not_refuted() -> None:
    small = {
        "dimension": 50,
        "workers": 2,
        "levels": [1, 8],
        "iterations": 150,
        "record_every": 5,
        "steps": 100,
        "limit_steps": 100,
    }
    config = {"seed": 5, "step_instability": {**CONFIG["step_instability"], **small}}
    judgement = EXPERIMENT.judge(config, trials.simulate(EXPERIMENT.settings(config), 5)[0].results, {})
    assert "refuted" not in {verdict.verdict for verdict in judgement.verdicts["unadapted step"]}
    assert [verdict.verdict for verdict in judgement.verdicts["unadapted step"]][::2] == ["confirmed"] * 2
