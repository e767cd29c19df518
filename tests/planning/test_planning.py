from __future__ import annotations

import json
import math
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_costs import COSTS

from relufit import theory
from relufit.compression import make_compressor
from relufit.compression.coding import CODINGS
from relufit.errors import ClusterError, ConfigError, DataError
from relufit.exchange import EXCHANGES, find_exchange
from relufit.planning import (
    INSTANCES,
    Costs,
    Host,
    Machine,
    Problem,
    best,
    concurrent_processes,
    measure,
    measuring,
    plan,
    predict,
    sweep,
    validate,
)
from relufit.planning.costs import Curve, combined, label, named, payload_bytes
from relufit.planning.search import compressors
from relufit.theory.network import Network, Work

SLOW, QUICK = Host(Network(1e7, 2.5e-4)), Host(Network(math.inf))
PROBLEM = Problem(10_000)


@pytest.fixture(scope="module")
def measured() -> Costs:
    return measure(tries=1, rounds=1)


def test_what_is_measured_is_complete_and_positive(measured: Costs) -> None:
    for size in (1000, 10**6):
        for compressor in compressors(size):
            codec = measured.codec(compressor, size)
            assert codec.encode(size) > 0
            assert codec.decode(size) > 0
    assert measured.batch(10**6) + measured.row(10**6) > 0
    assert min(measured.update(10**6), measured.message) > 0
    assert {codec.name for codec in measured.codecs} == {compressor.name for compressor in compressors(1000)}
    assert {codec.coding for codec in measured.codecs} == {*CODINGS, ""}


def test_seconds_between_measured_sizes_are_on_a_line_and_beyond_on_the_last_one() -> None:
    curve = Curve((10, 20, 40), (1.0, 2.0, 6.0))
    assert [curve(count) for count in (0, 10, 15, 20, 30, 40, 50)] == [0.0, 1.0, 1.5, 2.0, 4.0, 6.0, 8.0]
    assert Curve((10, 20), (3.0, 2.0))(100) == 0.0


def test_processes_that_measure_at_once_wait_for_each_other_at_every_step() -> None:
    times = concurrent_processes.run(_steps, 2)
    for step in range(3):
        assert max(seen[step] for seen in times) < min(seen[step + 1] for seen in times)


def _steps(meet: Callable[[], None]) -> list[float]:
    seen = []
    for _ in range(4):
        meet()
        seen.append(time.monotonic())
        time.sleep(0.05)
    return seen


def test_a_process_that_ends_early_ends_the_measurement() -> None:
    with pytest.raises(ClusterError, match="ended early"):
        concurrent_processes.run(_leave, 2)


def _leave(meet: Callable[[], None]) -> None:
    os._exit(1)


def test_costs_of_several_processes_are_means_of_all(measured: Costs) -> None:
    costs = measure(tries=1, at_once=2, rounds=1)
    assert {codec.name for codec in costs.codecs} == {codec.name for codec in measured.codecs}
    assert costs.row(10**6) > 0
    other = replace(measured, message=measured.message + 2.0, row=Curve(measured.row.sizes, (0.0, 0.0, 0.0)))
    both = combined([measured, other], statistics.fmean)
    assert both.message == pytest.approx(measured.message + 1.0)
    assert both.row(10**6) == pytest.approx(measured.row(10**6) / 2)


def test_a_round_that_was_disturbed_does_not_count(measured: Costs, monkeypatch: pytest.MonkeyPatch) -> None:
    def slowed(factor: float) -> Costs:
        return combined([measured], lambda seconds: factor * seconds[0])

    rounds = iter([slowed(1.0), slowed(5.0), slowed(1.1)])
    monkeypatch.setattr(measuring, "_measure", lambda tries, meet: next(rounds))
    assert measure() == slowed(1.1)


