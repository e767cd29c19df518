"""Bytes to an accuracy: verdicts on runs in small and on defects planted in them, the counts, the figures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_traces import cut

import relufit
from relufit.experiments import Setting, trials
from relufit.experiments.base import seed_of
from relufit.experiments.bits_to_accuracy import BitsToAccuracy
from relufit.experiments.procedures import model_of
from relufit.figures import FIGURES, bits_by_topology, bytes_by_coding, error_against_bytes, style
from relufit.records import Record

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
Traces = dict[str, Record]


@pytest.fixture(scope="module")
def traces() -> Traces:
    """Real runs."""
    return trials.simulate(EXPERIMENT.settings(CONFIG), CONFIG["seed"])[0].results


def _judged(traces: Traces) -> dict[tuple[str, str], str]:
    """Return the verdicts by the statistic and the setting."""
    verdicts = EXPERIMENT.judge(CONFIG, traces, {}).verdicts
    return {(its.statistic, its.setting): its.verdict for topic in verdicts.values() for its in topic}


def _changed(traces: Traces, name: str, **factors: float) -> Traces:
    """Return traces in which some columns of a setting are multiplied."""
    table, about = traces[name]
    return {**traces, name: Record(table.assign(**{its: table[its] * by for its, by in factors.items()}), about)}


def _setting(name: str) -> Setting:
    return next(its for its in EXPERIMENT.settings(CONFIG) if its.name == name)


def test_settings_of_a_group_have_one_procedure_and_a_long_run_is_a_group_of_its_own() -> None:
    section = {**CONFIG["bits_to_accuracy"], "levels": [1, 8], "long_runs": {"iterations": 600, "trials": 2}}
    settings = EXPERIMENT.settings({"bits_to_accuracy": section})
    assert len({its.name for its in settings}) == len(settings) == 1 + 2 * 3 + 1 + 1 + 2
    groups: dict[str, set[str]] = {}
    for its in settings:
        groups.setdefault(its.group, set()).add(its.procedure)
    assert groups == {
        **{name: {"train"} for name in ("sgd", "qsgd-s1-packed", "packed", "elias", "rans")},
        "rows": {"ship_rows"},
    }
    assert {its.name: its.trials for its in settings if "packed" in its.name} == {
        "qsgd-s1-packed": 2,
        "qsgd-s8-packed": 5,
    }


def test_right_traces_are_confirmed(traces: Traces) -> None:
    judged = _judged(traces)
    assert len(judged) == 1 + 2 + 3 + 2 + 1 + 4
    # To an error as large as this one SGD sends about as much as the rows have.
    assert {name for (_, name), verdict in judged.items() if verdict != "confirmed"} <= {"rows-all"}


def test_errors_that_differ_in_the_last_digit_are_refuted_for_that_coding(traces: Traces) -> None:
    judged = _judged(_changed(traces, "qsgd-s8-rans", relative_error=1 + 1e-15))
    assert [its for its, verdict in judged.items() if verdict == "refuted"] == [
        ("the errors are the same numbers in rans as in packed", "all levels")
    ]


def test_a_code_that_is_a_twentieth_longer_than_expected_is_refuted(traces: Traces) -> None:
    judged = _judged(_changed(traces, "qsgd-s8-elias", uplink_bytes=1.05))
    assert ("length of a message over the expected one", "qsgd-s8-elias") in [
        its for its, verdict in judged.items() if verdict == "refuted"
    ]


def test_a_saving_of_four_is_refuted(traces: Traces) -> None:
    judged = _judged(_changed(traces, "sgd-fp32", uplink_bytes=0.4))
    assert judged["uplink bytes of SGD with fp32 over those of QSGD, to the same error", "qsgd-s8-rans"] == "refuted"


def test_weights_that_come_back_in_half_the_bytes_are_refuted(traces: Traces) -> None:
    judged = _judged(_changed(traces, "qsgd-s8-packed", downlink_bytes=0.5))
    (verdict,) = [verdict for (statistic, _), verdict in judged.items() if "sent back to each rank" in statistic]
    assert verdict == "refuted"


def test_rows_that_do_not_give_the_weights_are_refuted(traces: Traces) -> None:
    judged = _judged(_changed(traces, "rows-all", relative_error=1e6))
    assert [name for (_, name), verdict in judged.items() if verdict == "refuted"] == ["rows-all"]


@pytest.mark.parametrize("rows", [1, 3])
def test_runs_that_did_not_come_to_the_tolerance_leave_the_verdicts_on_bytes_open(traces: Traces, rows: int) -> None:
    short = {name: its if name.startswith("rows") else cut(its, rows) for name, its in traces.items()}
    judged = _judged(short)
    assert {verdict for (statistic, _), verdict in judged.items() if "bytes" in statistic} == {"inconclusive"}


def test_the_bytes_of_a_coding_are_those_of_a_whole_run_in_it(traces: Traces) -> None:
    setting = _setting("qsgd-s8-rans")
    whole = {**setting.spec, "iterations": 20000}
    data, seed = model_of(setting, 3, 0), seed_of(setting, 3, "training", 0)
    sent = relufit.train(relufit.TrainingSpec(dataset=data, seed=seed, **whole)).table["uplink_bytes"].iloc[-1]
    one = {name: Record(its.table[its.table["trial"] == 0], its.about) for name, its in traces.items()}
    table = EXPERIMENT.judge(CONFIG, one, {}).tables["topologies"].set_index("setting")
    assert table.loc["qsgd-s8-rans", "uplink_bytes"] == pytest.approx(sent, rel=0.01)


def test_bytes_over_each_topology_are_those_counted_by_hand(traces: Traces) -> None:
    table = traces["sgd-fp32"].table.groupby("trial").last()
    row = EXPERIMENT.judge(CONFIG, traces, {}).tables["topologies"].set_index("setting").loc["sgd-fp32"]
    iterations = table["iteration"].mean()
    up = RANKS * (4 + 8 * D) + iterations * RANKS * (4 + 4 * D)
    expected = {
        "uplink": up,
        "master_fp64": up + iterations * RANKS * (4 + 8 * D),
        "model_master_fp32": up + iterations * RANKS * (4 + 4 * D),
        "model_broadcast_fp32": up + iterations * (4 + 4 * D),
        "model_relay": RANKS * up,
        "model_all_to_all": (RANKS - 1) * up,
    }
    assert {topology: row[f"{topology}_bytes"] for topology in expected} == pytest.approx(expected)
    assert [column for column in row.index if column.startswith("model_")]


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
    settings = [its for its in EXPERIMENT.settings({"bits_to_accuracy": section}) if its.procedure == "ship_rows"]
    (record,) = trials.simulate(settings, 3)[0].results.values()
    assert (record.table["relative_error"] > 0.1).all()


def test_the_figures_show_every_coding_compressor_and_topology_with_its_prediction(traces: Traces) -> None:
    tables = EXPERIMENT.judge(CONFIG, traces, {}).tables
    assert tuple(tables) == EXPERIMENT.TABLES
    drawn = {}
    with style.in_house():
        for name, module in (
            ("bytes_by_coding", bytes_by_coding),
            ("error_against_bytes", error_against_bytes),
            ("bits_by_topology", bits_by_topology),
        ):
            drawn[name] = module.draw([tables[its.split(".")[1]] for its in FIGURES[name].tables])
            drawn[name].canvas.draw()
    left, right = drawn["error_against_bytes"].axes
    assert left.get_xlabel() == right.get_xlabel() == "sent by all ranks [MB]"
    labels = [text.get_text() for text in right.get_legend().get_texts()]
    assert labels[-1] == "predicted, nothing fitted"
    assert {"SGD, fp32, $m$ = 160", "all active rows", "308 active rows"} <= set(labels)
    assert sum(line.is_dashed() for line in left.lines) == 3
    (axes,) = drawn["bits_by_topology"].axes
    assert sum(line.is_dashed() for line in axes.lines) >= 4
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
