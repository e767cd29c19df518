"""QSGD where sums are encoded again: verdicts on made traces, their predictions written out, and a run in small."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from made_traces import cut, faster, judged, run

from relufit import theory
from relufit.claims.trace_files import Record
from relufit.compression import make_compressor
from relufit.errors import ConfigError
from relufit.experiments.exchange_convergence.experiment import ExchangeConvergence
from relufit.experiments.exchange_convergence.section import ExchangeConvergenceSection
from relufit.experiments.framework import trials
from relufit.experiments.framework.base import Setting
from relufit.figures import FIGURES, exchange_convergence, style

EXPERIMENT = ExchangeConvergence()
D, RATIO, WORKERS, M = 120, 10, 4, 12
CONFIG: dict[str, Any] = {
    "seed": 1,
    "exchange_convergence": {
        "dimension": D,
        "ratio": RATIO,
        "workers": WORKERS,
        "mini_batch": M,
        "runs": [{"exchange": "all_reduce", "levels": 4}, {"exchange": "requantize", "levels": 7}],
        "coding": "rans",
        "sampling": "fresh",
        "tolerance": 1e-4,
        "iterations": 20000,
        "record_every": 5,
        "trials": 6,
    },
}
START = (2 * D + 3) / (RATIO * D)
#: Coordinates that share a norm, and payloads of as many coordinates that a rank sends in an iteration.
ENCODED = {"all_reduce": (30, 2 * 3), "requantize": (120, 1)}


def _rate(setting: Setting, *, second: bool = True) -> float:
    """Return 1 - 1/(4 A'), A' = (1 + omega)[A + (omega/K) B], written out; 1 - 1/(4 A_q) without `second` encoding."""
    levels = setting.spec["compressor"].get("levels")
    omega = theory.qsgd_variance(ENCODED[setting.spec["exchange"]][0], levels) if levels else 0.0
    b = M / WORKERS
    curvature = (M + 2 * D + 3) / (4 * M) + omega / WORKERS * (b + 2 * D + 3) / (4 * b)
    return 1 - 1 / (4 * curvature * (1 + omega * second))


def _sent(setting: Setting) -> int:
    """Return the bytes that all ranks send in an iteration."""
    size, copies = ENCODED[setting.spec["exchange"]]
    compressor = make_compressor(**setting.spec["compressor"])
    bits = compressor.expected_bits(size)
    assert bits is not None
    return round(WORKERS * copies * bits / 8)


def _right(setting: Setting) -> Record:
    return _with_moments(setting, run(setting, _rate(setting), START, np.random.default_rng(3), cost=_sent(setting)))


def _with_moments(setting: Setting, record: Record) -> Record:
    """Return a trace whose bytes begin with those of the initial weights, in fp64 with a header of 12 bytes or less."""
    copies = 3 if setting.spec["exchange"] == "all_reduce" else 1
    moments = WORKERS * copies * len(make_compressor("fp64").encode(np.ones(D), 0))
    return record._replace(table=record.table.assign(uplink_bytes=record.table["uplink_bytes"] - 10 + moments))


def test_right_traces_are_confirmed() -> None:
    verdicts = judged(EXPERIMENT, CONFIG, _right)
    assert verdicts == {"fast convergence": ["confirmed"] * 3, "communication": ["confirmed"] * 5}


def test_iterations_without_the_second_encoding_are_refuted() -> None:
    verdicts = judged(
        EXPERIMENT,
        CONFIG,
        lambda setting: _with_moments(
            setting, run(setting, _rate(setting, second=False), START, np.random.default_rng(3), cost=_sent(setting))
        ),
    )
    assert verdicts["fast convergence"] == ["confirmed", "refuted", "refuted"]


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_bytes_that_are_off_by_a_fifth_are_refuted(factor: float) -> None:
    def wrong(setting: Setting) -> Record:
        record = _right(setting)
        if setting.name != "qsgd-s4-all_reduce":
            return record
        return record._replace(table=record.table.assign(uplink_bytes=factor * record.table["uplink_bytes"]))

    verdicts = judged(EXPERIMENT, CONFIG, wrong)
    assert verdicts["communication"] == ["confirmed", "refuted", "refuted", "confirmed", "confirmed"]
    assert set(verdicts["fast convergence"]) == {"confirmed"}


def test_a_baseline_that_takes_too_long_is_refuted_with_all_that_is_compared_with_it() -> None:
    verdicts = judged(
        EXPERIMENT, CONFIG, lambda setting: faster(_right(setting), 0.8 if setting.name.startswith("sgd") else 1)
    )
    assert verdicts["fast convergence"] == ["refuted", "confirmed", "confirmed"]


@pytest.mark.parametrize("rows", [1, 3])
def test_traces_that_do_not_come_down_to_the_tolerance_leave_the_verdicts_open(rows: int) -> None:
    verdicts = judged(EXPERIMENT, CONFIG, lambda setting: cut(_right(setting), rows))
    assert {verdict for topic_verdicts in verdicts.values() for verdict in topic_verdicts} == {"inconclusive"}


def test_the_settings_are_at_the_step_of_both_variances_and_share_their_data() -> None:
    settings = EXPERIMENT.settings(CONFIG)
    assert [setting.name for setting in settings] == ["sgd-fp32-all_reduce", "qsgd-s4-all_reduce", "qsgd-s7-requantize"]
    assert {setting.spec["step_size"] for setting in settings} == {"optimal"}
    assert {setting.stream for setting in settings} == {""}


def test_the_table_has_the_prediction_of_each_run() -> None:
    results = {setting.name: _right(setting) for setting in EXPERIMENT.settings(CONFIG)}
    judgement = EXPERIMENT.judge(CONFIG, results, {})
    assert tuple(judgement.tables) == EXPERIMENT.TABLES
    table = judgement.tables["summary"].set_index("setting")
    for setting in EXPERIMENT.settings(CONFIG):
        due = math.log(START / 1e-8) / -math.log(_rate(setting))
        row = table.loc[setting.name]
        assert row["iterations_predicted"] == pytest.approx(due, rel=1e-6)
        copies = 3 if setting.spec["exchange"] == "all_reduce" else 1
        assert row["sent_predicted"] == pytest.approx(due * _sent(setting) / WORKERS + copies * (8 * D + 12), rel=0.003)


def test_the_figure_marks_each_run_and_its_prediction() -> None:
    results = {setting.name: _right(setting) for setting in EXPERIMENT.settings(CONFIG)}
    tables = EXPERIMENT.judge(CONFIG, results, {}).tables
    with style.in_house():
        figure = exchange_convergence.draw(
            [tables[name.split(".")[1]] for name in FIGURES["exchange_convergence"].tables]
        )
        figure.draw_without_rendering()
    (axes,) = figure.axes
    crosses = [line.get_xydata()[0] for line in axes.lines if line.get_marker() == "+" and len(line.get_xydata())]
    summary = tables["summary"].sort_values("sent")
    assert np.asarray(crosses) == pytest.approx(
        np.column_stack([summary["sent_predicted"] / 1000, summary["iterations_predicted"]])
    )


def test_ranks_without_a_sample_are_refused() -> None:
    with pytest.raises(ConfigError, match="mini_batch"):
        ExchangeConvergenceSection(**{**CONFIG["exchange_convergence"], "mini_batch": 3})


def test_real_runs_in_small_are_not_refuted() -> None:
    small = {"trials": 3, "tolerance": 1e-3, "sampling": "with_replacement"}
    config = {"seed": 5, "exchange_convergence": {**CONFIG["exchange_convergence"], **small}}
    traces = trials.simulate(EXPERIMENT.settings(config), 5)[0].results
    judgement = EXPERIMENT.judge(config, traces, {})
    assert "refuted" not in {verdict.verdict for verdicts in judgement.verdicts.values() for verdict in verdicts}
    assert judgement.tables["summary"].notna().drop(columns="levels").all(axis=None)


def test_an_exchange_that_does_not_encode_sums_is_refused_with_those_that_do() -> None:
    runs = [*CONFIG["exchange_convergence"]["runs"], {"exchange": "relay", "levels": 4}]
    config = {"seed": 1, "exchange_convergence": {**CONFIG["exchange_convergence"], "runs": runs}}
    with pytest.raises(ConfigError, match=r"runs\.2\.exchange: relay does not encode sums") as refused:
        EXPERIMENT.settings(config)
    assert refused.value.remedy == "choose one of requantize, all_reduce"
