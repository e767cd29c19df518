"""Ablations: verdicts on runs in small and on defects planted in them, the predictions, the figure."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from made_traces import cut, faster

from relufit import theory
from relufit.claims.trace_files import Record
from relufit.experiments.ablations.experiment import Ablations
from relufit.experiments.framework import trials
from relufit.figures import FIGURES, ablations, style
from relufit.planted import PlantedModel

EXPERIMENT = Ablations()
CONFIG: dict[str, Any] = {
    "seed": 2,
    "ablations": {
        "dimension": 100,
        "ratio": 20,
        "workers": 2,
        "mini_batch": 20,
        "levels": 5,
        "noise": {"stds": [0.01], "step_factor": 0.5, "iterations": 600},
        "inputs": ["gaussian", "autoregressive"],
        "buckets": {"norms": ["l2", "max"], "sizes": [25, None], "levels": 4, "coding": "rans"},
        "step_factors": {"sgd": [0.5, 1.0], "qsgd": [1.0]},
        "tolerance": 1e-5,
        "iterations": 10000,
        "record_every": 5,
        "trials": 12,
    },
}
Traces = dict[str, Record]


@pytest.fixture(scope="module")
def traces() -> Traces:
    """Real runs."""
    return trials.simulate(EXPERIMENT.settings(CONFIG), CONFIG["seed"])[0].results


def _verdicts(traces: Traces) -> dict[tuple[str, str], str]:
    verdicts = EXPERIMENT.judge(CONFIG, traces, {}).verdicts
    return {(verdict.statistic, verdict.setting): verdict.verdict for topic in verdicts.values() for verdict in topic}


def _refuted(traces: Traces) -> set[str]:
    return {setting for (_, setting), verdict in _verdicts(traces).items() if verdict == "refuted"}


def test_settings_have_names_of_their_own_and_each_part_is_a_job() -> None:
    settings = EXPERIMENT.settings(CONFIG)
    assert len({setting.name for setting in settings}) == len(settings) == 2 + 2 + 5 + 3
    assert list(dict.fromkeys(setting.group for setting in settings)) == ["noise", "inputs", "buckets", "steps"]


def test_right_traces_are_not_refuted_and_nearly_all_confirmed(traces: Traces) -> None:
    verdicts = list(_verdicts(traces).values())
    assert len(verdicts) == 3 + 3 + 8 + 3
    assert verdicts.count("refuted") == 0
    assert verdicts.count("confirmed") >= len(verdicts) - 2


def test_errors_at_rest_that_are_a_tenth_larger_are_refuted(traces: Traces) -> None:
    table, about = traces["noise-0.01-qsgd"]
    louder = Record(table.assign(relative_error=table["relative_error"] * 1.15), about)
    # So is the floor over that of SGD.
    assert _refuted({**traces, "noise-0.01-qsgd": louder}) == {"noise-0.01-qsgd", "noise-0.01"}


@pytest.mark.parametrize("name", ["inputs-gaussian", "bucket-max-25", "step-0.5-sgd", "step-1-qsgd"])
def test_runs_that_are_faster_by_a_quarter_are_refuted(traces: Traces, name: str) -> None:
    assert name in _refuted({**traces, name: faster(traces[name], 1.25)})


def test_correlated_inputs_that_are_as_fast_as_independent_ones_are_refuted(traces: Traces) -> None:
    same = {**traces, "inputs-autoregressive": traces["inputs-gaussian"]}
    verdicts = _verdicts(same)
    # Whether they are slower at all stays open, or is refuted by chance; that they are as slow as predicted is refuted.
    slower, as_predicted = [verdict for (_, name), verdict in verdicts.items() if name == "inputs-autoregressive"]
    assert slower != "confirmed"
    assert as_predicted == "refuted"


def test_a_code_that_is_longer_than_expected_is_refuted(traces: Traces) -> None:
    table, about = traces["bucket-l2-25"]
    longer = Record(table.assign(uplink_bytes=table["uplink_bytes"] * 1.06), about)
    assert _refuted({**traces, "bucket-l2-25": longer}) == {"bucket-l2-25"}


@pytest.mark.parametrize("rows", [1, 4])
def test_short_traces_leave_the_verdicts_open(traces: Traces, rows: int) -> None:
    verdicts = _verdicts({name: cut(record, rows) for name, record in traces.items()})
    assert {verdict for (statistic, _), verdict in verdicts.items() if "length" not in statistic} == {"inconclusive"}


def test_the_slope_of_correlated_inputs_comes_from_their_own_covariance(traces: Traces) -> None:
    x, _ = PlantedModel(40000, 100, 1, inputs="autoregressive").rows(0, 40000)
    eigenvalues = np.linalg.eigvalsh(x.T.astype(float) @ x / len(x)) / 2
    even = np.full(100, 0.01)
    step = theory.optimal_step(100, 20)
    start = theory.initial_profile(eigenvalues, even)
    curve = theory.fixed_data_curve(eigenvalues, even, 100, 20, step, 10000, initial_error_squared=start)
    first, last = (int(np.argmax(curve <= error)) for error in (1e-4, 1e-10))
    slope = np.log(curve[last] / curve[first]) / (last - first)
    gaussian = theory.log_contraction(100, 20, step)
    table = EXPERIMENT.judge(CONFIG, traces, {}).tables["inputs"].set_index("inputs")
    assert table.loc["autoregressive", "predicted"] == pytest.approx(slope / gaussian, rel=0.03)
    assert table.loc["gaussian", "predicted"] == 1


def test_the_figure_has_a_panel_for_each_part_with_its_prediction(traces: Traces) -> None:
    tables = EXPERIMENT.judge(CONFIG, traces, {}).tables
    assert tuple(tables) == EXPERIMENT.TABLES
    with style.in_house():
        figure = ablations.draw([tables[name.split(".")[1]] for name in FIGURES["ablations"].tables])
        figure.draw_without_rendering()
    noise, steps, inputs, buckets = figure.axes
    assert [sum(line.is_dashed() for line in axes.lines) for axes in figure.axes] == [2, 2, 2, 4]
    assert noise.get_xlabel() == "standard deviation of the noise"
    assert steps.get_xlabel() == "step over the best one"
    assert [text.get_text() for text in inputs.get_yticklabels()] == ["Gaussian", "autoregressive"]
    assert buckets.get_xlabel() == "coordinates of a bucket"
    rates = next(np.asarray(line.get_ydata()) for line in steps.lines if line.is_dashed())
    assert rates.max() == pytest.approx(-100 * theory.log_contraction(100, 20, theory.optimal_step(100, 20)), rel=0.01)
