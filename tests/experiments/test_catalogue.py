"""Experiments: their settings, and judgements of traces that are right, wrong, or too short."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from relufit.claims import trace_files
from relufit.claims.trace_files import Record, timing_path
from relufit.errors import ConfigError
from relufit.experiments import CATALOGUE, find_group
from relufit.experiments.configuration import load
from relufit.experiments.framework import trials
from relufit.experiments.framework.base import as_json, trial_seed
from relufit.experiments.framework.procedures import model_of

ROOT = Path(__file__).parent.parent.parent
TINY: dict[str, dict[str, Any]] = {
    "geometric_convergence": {"dimension": 200, "ratios": [20], "mini_batch": 20, "trials": 6},
    "qsgd_convergence": {
        "dimension": 400,
        "workers": 2,
        "mini_batch": 40,
        "levels": [20],
        "max_norm_levels": [3],
        "trials": 8,
    },
    "time_to_accuracy": {"dimension": 50, "mini_batch": 8, "levels": [8], "trials": 2},
}


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    config = load([ROOT / "config.yaml"])
    for name, section in TINY.items():
        config[name].update(section)
    return config


@pytest.fixture(scope="module")
def traces(config: dict[str, Any]) -> dict[str, dict[str, Record]]:
    """The traces of the two serial experiments."""
    names = ("geometric_convergence", "qsgd_convergence")
    return {name: trials.simulate(CATALOGUE[name].settings(config), config["seed"])[0].results for name in names}


def _verdicts(judged: Any, word: str) -> list[str]:
    return [v.verdict for topic_verdicts in judged.verdicts.values() for v in topic_verdicts if word in v.statistic]


def test_settings_have_different_names_and_different_content(config: dict[str, Any]) -> None:
    for experiment in CATALOGUE.values():
        settings = experiment.settings(config)
        assert len({setting.name for setting in settings}) == len(settings)
        assert len({as_json([setting], 1) for setting in settings}) == len(settings)
        assert as_json(settings, 1) != as_json(settings, 2)


def test_an_unknown_setting_is_answered_with_those_there_are(config: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="sgd-fp64, qsgd-s20"):
        find_group(config, "qsgd_convergence", "qsgd-s3")


def test_seeds_of_trials_differ_between_trials_purposes_and_experiments() -> None:
    seeds = {trial_seed(s, e, w, t) for s in (1, 2) for e in "ab" for w in ("data", "training") for t in range(50)}
    assert len(seeds) == 400
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_all_settings_of_an_experiment_see_the_same_data(config: dict[str, Any]) -> None:
    settings = CATALOGUE["qsgd_convergence"].settings(config)
    assert len({model_of(setting, 3, 1) for setting in settings}) == 1


def test_sgd_is_confirmed_to_converge_geometrically(
    config: dict[str, Any], traces: dict[str, dict[str, Record]]
) -> None:
    judged = CATALOGUE["geometric_convergence"].judge(config, traces["geometric_convergence"], {})
    # Reshuffled epochs have no prediction.
    assert _verdicts(judged, "slope") == ["confirmed", "described"]
    assert _verdicts(judged, "R^2") == ["confirmed"] * 2
    curves = judged.tables["curves"]
    replaced = curves[curves["sampling"] == "with_replacement"]
    assert (np.log(replaced["relative_error"] / replaced["predicted"]).abs() < 0.5).all()


def test_a_slope_that_is_off_by_half_is_refuted(config: dict[str, Any], traces: dict[str, dict[str, Record]]) -> None:
    slow = {
        name: Record(record.table.assign(iteration=record.table["iteration"] * 3 // 2), record.about)
        for name, record in traces["geometric_convergence"].items()
    }
    judged = CATALOGUE["geometric_convergence"].judge(config, slow, {})
    assert "refuted" in _verdicts(judged, "slope")


def test_qsgd_is_confirmed_to_keep_the_convergence(
    config: dict[str, Any], traces: dict[str, dict[str, Record]]
) -> None:
    judged = CATALOGUE["qsgd_convergence"].judge(config, traces["qsgd_convergence"], {})
    assert _verdicts(judged, "over the prediction") == ["confirmed"] * 3
    assert _verdicts(judged, "over those of SGD") == ["confirmed"] * 2
    assert set(judged.tables) == set(CATALOGUE["qsgd_convergence"].TABLES)


def test_qsgd_that_takes_a_fifth_longer_is_refuted(
    config: dict[str, Any], traces: dict[str, dict[str, Record]]
) -> None:
    slow = dict(traces["qsgd_convergence"])
    table, about = slow["qsgd-s20"]
    slow["qsgd-s20"] = Record(table.assign(iteration=(table["iteration"] * 1.2).astype(int)), about)
    judged = CATALOGUE["qsgd_convergence"].judge(config, slow, {})
    assert _verdicts(judged, "over the prediction") == ["confirmed", "refuted", "confirmed"]


def test_trials_that_did_not_converge_leave_the_verdict_open(
    config: dict[str, Any], traces: dict[str, dict[str, Record]]
) -> None:
    short = dict(traces["qsgd_convergence"])
    table, about = short["qsgd-s20"]
    short["qsgd-s20"] = Record(table[table["relative_error"] > 1e-3], about)
    judged = CATALOGUE["qsgd_convergence"].judge(config, short, {})
    assert _verdicts(judged, "over the prediction") == ["confirmed", "inconclusive", "confirmed"]


def test_bytes_that_did_not_arrive_and_weights_that_differ_are_refuted(config: dict[str, Any]) -> None:
    section = config["time_to_accuracy"]
    table = pd.DataFrame(
        {"trial": [0, 0, 1, 1], "iteration": [0, 5] * 2, "relative_error": [1, 1e-7] * 2}
        | {"loss": [1.0, 0.1] * 2, "uplink_bytes": [10, 100] * 2, "downlink_bytes": [10, 100] * 2}
    )
    parts = dict.fromkeys(["compute", "encode", "exchange", "wait", "decode", "update"], 0.1)
    timing = pd.DataFrame({"trial": [0, 0, 1, 1], "iteration": [0, 5] * 2, "elapsed": [0.0, 1.0] * 2, **parts})
    names = [setting.name for setting in CATALOGUE["time_to_accuracy"].settings(config)]

    def judged(arrived: int | None, digest: str, faults: str = "", others: int = 100) -> set[str]:
        trial: dict[str, Any] = {
            "weights_sha256": "a",
            "serial_sha256": digest,
            "faults": faults.split(),
            "uncounted": [],
        }
        other = {**trial, "received": {"uplink_bytes": 100, "downlink_bytes": others, "frame_bytes": 220}}
        trial["received"] = {"uplink_bytes": 100, "downlink_bytes": arrived, "frame_bytes": 220}
        if arrived is None:
            trial |= {"received": None, "uncounted": ["rank 1"]}
        reports = [other] * (section["trials"] - 1) + [trial]
        timings = {name: Record(timing, {"trials": reports}) for name in names}
        results = {name: Record(table, {}) for name in names}
        judgement = CATALOGUE["time_to_accuracy"].judge(config, results, timings)
        return {verdict.verdict for verdict in judgement.verdicts["communication"]}

    assert judged(100, "a") == {"confirmed"}
    assert judged(99, "a") == {"confirmed", "refuted"}
    assert judged(100, "b") == {"confirmed", "refuted"}
    # Where counts are missing nothing is known, but what the other trials refute stays refuted.
    assert judged(None, "a") == {"confirmed", "inconclusive"}
    assert judged(None, "a", others=99) == {"confirmed", "refuted"}
    assert judged(None, "a", faults="one") == {"confirmed", "inconclusive"}


def test_a_record_keeps_its_table_and_description_and_the_timings_lie_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "deep/a.parquet"
    table = pd.DataFrame({"x": [1, 2], "y": [0.5, np.nan]})
    trace_files.write(path, table, {"seed": 2**62, "list": [1, "b"]})
    back = trace_files.read(path)
    pd.testing.assert_frame_equal(back.table, table)
    assert back.about == {"seed": 2**62, "list": [1, "b"]}
    assert timing_path(path).name == "a.timing.parquet"


def test_a_file_that_is_no_record_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"not parquet")
    with pytest.raises(trace_files.DataError, match="no trace of ours") as caught:
        trace_files.read(path)
    assert str(path) in str(caught.value)
