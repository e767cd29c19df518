"""Seconds between hosts: what is judged, from made traces; and one cell for real, where hosts can be emulated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from relufit.clusters.emulated import probe
from relufit.config import load
from relufit.errors import ClusterError
from relufit.experiments import CATALOGUE, links, trials
from relufit.experiments.link_model import expected_payload, expected_traffic, runs_of
from relufit.experiments.link_speed import NAME
from relufit.records import Record
from relufit.theory import network

ROOT = Path(__file__).parent.parent.parent
EXPERIMENT = CATALOGUE[NAME]
D, RANKS, ROUND_TRIP = 20_000, 2, 1e-3
CELL = {"dimension": D, "workers": RANKS, "rates": [1e7, 1e8]}
COSTS = {"compute": 2e-4, "encode": 1e-4, "exchange": 0.0, "wait": 0.0, "decode": 2e-4, "update": 5e-5}
TRIALS = 3


@pytest.fixture
def config() -> dict[str, Any]:
    config = load([ROOT / "config.yaml"])
    config[NAME].update(cells=[CELL], rank_rows=6, iterations=8, trials=TRIALS)
    config[NAME]["whole"].update(dimension=40, mini_batch=8, ratio=10, tolerance=1e-3)
    return config


def _made(config: dict[str, Any], *, slower: float = 1.0, lost: int = 0, refused: str = "") -> Any:
    """Return the judgement of traces that follow the model, with QSGD `slower`, or bytes `lost` on the way."""
    draw = np.random.default_rng(3)
    counted, timed = [], []
    work = network.Work(COSTS["compute"], COSTS["encode"], COSTS["decode"] / RANKS, COSTS["update"])
    for run in runs_of(D):
        payload = expected_payload(run.compressor, D)
        for trial in range(TRIALS):
            copies = RANKS * (RANKS - 1 if run.exchange == "all_to_all" else 1)
            counted.append({"run": run.name, "trial": trial, "uplink_bytes": copies * payload, "downlink_bytes": 0.0})
            for rate in [0.0] if refused else CELL["rates"]:
                link = network.Network(rate or 1e9, ROUND_TRIP / 2, 9001)
                due = network.iteration(run.exchange, RANKS, payload, D, link, work).upper
                seconds = due * draw.uniform(0.99, 1.01) * (slower if run.name.startswith("qsgd") else 1.0)
                moved = {"frame_bytes": 10**6, "packets": 200, "interface_bytes": 10**6 + 66 * 200 - lost, "dropped": 0}
                timed.append({"run": run.name, "rate": rate, "trial": trial, "seconds": seconds, **COSTS, **moved})
    told = {"refused": refused, "exact": True, "runs": 10, "faults": 0, "cluster": {"measured": {}}}
    told["cluster"] = {"measured": {"round_trip": ROUND_TRIP}}
    cell, *whole = EXPERIMENT.settings(config)
    results = {cell.name: Record(pd.DataFrame(counted), {})}
    timings = {cell.name: Record(pd.DataFrame(timed), {"trials": [told] * TRIALS})}
    for setting in whole:
        speed = 1.0 if "fp32" in setting.name else 0.5
        rows = [(t, i, 10.0**-i, 0, 0, speed * i * draw.uniform(0.99, 1.01)) for t in range(TRIALS) for i in range(4)]
        columns = ["trial", "iteration", "relative_error", "uplink_bytes", "downlink_bytes", "elapsed"]
        table = pd.DataFrame(rows, columns=columns)
        results[setting.name] = Record(table.drop(columns="elapsed"), {})
        timings[setting.name] = Record(table[["trial", "iteration", "elapsed"]], {"trials": [told] * TRIALS})
    return EXPERIMENT.judge(config, results, timings)


def _verdicts(judged: Any, topic: str) -> set[str]:
    return {verdict.verdict for verdict in judged.verdicts[topic]}


def test_what_follows_the_model_is_confirmed(config: dict[str, Any]) -> None:
    judged = _made(config)
    assert _verdicts(judged, "network") == _verdicts(judged, "communication") == {"confirmed"}
    points = judged.tables["timing-iterations"]
    assert (points["seconds"] / points["predicted"]).between(0.98, 1.02).all()


def test_a_gain_that_is_not_had_is_refuted(config: dict[str, Any]) -> None:
    assert "refuted" in _verdicts(_made(config, slower=1.5), "network")


def test_bytes_that_no_interface_has_counted_are_refuted(config: dict[str, Any]) -> None:
    assert "refuted" in _verdicts(_made(config, lost=10**5), "communication")


def test_without_hosts_the_model_is_there_and_nothing_is_confirmed(config: dict[str, Any]) -> None:
    judged = _made(config, refused="no namespaces here")
    assert _verdicts(judged, "network") == {"inconclusive"}
    assert judged.verdicts["communication"] == []
    assert judged.tables["timing-iterations"].empty
    assert judged.tables["timing-model"]["gain"].gt(0).all()


def test_only_what_the_machine_carries_is_timed(config: dict[str, Any]) -> None:
    setting = EXPERIMENT.settings(config)[0]
    for run in runs_of(D):
        payload = expected_payload(run.compressor, D)
        for rate in CELL["rates"]:
            carried = expected_traffic(run, CELL, payload, rate, config[NAME]["round_trip"]) <= config[NAME]["carried"]
            assert (rate in setting.spec["runs"][run.name]["rates"]) == carried
    config[NAME]["carried"] = 1e6
    assert not any(run["rates"] for run in EXPERIMENT.settings(config)[0].spec["runs"].values())


FOUND = probe()


@pytest.mark.skipif("tbf" not in FOUND.works or FOUND.delay is None, reason="hosts cannot be emulated here")
def test_a_cell_is_timed_between_hosts_and_its_bytes_are_those_of_the_interfaces(config: dict[str, Any]) -> None:
    setting = EXPERIMENT.settings(config)[0]
    chosen = {name: run for name, run in setting.spec["runs"].items() if name.endswith("all_to_all")}
    for run in chosen.values():
        run["rates"] = [1e8]
    setting.spec["runs"] = chosen
    (_, timings), _ = trials.simulate([replace(setting, trials=1)], 5)
    (told,) = timings[setting.name].about["trials"]
    assert told["exact"]
    assert not told["faults"]
    timed = timings[setting.name].table
    assert set(timed["run"]) == set(chosen)
    assert (timed["seconds"] > 8 * 4 * D / 1e8 * timed["run"].str.contains("fp32")).all()
    assert (timed["interface_bytes"] > timed["frame_bytes"]).all()


def test_where_hosts_are_refused_the_serial_engine_tells_the_costs(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Nothing:
        def require(self, **what: bool) -> None:
            raise ClusterError("no hosts here")

    monkeypatch.setattr("relufit.clusters.emulated.probe", Nothing)
    setting = EXPERIMENT.settings(config)[0]
    outcome = links.time_links(setting, 5, 0, data=Path(), cluster=None, tell=None, checkpoint=None)
    assert outcome.measured["refused"] == "no hosts here"
    assert outcome.timing["seconds"].isna().all()
    assert (outcome.timing[["compute", "decode"]] > 0).all(axis=None)