def test_hosts_that_share_processors_take_their_turns() -> None:
    machine, network = Machine(COSTS, COSTS, processors=2), Network(1e9, 1e-4)
    for exchange, turns in (("master", 2.0), ("relay", 2.0), ("all_gather", 2.0)):
        apart, shared = machine.iteration(exchange, named("fp32"), 4, 10_000, 8, network)
        assert shared.compute == pytest.approx(turns * apart.compute)
        assert shared.encode == pytest.approx(turns * apart.encode)
        decoding = {"master": 1.0, "relay": 2.5, "all_gather": 2.0}[exchange]
        assert shared.decode == pytest.approx(decoding * apart.decode)
        assert shared.link == apart.link
        # Ranks without a master send and receive at the same time; a master's messages come while they wait.
        assert shared.messages == pytest.approx((1 if find_exchange(exchange).has_master else turns) * apart.messages)
    apart, shared = machine.iteration("all_gather", named("fp32"), 2, 10_000, 8, network)
    assert shared == apart


def test_a_machine_comes_back_from_json() -> None:
    machine = Machine(COSTS, replace(COSTS, message=1.0), processors=3)
    assert Machine.of(json.loads(json.dumps(machine.as_json()))) == machine


def test_costs_come_back_from_their_file(measured: Costs, tmp_path: Path) -> None:
    measured.write(tmp_path / "costs.json")
    assert Costs.read(tmp_path / "costs.json") == measured


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda content: content.pop("row"), "row"),
        (lambda content: content.update({"relufit costs": 99}), "another version"),
        (lambda content: content.update(message=-1), "-1 seconds"),
        (lambda content: content.update(byte="a"), "'a' seconds"),
        (lambda content: content["codecs"][0].pop("encode"), "encode"),
        (lambda content: content["update"].update(sizes=[2, 1]), "seconds of [2, 1] coordinates"),
    ],
)
def test_a_damaged_file_of_costs_is_named_with_a_remedy(damage: object, says: str, tmp_path: Path) -> None:
    path = tmp_path / "costs.json"
    COSTS.write(path)
    content = json.loads(path.read_text())
    damage(content)  # type: ignore[operator]
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="relufit plan --measure") as caught:
        Costs.read(path)
    assert says in str(caught.value)


@pytest.mark.parametrize("size", [1, 1000, 4096])
def test_expected_bytes_are_those_of_real_payloads(size: int) -> None:
    vector = np.random.default_rng(0).standard_normal(size)
    for compressor in compressors(size):
        real = np.mean([len(compressor.encode(vector, key)) for key in range(5)])
        assert payload_bytes(compressor, size) == pytest.approx(real, rel=0.05, abs=40), label(compressor)


def test_a_label_names_its_compressor() -> None:
    for compressor in compressors(1000):
        assert named(label(compressor)) == compressor
    with pytest.raises(ConfigError, match="write it as"):
        named("qsgd-s4-rans-rans")


def test_a_prediction_is_iterations_times_seconds_and_a_start() -> None:
    compressor = make_compressor("qsgd", levels=60, coding="rans")
    prediction = predict(PROBLEM, SLOW, COSTS, "relay", compressor, 4, 400)
    assert prediction.omega == pytest.approx(theory.qsgd_variance(10_000, 60))
    assert prediction.iterations == theory.iterations_fixed(10_000, 400, 10.0, 1e-6, omega=prediction.omega, workers=4)
    work = Work(
        compute=1e-5 + 1e-5 + 100 * (1e-7 + 2e-6),
        encode=1e-5 + 5e-5,
        decode=1e-5 + 1e-5,
        update=1e-6 + 2e-5,
        message=2e-5,
        byte=3e-10,
    )
    assert prediction.iteration == pytest.approx(
        EXCHANGES["relay"].iteration(4, compressor.expected_bits(10_000) / 8, 10_000, SLOW.network, work).upper  # type: ignore[attr-defined]
    )
    assert prediction.seconds == pytest.approx(
        prediction.start + math.ceil(prediction.iterations) * prediction.iteration
    )
    assert prediction.uplink == pytest.approx(prediction.iterations * 4 * prediction.payload)
    assert prediction.downlink == pytest.approx(prediction.iterations * 12 * prediction.payload)
    assert prediction.hosts == 5


