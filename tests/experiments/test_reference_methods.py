"""Methods of the references: verdicts on made traces, the figure, and a run in small."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_traces import cut, faster, judged, run

from relufit import theory
from relufit.claims.trace_files import Record
from relufit.exchange import find_exchange
from relufit.experiments.framework.base import Setting
from relufit.experiments.framework.quantized import make
from relufit.experiments.reference_methods.experiment import ReferenceMethods, expected_iterations
from relufit.experiments.reference_methods.experiment import cells as cells_of
from relufit.figures import FIGURES, reference_methods, style

EXPERIMENT = ReferenceMethods()
SECTION: dict[str, Any] = {
    "dimension": 100,
    "ratio": 10,
    "workers": 2,
    "mini_batch": 16,
    "levels": 5,
    "votes": [2, 4],
    "tolerance": 1e-4,
    "iterations": 20000,
    "points": 60,
    "trials": 6,
    "delayed": {"delays": [1, 4], "mini_batch": 100, "trials": 6},
    "averaging": {"std": 0.03, "step_factor": 0.5, "average_from": 600, "iterations": 2400, "trials": 16},
}
CONFIG: dict[str, Any] = {"seed": 1, "reference_methods": SECTION}
START, TOPIC = 203 / 1000, "methods of the references"
NOISE = ["averaged-fp64", "averaged-qsgd-s5"]


def _curvature(setting: Setting, m: float, d: int = 100) -> float:
    """The mean square of a gradient over that of the error, in units in which its mean is half of the error."""
    lengths = d if setting.spec.get("gradient") == "kaczmarz" else d + 2
    return (m - 1) / (4 * m) + lengths / (2 * m)


def _rate(setting: Setting) -> float:
    """The factor of a step, written out."""
    m, workers = setting.spec["batch_size"], setting.spec["workers"]
    omega, _ = find_exchange("master").variances(make(setting.spec["compressor"]).variance, 100, workers)
    if delay := setting.spec.get("delay"):
        return _delayed_rate(
            delay, _curvature(setting, m) + (omega or 0.0) / workers * _curvature(setting, m / workers)
        )
    return 1 - 1 / (4 * (_curvature(setting, m) + (omega or 0.0) / workers * _curvature(setting, m / workers)))


@cache
def _delayed_rate(delay: int, curvature: float) -> float:
    """The factor of a step that is best for a delay: of all steps, by the products of errors after many steps."""
    rates = []
    for step in np.linspace(0.02, 1.5, 149):
        errors = np.ones((delay + 1, delay + 1))
        for _ in range(200):
            grown = np.empty_like(errors)
            grown[1:, 1:] = errors[:-1, :-1]
            grown[0, 1:] = grown[1:, 0] = errors[0, :-1] - step / 2 * errors[-1, :-1]
            grown[0, 0] = errors[0, 0] - step * errors[0, -1] + step**2 * curvature * errors[-1, -1]
            before, errors = errors[0, 0], grown / grown[0, 0]
        rates.append(grown[0, 0] / before if grown[0, 0] > 0 else math.inf)
    return min(rates)


def _averaged(setting: Setting, *, mean: float = 1.0, weights: float = 1.0) -> Record:
    """Traces of runs at the predicted errors, times factors."""
    averaging, draw = SECTION["averaging"], np.random.default_rng(len(setting.name))
    omega, _ = find_exchange("master").variances(make(setting.spec["compressor"]).variance, 100, 2)
    step, known = setting.spec["step_size"], {"omega": omega or 0.0, "workers": 2}
    arguments = (100, 16, step, 0.03, averaging["iterations"])
    floor = theory.label_noise_curve(*arguments, initial_error_squared=START, **known)
    below = theory.averaged_noise_curve(*arguments, initial_error_squared=START, average_from=600, **known)
    kept, tables = np.arange(0, 2401, setting.spec["record_every"]), []
    for trial in range(setting.trials):
        scatter = 1 + 0.1 * draw.standard_normal((2, kept.size))
        columns = {
            "iteration": kept,
            "relative_error": np.sqrt(weights * floor[kept] * scatter[0]),
            "loss": 1.0,
            "average_error": np.sqrt(mean * below[kept] * scatter[1]),
        }
        tables.append(pd.DataFrame({**columns, "trial": trial}))
    return Record(pd.concat(tables, ignore_index=True), {})


def _voted(setting: Setting) -> Record:
    """Traces of signSGD at the predicted errors."""
    spec, draw, tables = setting.spec, np.random.default_rng(len(setting.name)), []
    halved = theory.HalvedStep(spec["step_size"], spec["halve_every"])
    curve = theory.majority_curve(100, spec["batch_size"], halved, 20000, error_squared=START, workers=spec["workers"])
    kept = np.arange(0, int(1.2 * theory.iterations_to(curve, 1e-4)), spec["record_every"])
    for trial in range(setting.trials):
        errors = np.sqrt(curve[kept]) * np.exp(0.02 * draw.standard_normal(kept.size))
        rows = {"iteration": kept, "relative_error": errors, "loss": 1.0, "trial": trial}
        tables.append(pd.DataFrame(rows))
    return Record(pd.concat(tables, ignore_index=True), {})


def _made(setting: Setting, rate: Callable[[Setting], float] = _rate, **factors: float) -> Record:
    if setting.group == "averaging":
        return _averaged(setting, **factors)
    if setting.group == "votes":
        return _voted(setting)
    if setting.group == "delays":
        return run(setting, rate(setting), START, np.random.default_rng(len(setting.name)))
    zero = setting.spec["initial_weights"] == "zero"
    if zero and setting.spec["gradient"] == "sgd":
        return run(setting, 1.0, 1.0, np.random.default_rng(0))
    return run(setting, rate(setting), 1.0 if zero else START, np.random.default_rng(len(setting.name)))


def test_the_settings_are_every_gradient_with_qsgd_and_along_rows_and_two_starts_from_zero() -> None:
    settings = {setting.name: setting for setting in EXPERIMENT.settings(CONFIG)}
    gradients = ("sgd", "glm_tron", "kaczmarz")
    assert list(settings) == [
        *(f"{gradient}-{code}-m16" for code in ("fp64", "qsgd-s5") for gradient in gradients),
        *(f"{gradient}-fp64-m1" for gradient in gradients),
        "sgd-fp64-m16-zero",
        "glm_tron-fp64-m16-zero",
        "majority-K2-m16",
        "majority-K4-m16",
        *(f"delay-{delay}-{code}" for delay in (1, 4) for code in ("sgd", "qsgd-s5")),
        *NOISE,
    ]
    assert settings["delay-4-qsgd-s5"].spec["delay"] == 4
    vote = settings["majority-K4-m16"].spec
    assert (vote["compressor"], vote["exchange"]) == ({"name": "majority"}, "all_reduce")
    assert settings["kaczmarz-fp64-m1"].spec["workers"] == 1
    assert settings["glm_tron-fp64-m16-zero"].spec["initial_weights"] == "zero"
    assert settings["averaged-fp64"].data["noise_std"] == 0.03
    assert len({settings[name].spec["step_size"] for name in NOISE}) == 1
    assert {setting.group for setting in settings.values()} == {"methods", "votes", "delays", "averaging"}


def test_the_predicted_iterations_are_those_of_the_factor_written_out() -> None:
    settings = {setting.name: setting for setting in EXPERIMENT.settings(CONFIG)}
    for cell in cells_of(SECTION):
        due = math.log(1e-8 / (1.0 if cell.start == "zero" else START)) / math.log(_rate(settings[cell.name]))
        expected = expected_iterations(SECTION, cell)
        if cell.gradient == "glm_tron":  # which has the rate of SGD but on its way there
            assert 0.95 * due < expected < due + 1
        elif not cell.stays:
            assert expected == pytest.approx(due, rel=1e-9)


def test_right_traces_are_confirmed() -> None:
    assert judged(EXPERIMENT, CONFIG, _made) == {TOPIC: ["confirmed"] * (11 + 2 + 4 + 4)}


@pytest.mark.parametrize(
    "name", ["kaczmarz-fp64-m1", "glm_tron-qsgd-s5-m16", "glm_tron-fp64-m16-zero", "majority-K4-m16", "delay-4-sgd"]
)
def test_iterations_that_are_off_by_a_fifth_are_refuted(name: str) -> None:
    made = judged(EXPERIMENT, CONFIG, lambda s: faster(_made(s), 1.25 if s.name == name else 1.0))
    assert made[TOPIC].count("refuted") == 1


def test_weights_that_leave_zero_where_they_should_not_are_refuted() -> None:
    def moving(setting: Setting) -> Record:
        if setting.name == "sgd-fp64-m16-zero":
            return run(setting, 0.999, 1.0, np.random.default_rng(0))
        return _made(setting)

    assert judged(EXPERIMENT, CONFIG, moving)[TOPIC].count("refuted") == 1


@pytest.mark.parametrize("factors", [{"mean": 1.3}, {"weights": 1.3}])
def test_errors_under_noise_that_are_off_are_refuted(factors: dict[str, float]) -> None:
    assert judged(EXPERIMENT, CONFIG, lambda s: _made(s, **factors))[TOPIC].count("refuted") == 2


def test_traces_that_are_cut_leave_the_verdicts_open() -> None:
    verdicts = judged(EXPERIMENT, CONFIG, lambda setting: cut(_made(setting), 3))
    assert set(verdicts[TOPIC]) == {"inconclusive"}


def test_the_figure_has_every_method_and_both_curves_with_their_predictions() -> None:
    results = {setting.name: _made(setting) for setting in EXPERIMENT.settings(CONFIG)}
    tables = EXPERIMENT.judge(CONFIG, results, {}).tables
    assert tuple(tables) == EXPERIMENT.TABLES
    with style.in_house():
        figure = reference_methods.draw([tables[name.split(".")[1]] for name in FIGURES["reference_methods"].tables])
        figure.draw_without_rendering()
    left, right = figure.axes
    methods = tables["methods"]
    drawn = [
        float(np.asarray(line.get_xdata(), float)[0])
        for line in left.lines
        if line.get_marker() in ("o", "s", "D", "^", "v")
    ]
    assert drawn == pytest.approx((methods["iterations"] / methods["iterations_predicted"]).tolist())
    labels = [label.get_text() for label in left.get_yticklabels()]
    assert labels[0] == f"SGD, $m$ = 16: {methods['iterations'].iloc[0]:.0f}"
    assert labels[-7].startswith("GLM-tron, $m$ = 16, from zero: ")
    assert labels[-5].startswith("majority, $K$ = 4, $m$ = 16: ")
    assert labels[-1].startswith("SGD, delay 4, $s$ = 5, $m$ = 100: ")
    assert len(labels) == len(methods) == 16
    assert len(right.lines) == 2 * 4
    averaging = tables["averaging"]
    mean = averaging[(averaging["run"] == "averaged-fp64") & (averaging["quantity"] == "mean")]
    assert mean["iteration"].min() >= 600
    assert mean["error"].to_numpy() == pytest.approx(mean["predicted"].to_numpy(), rel=0.15)
