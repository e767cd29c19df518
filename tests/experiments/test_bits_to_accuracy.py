"""Bytes to an accuracy: verdicts on runs in small and on defects planted in them, the counts, the figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_traces import cut

import relufit
from relufit.claims.topics import Topic
from relufit.claims.trace_files import Record
from relufit.experiments.bits_to_accuracy.by_ranks import by_ranks, vanishes_at
from relufit.experiments.bits_to_accuracy.experiment import BitsToAccuracy
from relufit.experiments.bits_to_accuracy.runs import expected_baseline, expected_bytes
from relufit.experiments.configuration import load
from relufit.experiments.framework import trials
from relufit.experiments.framework.base import Setting, seed_of
from relufit.experiments.framework.counted_exchanges import baseline_bytes
from relufit.experiments.framework.procedures import model_of
from relufit.figures import FIGURES, bits_by_exchange, bytes_by_coding, error_against_bytes, gain_by_ranks, style

EXPERIMENT = BitsToAccuracy()
D, RANKS = 256, 4
CONFIG: dict[str, Any] = {
    "seed": 3,
    "bits_to_accuracy": {
        "dimension": D,
        "ratio": 10,
        "workers": RANKS,
        "mini_batch": 40,
        "levels": [8],
        "max_norm_levels": [3],
        "codings": ["packed", "elias", "rans"],
        "coded": {"iterations": 60, "trials": 4},
        "compressors": [{"name": "natural", "coding": "auto"}],
        "larger_batches": [4],
        "shipped_rows": [1.2, None],
        "bucket_size": None,
        "sampling": "with_replacement",
        "tolerance": 1e-4,
        "iterations": 20000,
        "record_every": 5,
        "trials": 5,
        "long_runs": {"iterations": 5000, "trials": 2},
    },
}
SAVING = "uplink bytes of SGD with fp32 over those of QSGD, to the same error"
Traces = dict[str, Record]


@pytest.fixture(scope="module")
def traces() -> Traces:
    """Real runs."""
    return trials.simulate(EXPERIMENT.settings(CONFIG), CONFIG["seed"])[0].results


def _judged(traces: Traces) -> dict[tuple[str, str], str]:
    """Return the verdicts by the statistic and the setting."""
    verdicts = EXPERIMENT.judge(CONFIG, traces, {}).verdicts
    return {(verdict.statistic, verdict.setting): verdict.verdict for topic in verdicts.values() for verdict in topic}


def _changed(traces: Traces, name: str, **factors: float) -> Traces:
    """Return traces in which some columns of a setting are multiplied."""
    table, about = traces[name]
    return {
        **traces,
        name: Record(table.assign(**{column: table[column] * by for column, by in factors.items()}), about),
    }


def _setting(name: str) -> Setting:
    return next(setting for setting in EXPERIMENT.settings(CONFIG) if setting.name == name)


def test_settings_of_a_group_have_one_procedure_and_a_long_run_is_a_group_of_its_own() -> None:
    section = {**CONFIG["bits_to_accuracy"], "levels": [1, 8], "long_runs": {"iterations": 600, "trials": 2}}
    settings = EXPERIMENT.settings({"bits_to_accuracy": section})
    assert len({setting.name for setting in settings}) == len(settings) == 1 + 2 * 3 + 1 + 1 + 1 + 2
    groups: dict[str, set[str]] = {}
    for setting in settings:
        groups.setdefault(setting.group, set()).add(setting.procedure)
    assert groups == {
        **{name: {"train"} for name in ("sgd", "qsgd-s1-packed", "packed", "elias", "rans")},
        "rows": {"ship_rows"},
    }
    assert {setting.name: setting.trials for setting in settings if "packed" in setting.name} == {
        "qsgd-s1-packed": 2,
        "qsgd-s8-packed": 5,
    }


def test_right_traces_are_confirmed(traces: Traces) -> None:
    judged = {key: verdict for key, verdict in _judged(traces).items() if verdict != "described"}
    assert len(judged) == 2 + 2 + 4 + 2 + 1 + 4 + 2 * 3
    # To an error as large as this one SGD sends about as much as the rows have.
    assert {name for (_, name), verdict in judged.items() if verdict != "confirmed"} <= {"rows-all"}


def test_speed_and_bytes_are_shown_at_the_same_settings(traces: Traces) -> None:
    judged = _judged(traces)
    for name in ("qsgd-s8-rans", "qsgd-max-s3-rans"):
        assert judged[f"{SAVING}, over the prediction", name] == "confirmed"
        assert judged[SAVING, name] == "described"
        assert judged["iterations of QSGD over those of SGD with fp32, in the same runs", name] == "described"


def test_errors_that_differ_in_the_last_digit_are_refuted_for_that_coding(traces: Traces) -> None:
    judged = _judged(_changed(traces, "qsgd-s8-rans", relative_error=1 + 1e-15))
    assert [key for key, verdict in judged.items() if verdict == "refuted"] == [
        ("the errors of the first 60 iterations are the same numbers in rans as in packed", "all levels")
    ]


def test_a_code_that_is_a_fiftieth_longer_than_expected_is_refuted(traces: Traces) -> None:
    judged = _judged(_changed(traces, "qsgd-s8-elias", uplink_bytes=1.02))
    assert ("length of a message over the expected one", "qsgd-s8-elias") in [
        key for key, verdict in judged.items() if verdict == "refuted"
    ]


def test_a_saving_that_is_a_tenth_less_than_predicted_is_refuted(traces: Traces) -> None:
    judged = _judged(_changed(traces, "sgd-fp32", uplink_bytes=0.87))
    assert judged[f"{SAVING}, over the prediction", "qsgd-s8-rans"] == "refuted"
    assert judged[f"{SAVING}, over the prediction", "qsgd-max-s3-rans"] == "refuted"


def test_weights_that_come_back_in_half_the_bytes_are_refuted(traces: Traces) -> None:
    judged = _judged(_changed(traces, "qsgd-s8-packed", downlink_bytes=0.5))
    (verdict,) = [verdict for (statistic, _), verdict in judged.items() if "sent back to each rank" in statistic]
    assert verdict == "refuted"


def test_rows_that_do_not_give_the_weights_are_refuted(traces: Traces) -> None:
    judged = _judged(_changed(traces, "rows-all", relative_error=1e6))
    assert [name for (_, name), verdict in judged.items() if verdict == "refuted"] == ["rows-all"]


@pytest.mark.parametrize("rows", [1, 3])
def test_runs_that_did_not_come_to_the_tolerance_leave_the_verdicts_on_bytes_open(traces: Traces, rows: int) -> None:
    short = {name: record if name.startswith("rows") else cut(record, rows) for name, record in traces.items()}
    judged = _judged(short)
    decided = {verdict for (statistic, _), verdict in judged.items() if "bytes" in statistic} - {"described"}
    assert decided == {"inconclusive"}


def test_the_bytes_of_a_coding_are_those_of_a_whole_run_in_it(traces: Traces) -> None:
    setting = _setting("qsgd-s8-rans")
    whole = {**setting.spec, "iterations": 20000}
    data, seed = model_of(setting, 3, 0), seed_of(setting, 3, "training", 0)
    sent = relufit.train(relufit.TrainingSpec(dataset=data, seed=seed, **whole)).table["uplink_bytes"].iloc[-1]
    one = {name: Record(record.table[record.table["trial"] == 0], record.about) for name, record in traces.items()}
    table = EXPERIMENT.judge(CONFIG, one, {}).tables["exchanges"].set_index("setting")
    assert table.loc["qsgd-s8-rans", "uplink_bytes"] == pytest.approx(sent, rel=0.01)


def test_bytes_in_each_exchange_are_those_counted_by_hand(traces: Traces) -> None:
    table = traces["sgd-fp32"].table.groupby("trial").last()
    row = EXPERIMENT.judge(CONFIG, traces, {}).tables["exchanges"].set_index("setting").loc["sgd-fp32"]
    iterations = table["iteration"].mean()
    up = RANKS * (4 + 8 * D) + iterations * RANKS * (4 + 4 * D)
    expected = {
        "uplink": up,
        "master_fp64": up + iterations * RANKS * (4 + 8 * D),
        "model_master_fp32": up + iterations * RANKS * (4 + 4 * D),
        "model_broadcast_fp32": up + iterations * (4 + 4 * D),
        "model_relay": RANKS * up,
        "model_all_gather": (RANKS - 1) * up,
    }
    assert {exchange: row[f"{exchange}_bytes"] for exchange in expected} == pytest.approx(expected)
    assert [column for column in row.index if column.startswith("model_")]


def test_bytes_of_fp32_by_all_reduce_are_those_of_a_run(traces: Traces) -> None:
    """What is counted and not run in the experiment, run here: the iterations are the same, the bytes equal."""
    setting = _setting("sgd-fp32")
    data, seed = model_of(setting, 3, 0), seed_of(setting, 3, "training", 0)
    spec = relufit.TrainingSpec(dataset=data, seed=seed, **{**setting.spec, "exchange": "all_reduce"})
    last = relufit.train(spec).table.iloc[-1]
    table = traces["sgd-fp32"].table
    assert last["iteration"] == table[table["trial"] == 0]["iteration"].iloc[-1]
    sent = last["uplink_bytes"] + last["downlink_bytes"]
    assert baseline_bytes(float(last["iteration"]), RANKS, D) == sent


def test_gains_against_fp32_by_all_reduce_are_those_of_bytes_counted_by_hand(traces: Traces) -> None:
    tables = EXPERIMENT.judge(CONFIG, traces, {}).tables
    single = traces["sgd-fp32"].table.groupby("trial")["iteration"].last()
    # Parts have a header each, and in all exchanges without a master moments go to every other rank.
    vector, moments = 4 * D + 4 * RANKS, RANKS * (RANKS - 1) * (8 * D + 4)
    baseline = moments + single * 2 * (RANKS - 1) * vector
    rows = tables["exchanges"].set_index("setting")
    own = moments + single * RANKS * (RANKS - 1) * (4 * D + 4)
    row = rows.loc["sgd-fp32"]
    assert row["model_all_gather_baseline_saving"] == pytest.approx((baseline / own).mean())
    assert row["model_all_gather_baseline_saving"] < 1
    summary = tables["summary"].set_index(["setting", "quantity"])
    sent = traces["rows-all"].table.set_index("trial")["payload_bytes"]
    expected = (baseline.loc[sent.index] / sent).mean()
    assert summary.loc[("rows-all", "baseline_saving"), "mean"] == pytest.approx(expected)
    coded = tables["codings"].set_index("coding").loc["rans"]
    ratio = coded["baseline_saving"] / coded["saving"]
    assert ratio == pytest.approx(2 / RANKS, rel=0.03)


def test_a_gain_against_fp32_by_all_reduce_that_is_a_tenth_off_is_refuted_and_a_loss_is_said(traces: Traces) -> None:
    judged = _judged(_changed(traces, "qsgd-max-s3-rans", uplink_bytes=0.85))
    statistic = "bytes of SGD with fp32 by all-reduce over those of QSGD with an all-gather, to the same error"
    assert judged[f"{statistic}, over the prediction", "qsgd-max-s3-rans"] == "refuted"
    assert judged[f"{statistic}, over the prediction", "qsgd-s8-rans"] == "confirmed"
    (lost,) = [
        verdict
        for verdict in EXPERIMENT.judge(CONFIG, traces, {}).verdicts[Topic.ALL_REDUCE]
        if verdict.setting == "qsgd-s8-rans" and verdict.statistic.endswith("back in fp64, to the same error")
    ]
    assert lost.value < 1
    assert "Below 1: QSGD moves more bytes." in lost.note


def test_the_gain_of_an_all_gather_vanishes_as_ranks_grow() -> None:
    table = by_ranks(CONFIG["bits_to_accuracy"])
    gathered = table[table["exchange"] == "all_gather"].set_index("workers")
    # The baseline has a header for each part, which counts where parts are short.
    ratio = gathered["baseline_saving"] / gathered["saving"] * gathered.index / 2
    assert (ratio > 1).all()
    assert (ratio.loc[:8] < 1.05).all()
    assert gathered["baseline_saving"].iloc[0] > 5
    assert vanishes_at(table, "all_gather") == gathered.index[gathered["baseline_saving"] <= 1].min() > 8
    reduced = table[table["exchange"] == "all_reduce"]
    assert reduced["baseline_saving"].tolist() == pytest.approx(reduced["saving"].tolist())
    # What is expected at the experiment's ranks by the curve is what the model by ranks has.
    section = {**CONFIG["bits_to_accuracy"], "levels": [10]}
    compressor = {"name": "qsgd", "levels": 10, "coding": "rans", "bucket_size": None}
    due = expected_baseline(section) / expected_bytes(section, compressor, "model_all_gather")
    assert gathered.loc[RANKS, "levels"] == 10
    assert gathered.loc[RANKS, "coding"] == "rans"
    assert gathered.loc[RANKS, "baseline_saving"] == pytest.approx(due, rel=0.01)


def test_the_gains_on_the_page_of_experiments_are_those_of_the_model() -> None:
    root = Path(__file__).parent.parent.parent
    page = " ".join((root / "docs/experiments.md").read_text().split())
    section = load([root / "config.yaml"])["bits_to_accuracy"]
    gain = by_ranks(section).set_index(["exchange", "workers"])
    gathered = gain["baseline_saving"]["all_gather"]
    same = gain["saving"]["all_gather"]
    assert f"{same.mean():.1f} times fewer bytes than fp32 in an all-gather" in page
    assert (same.max() - same.min()) / 2 < 0.1
    sentence = (
        f"{gathered[2]:.1f} times fewer with 2 ranks, {gathered[8]:.1f} with 8, {gathered[16]:.1f} with 16; with 32 it"
    )
    assert sentence in page
    assert f"needs more ({gathered[32]:.2f})".replace("0.", ".") in page
    assert f"keeps {gain['baseline_saving']['requantize', 64]:.1f} times with 64 ranks" in page
    assert (gain["baseline_saving"]["master"] < 1).all()
    assert f"and {gain['baseline_saving']['all_reduce', 64]:.1f} times at d = 1000" in page
    long = by_ranks({**section, "dimension": 10**5, "mini_batch": 640}).set_index(["exchange", "workers"])
    assert f"keeps {long['baseline_saving']['all_reduce', 64]:.1f} times with 64 ranks where parts are long" in page


def test_rows_are_sent_as_real_payloads_and_give_the_weights(traces: Traces) -> None:
    setting = _setting("rows-all")
    for trial, row in traces["rows-all"].table.set_index("trial").iterrows():
        _, y = model_of(setting, 3, trial).rows(0, 2560)
        active = int((y > 0).sum())
        assert row["rows"] == active
        assert row["payload_bytes"] == RANKS * (4 + 2 * 4) + 4 * active * (D + 1)
        assert row["relative_error"] < 1e-6
    assert (traces["rows-308"].table["rows"] == 308).all()


def test_fewer_rows_than_dimensions_do_not_give_the_weights() -> None:
    section = {**CONFIG["bits_to_accuracy"], "shipped_rows": [0.9], "trials": 2}
    settings = [
        setting for setting in EXPERIMENT.settings({"bits_to_accuracy": section}) if setting.procedure == "ship_rows"
    ]
    (record,) = trials.simulate(settings, 3)[0].results.values()
    assert (record.table["relative_error"] > 0.1).all()


def test_the_figures_show_every_coding_compressor_and_exchange_with_its_prediction(traces: Traces) -> None:
    tables = EXPERIMENT.judge(CONFIG, traces, {}).tables
    assert tuple(tables) == EXPERIMENT.TABLES
    drawn = {}
    with style.in_house():
        for name, module in (
            ("bytes_by_coding", bytes_by_coding),
            ("error_against_bytes", error_against_bytes),
            ("bits_by_exchange", bits_by_exchange),
            ("gain_by_ranks", gain_by_ranks),
        ):
            drawn[name] = module.draw([tables[table_name.split(".")[1]] for table_name in FIGURES[name].tables])
            drawn[name].draw_without_rendering()
    left, middle, right = drawn["error_against_bytes"].axes
    assert {axes.get_xlabel() for axes in (left, middle, right)} == {"sent by all ranks [MB]"}
    labels = [text.get_text() for text in right.get_legend().get_texts()]
    assert [text.get_text() for text in drawn["error_against_bytes"].legends[0].get_texts()] == [
        "predicted, nothing fitted",
        "SGD, fp32, by all-reduce (model)",
    ]
    assert {"SGD, fp32, $m$ = 160", "all active rows", "308 active rows"} <= set(labels)
    # A prediction for each of three curves, and SGD in fp32 by all-reduce.
    assert sum(line.is_dashed() for line in left.lines) == 3 + 1
    assert sum(line.is_dashed() for line in middle.lines) == 3 + 1
    for axes in drawn["bits_by_exchange"].axes:
        assert sum(line.is_dashed() for line in axes.lines) >= 4
    axes = drawn["bits_by_exchange"].axes[0]
    assert axes.get_ylabel() == "bytes of SGD in fp32\nover those of QSGD"
    assert drawn["bytes_by_coding"].axes[0].get_ylabel() == "payload in bits a coordinate"


def test_predicted_savings_are_iterations_times_lengths_by_hand(traces: Traces) -> None:
    table = EXPERIMENT.judge(CONFIG, traces, {}).tables["predictions"]
    row = table[(table["coding"] == "packed") & (table["levels"] == 8)].iloc[0]
    # Five bits for a level from -8 to 8, the norm, and the header.
    assert row["bits"] * D == pytest.approx(32 + 64 + 5 * D)
    moments = 4 + 8 * D
    summary = EXPERIMENT.judge(CONFIG, traces, {}).tables["summary"].set_index(["setting", "quantity"])
    single = moments + summary.loc[("sgd-fp32", "iterations"), "predicted"] * (4 + 4 * D)
    assert row["uplink_saving"] == pytest.approx(single / (moments + row["iterations"] * row["bits"] * D / 8))
    assert isinstance(table, pd.DataFrame)
    assert np.isfinite(table.drop(columns="coding").to_numpy(float)).all()
