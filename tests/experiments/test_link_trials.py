"""Trials of `link_speed`: one cell for real, where hosts can be emulated; the order of runs; and without hosts."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np
import pytest
from small_links import CELL, EXPERIMENT, ROUND_TRIP, D, small_links

from relufit.clusters.emulated import Refused, probe
from relufit.experiments.framework import emulated_trials, trials
from relufit.experiments.framework.base import Trial
from relufit.experiments.link_speed.runs import Run


@pytest.fixture
def config() -> dict[str, Any]:
    return small_links()


FOUND = probe()


@pytest.mark.skipif("tbf" not in FOUND.works or FOUND.delay is None, reason="hosts cannot be emulated here")
def test_a_cell_is_timed_between_hosts_and_its_bytes_are_those_of_the_interfaces(config: dict[str, Any]) -> None:
    setting = EXPERIMENT.settings(config)[0]
    chosen = {name: run for name, run in setting.spec["runs"].items() if name.endswith("all_gather")}
    for run in chosen.values():
        run["points"] = [(1e8, 8)]
    chosen["sgd-fp32-master"] = {**setting.spec["runs"]["sgd-fp32-master"], "points": []}
    setting.spec["runs"] = chosen
    (_, timings), _ = trials.simulate([replace(setting, trials=1)], 5)
    (report,) = timings[setting.name].about["trials"]
    assert report["exact"]
    assert not report["faults"]
    timed = timings[setting.name].table.set_index("run")
    alone, timed = timed[timed["rate"] == 0], timed[timed["rate"] > 0]
    assert list(alone.index) == ["sgd-fp32-master"]
    assert alone["seconds"].isna().all()
    empty = timed[timed.index.str.startswith("empty")]
    assert not empty.empty
    runs = timed.drop(empty.index)
    assert set(runs.index) == set(chosen) - {"sgd-fp32-master"}
    # How long a byte takes is for the benchmarks: a clock tells no more here than that time has passed.
    for seconds in (empty["seconds"], runs["seconds"]):
        assert np.isfinite(seconds).all()
        assert (seconds > 0).all()
    assert (runs["interface_bytes"] > runs["frame_bytes"]).all()
    exact = runs[runs.index.str.contains("fp32")]
    assert not exact.empty
    assert (exact["frame_bytes"] > 4 * D).all()


class _NoHosts:
    """Hosts that are not there: what runs on them runs in this process."""

    client, hosts = None, ("one", "two")

    def reshape(self, **_: float) -> None:
        """Do nothing."""

    def counters(self) -> dict[str, dict[str, int]]:
        """Return nothing."""
        return {}

    def measure(self, *_: Any) -> dict[str, float]:
        """Return a round trip."""
        return {"round_trip": ROUND_TRIP}

    def describe(self) -> dict[str, Any]:
        """Return nothing."""
        return {}


def test_runs_that_are_compared_are_neighbours_and_every_other_trial_goes_the_other_way(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    setting, order, run = EXPERIMENT.settings(config)[0], list[str](), emulated_trials._Runs.train

    def noted(self: Any, spec: Any) -> Any:
        order.append(spec.exchange)
        return run(self, spec)

    serial, train = list[str](), emulated_trials.train

    def counted(spec: Any, *client: Any) -> Any:
        serial.extend([] if client else [f"{spec.compressor} {spec.exchange} {spec.iterations}"])
        return train(spec, *client)

    monkeypatch.setattr(emulated_trials._Runs, "train", noted)
    monkeypatch.setattr(emulated_trials, "train", counted)
    monkeypatch.setattr(emulated_trials, "_open", lambda _: (_NoHosts(), ""))
    emulated_trials._cell.cache_clear()
    ways = {}
    for number in (0, 1):
        order.clear()
        outcome = emulated_trials.time_links(Trial(setting, 5, number))
        rates = outcome.timing[~outcome.timing["run"].str.startswith("empty")].groupby("rate", sort=False)["run"]
        ways[number] = rates.agg(list).to_dict()
        for names in ways[number].values():
            exchanges = [Run(name, {}, name.rpartition("-")[2]).exchange for name in names]
            assert len({exchange for exchange, _ in groupby(exchanges)}) == len(list(groupby(exchanges)))
        # Trials have the same rows and draws, and one run of the serial engine for each of theirs.
        assert outcome.measured["exact"]
        assert len(serial) == len(set(serial)) > 0
    assert list(ways[0]) == CELL["rates"]
    assert ways[1] == {rate: names[::-1] for rate, names in ways[0].items()}


def test_where_hosts_are_refused_the_serial_engine_tells_the_costs(config: dict[str, Any]) -> None:
    setting = EXPERIMENT.settings(config)[0]
    nothing = Refused("no hosts here")
    outcome = emulated_trials.time_links(Trial(setting, 5, 0, cluster=nothing))
    assert outcome.measured["refused"] == "no hosts here"
    assert outcome.timing["seconds"].isna().all()
    assert (outcome.timing[["compute", "decode"]] > 0).all(axis=None)