def test_money_is_hosts_times_hours_and_a_minute_at_least() -> None:
    host = Host(SLOW.network, price=3.6)
    short = predict(Problem(100), host, COSTS, "all_gather", make_compressor("fp32"), 2, 200)
    assert short.seconds < 60
    assert short.dollars == pytest.approx(2 * 3.6 / 60)
    long = predict(PROBLEM, host, COSTS, "master", make_compressor("fp32"), 2, 20)
    assert long.dollars == pytest.approx(3 * 3.6 * long.seconds / 3600)


def test_memory_is_checked_for_vectors_and_for_rows() -> None:
    compressor = make_compressor("fp32")
    for memory, fits, rows_fit in ((1e5, False, False), (5e7, True, False), (1e10, True, True)):
        prediction = predict(PROBLEM, Host(SLOW.network, memory), COSTS, "master", compressor, 2, 20)
        assert (prediction.fits, prediction.shard_fits) == (fits, rows_fit)


def test_where_the_network_is_slow_few_bytes_win_and_where_there_is_none_exact_gradients() -> None:
    table = plan(PROBLEM, SLOW, COSTS, [8])
    slow, quick = best(table), best(plan(PROBLEM, QUICK, COSTS, [8]))
    assert slow["compressor"] == "eden-bits=3"
    levels = best(table, compressor="qsgd")
    assert levels["coding"] == "rans"
    assert 0.2 <= levels["levels"] / 100 <= 3
    assert quick["bytes"] > slow["bytes"]
    assert quick["seconds"] < slow["seconds"]


@pytest.mark.parametrize("goal", ["seconds", "bytes", "dollars"])
def test_the_first_plan_is_the_best_by_its_goal(goal: str) -> None:
    table = plan(PROBLEM, Host.of(INSTANCES["c5.large"], 5e-4), COSTS, [1, 4], goal=goal)
    held = table[table["shard_fits"]]
    assert best(table)[goal] == held[goal].min()
    assert set(table["exchange"]) == set(EXCHANGES)
    assert len(table) == len(table.drop_duplicates(["workers", "exchange", "compressor", "levels", "coding"]))


def test_plans_reach_ten_thousand_ranks_and_a_thousand_million_coordinates() -> None:
    table = plan(Problem(10**9), Host.of(INSTANCES["c5n.18xlarge"], 2e-4), COSTS, [10_000], exchanges=["all_gather"])
    first = best(table)
    assert 0 < first["at_least"] < first["iteration"] < math.inf
    assert not first["shard_fits"]
    assert first["shard"] == pytest.approx(1e6 * (4e9 + 8))


def test_the_mini_batch_chosen_is_not_worse_than_others() -> None:
    compressor = make_compressor("fp32")
    chosen = best(plan(PROBLEM, SLOW, COSTS, [4], exchanges=["master"]), compressor="fp32")
    for batch in (4, 400, 20_000, 100_000):
        assert predict(PROBLEM, SLOW, COSTS, "master", compressor, 4, batch).seconds >= 0.99 * chosen["seconds"]


@settings(max_examples=25, deadline=None)
@given(
    exchange=st.sampled_from(list(EXCHANGES)),
    workers=st.integers(1, 64),
    rank_batch=st.integers(1, 100),
    rate=st.floats(1e6, 1e11),
    name=st.sampled_from(["fp32", "fp16", "qsgd-s60-rans", "ternary-packed", "natural-rans"]),
)
def test_a_quicker_network_and_a_looser_tolerance_take_less(
    exchange: str, workers: int, rank_batch: int, rate: float, name: str
) -> None:
    def seconds(rate: float, tolerance: float) -> float:
        problem, host = Problem(1000, 20.0, tolerance), Host(Network(rate, 1e-4))
        return predict(problem, host, COSTS, exchange, named(name), workers, workers * rank_batch).seconds

    reference = seconds(rate, 1e-5)
    assert seconds(2 * rate, 1e-5) <= reference
    assert seconds(rate, 1e-4) <= reference


def test_a_sweep_goes_from_what_is_saved_in_bytes_to_what_is_lost_in_iterations() -> None:
    table = sweep(COSTS, workers=(2, 16))
    assert ((table["low"] <= table["high"]) & (table["speed_up"] <= 1.001 * table["high"])).all()
    ends = table[table["exchange"] == "relay"].groupby(["dimension", "workers"])["speed_up"]
    # Far from any other cost: 32 bits over 1.58 bits and 1.46 times as many iterations.
    assert ((ends.first() > 10) & (ends.first() < 14)).all()
    assert (ends.last() < ends.first()).all()


def _iteration(**other: object) -> pd.DataFrame:
    row = {
        "exchange": "master", "compressor": "fp32", "K": 2, "d": 1000, "rate": 1e8, "round_trip": 1e-3,
        "compute": 0.01, "encode": 0.001, "decode": 0.001, "seconds": 0.015,
    }  # fmt: skip
    return pd.DataFrame([row | other])


def test_a_measured_iteration_is_held_against_the_bounds() -> None:
    network, work = Network(1e8, 5e-4), Work(compute=0.01, encode=0.001, decode=0.001)
    iteration = EXCHANGES["master"].iteration(2, 4004, 1000, network, work)
    inside = validate(_iteration(seconds=(iteration.lower + iteration.upper) / 2)).iloc[0]
    assert (inside["lower"], inside["upper"]) == pytest.approx((iteration.lower, iteration.upper))
    assert inside["error"] == 0
    assert validate(_iteration(seconds=2 * iteration.upper)).iloc[0]["error"] == pytest.approx(1)
    assert validate(_iteration(seconds=iteration.lower / 2)).iloc[0]["error"] == pytest.approx(-0.5)
    assert validate(_iteration(seconds=2 * iteration.upper)).iloc[0]["upper_ratio"] == pytest.approx(0.5)


def test_bytes_that_were_counted_are_taken_in_place_of_those_expected() -> None:
    more = validate(_iteration(payload=1e6)).iloc[0]
    assert more["upper"] > validate(_iteration()).iloc[0]["upper"] + 0.1


def test_measurements_that_make_no_sense_are_named() -> None:
    with pytest.raises(DataError, match="no column rate"):
        validate(_iteration().drop(columns="rate"))
    with pytest.raises(DataError, match="row 0: seconds must be"):
        validate(_iteration(seconds=0))
    with pytest.raises(DataError, match="unknown exchange 'ring'; choose one of"):
        validate(_iteration(exchange="ring"))


@pytest.mark.parametrize(
    ("what", "says"),
    [
        (lambda: Problem(0), "dimension"),
        (lambda: Problem(10, 2.0), "ratio: 2 rows a dimension determine no weights"),
        (lambda: Problem(10, 10, 0), "tolerance"),
        (lambda: plan(PROBLEM, SLOW, COSTS, [0]), "workers: 0 ranks"),
        (lambda: plan(Problem(2, 3), SLOW, COSTS, [7]), "workers: 7 ranks; give 1 to 6"),
        (lambda: plan(Problem(2, 3), SLOW, COSTS, [2], rank_batch=4), "4 samples for each of 2 ranks.*; give 1 to 3"),
        (lambda: plan(PROBLEM, SLOW, COSTS, [2], goal="joy"), "unknown goal 'joy'"),
        (lambda: plan(PROBLEM, SLOW, COSTS, [2], goal="dollars"), "there is no price"),
        (lambda: predict(PROBLEM, SLOW, COSTS, "relay", make_compressor("fp32"), 4, 2), "2 samples for 4 ranks"),
    ],
)
def test_what_is_impossible_is_refused(what: object, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        what()  # type: ignore[operator]
