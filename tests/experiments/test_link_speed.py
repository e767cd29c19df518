"""Seconds between hosts: what is judged, from made traces."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_machine import machine_with
from small_links import CELL, EXPERIMENT, RANKS, ROUND_TRIP, TRIALS, D, small_links

from relufit import theory
from relufit.claims.trace_files import Record
from relufit.exchange import BASELINE, EXCHANGES
from relufit.experiments.link_speed.experiment import NAME
from relufit.experiments.link_speed.model import link_of
from relufit.experiments.link_speed.runs import Run, expected_traffic, expected_vector, runs_of
from relufit.experiments.link_speed.scaling import STRONG, WEAK
from relufit.figures import plan_validation, predicted_speed_up
from relufit.figures.link_runs import draw
from relufit.planning import Host, Problem, best, plan
from relufit.planted.starts import needs_moments
from relufit.theory import network

MESSAGE = 2e-4
COSTS = {"compute": 2e-4, "encode": 1e-4, "exchange": 0.0, "wait": 0.0, "decode": 2e-4, "update": 5e-5}
MOVED = {"frame_bytes": 10**6, "packets": 200, "interface_bytes": 10**6 + 66 * 200, "dropped": 0}


@pytest.fixture
def config() -> dict[str, Any]:
    return small_links()


WORK = network.Work(COSTS["compute"], COSTS["encode"], COSTS["decode"] / RANKS, COSTS["update"], message=MESSAGE)
#: An encoding with error feedback takes a decoding and an update more.
WITH_FEEDBACK = replace(WORK, encode=WORK.encode + WORK.decode + WORK.update)
FEEDBACK_COSTS = {**COSTS, "encode": WITH_FEEDBACK.encode}


def _due(
    exchange: str,
    payload: float,
    d: int,
    rate: float,
    draw: np.random.Generator,
    work: network.Work = WORK,
    *,
    ahead: bool = False,
) -> float:
    link = link_of(rate, ROUND_TRIP)
    return EXCHANGES[exchange].iteration(RANKS, payload, d, link, work, ahead=ahead).upper * draw.uniform(0.99, 1.01)


#: Judgements of configurations and of what is said of traces: several tests look at each, and making one takes seconds.
_MADE: dict[str, Any] = {}


def _made(config: dict[str, Any], **said: Any) -> Any:
    """Return the judgement of traces as `_judge_made` makes them, each once."""
    key = json.dumps([config, said], sort_keys=True)
    if key not in _MADE:
        _MADE[key] = _judge_made(config, **said)
    return _MADE[key]


def _judge_made(
    config: dict[str, Any],
    *,
    slower: float = 1.0,
    lost: int = 0,
    refused: str = "",
    other: float = 0.0,
    missing: bool = False,
    dearer: float = 1.0,
    quicker: float = 1.0,
    overlapping: bool = True,
) -> Any:
    """Return the judgement of traces that follow the model.

    With QSGD `slower`, bytes `lost` on the way, errors of the run that is cut short that differ by `other`, or costs
    of a plan that are `dearer` than they were, or fp32 by all_reduce `quicker`, or nothing `overlapping`.
    """
    random = np.random.default_rng(3)
    results, timings = dict[str, Record](), dict[str, Record]()
    moved = {**MOVED, "interface_bytes": MOVED["interface_bytes"] - lost}
    report = {"refused": refused, "exact": True, "counted": True, "runs": 10, "faults": 0, **moved}
    report |= {"round_trip": ROUND_TRIP, "uncounted": ["rank 1"] if missing else []}
    *others, costs = EXPERIMENT.settings(config)
    cells = [setting for setting in others if setting.procedure == "time_links"]
    timings[costs.name] = Record(pd.DataFrame(), {"trials": [{"machine": machine_with(WORK, dearer).as_json()}]})
    for setting in cells:
        counted, timed = [], []
        for name, asked in setting.spec["runs"].items():
            run, slow = Run(name, asked["compressor"], asked["exchange"]), slower if name.startswith("qsgd") else 1.0
            work, costs = (WITH_FEEDBACK, FEEDBACK_COSTS) if "error_feedback" in asked else (WORK, COSTS)
            payload, copies = expected_vector(run, CELL), EXCHANGES[run.exchange].sent(RANKS).up
            for trial in range(TRIALS):
                sent = {"uplink_bytes": copies * payload, "downlink_bytes": 0.0}
                counted.append({"run": name, "trial": trial, **sent})
                for rate in [0.0] if refused else [rate for rate, _ in asked["points"]]:
                    ahead = "delay" in asked and overlapping
                    seconds = slow * _due(run.exchange, payload, D, rate or 1e9, random, work, ahead=ahead)
                    if name == f"sgd-fp32-{BASELINE}":
                        seconds /= quicker
                    timed.append({"run": name, "rate": rate, "trial": trial, "seconds": seconds, **costs, **moved})
        for exchange in [] if refused else setting.spec["empty"]["exchanges"]:
            seconds = _due(exchange, 68, 16, 1e8, random, network.Work(message=MESSAGE))
            timed.append({"run": f"empty-{exchange}", "rate": 1e8, "trial": 0, "seconds": seconds, **COSTS, **moved})
        if missing:
            timed[0]["frame_bytes"] = None
        results[setting.name] = Record(pd.DataFrame(counted), {})
        timings[setting.name] = Record(pd.DataFrame(timed), {"trials": [report] * TRIALS})
    for setting in [setting for setting in others if setting not in cells]:
        coded, exchange = "qsgd" in setting.name, setting.spec["exchange"]
        d, rate = setting.data["d"], setting.spec["rate"]
        run = Run(setting.name, setting.spec["compressor"], exchange)
        payload = expected_vector(run, {"dimension": d, "workers": RANKS})
        rows = []
        for trial in range(TRIALS):
            seconds = _due(exchange, payload, d, rate, random) * (slower if coded else 1.0)
            for i in range(1 + min(4, setting.spec["iterations"])):
                error = 10.0**-i + (other if setting.spec["iterations"] == 2 and i == 2 else 0.0)
                copies = EXCHANGES[exchange].sent(RANKS).up
                elapsed = np.nan if refused else i * seconds
                rows.append((trial, i, error, i * copies * payload, 0, elapsed, *(i and c for c in COSTS.values())))
        columns = ["trial", "iteration", "relative_error", "uplink_bytes", "downlink_bytes", "elapsed", *COSTS]
        table = pd.DataFrame(rows, columns=columns)
        results[setting.name] = Record(table[columns[:5]], {})
        timings[setting.name] = Record(table[["trial", "iteration", *columns[5:]]], {"trials": [report] * TRIALS})
    return EXPERIMENT.judge(config, results, timings)


def _verdicts(judged: Any, topic: str) -> set[str]:
    return {verdict.verdict for verdict in judged.verdicts[topic]}


def test_what_follows_the_model_is_confirmed(config: dict[str, Any]) -> None:
    judged = _made(config)
    for topic in ("network", "communication", "modelled seconds"):
        assert _verdicts(judged, topic) == {"confirmed"}
    points = judged.tables["timing-iterations"]
    assert (points["seconds"] / points["predicted"]).between(0.97, 1.03).all()
    assert any("seconds of SGD" in verdict.statistic for verdict in judged.verdicts["network"])


@pytest.fixture
def with_baseline(config: dict[str, Any]) -> dict[str, Any]:
    """The same, with all_reduce beside all_gather, and the whole runs in it too."""
    config[NAME]["exchanges"] = ["all_gather", BASELINE]
    for run in config[NAME]["whole"]["runs"][:2]:
        run["exchanges"] = [*run["exchanges"], BASELINE]
    return config


def test_gains_are_judged_against_fp32_by_all_reduce_too(with_baseline: dict[str, Any]) -> None:
    judged = _made(with_baseline)
    for topic in ("network", "communication", "modelled seconds"):
        assert _verdicts(judged, topic) == {"confirmed"}
    said = [(one.statistic, one.setting) for one in judged.verdicts["network"]]
    gained = "gain in seconds of QSGD over SGD with fp32"
    cell = f"d{D}-K{RANKS}"
    assert (f"{gained}, over the model's", f"{cell}, all_gather") in said
    assert (f"{gained} by {BASELINE}, over the model's", f"{cell}, all_gather") in said
    # Its own exchange is the baseline's: once.
    assert [words for words, where in said if where == f"{cell}, {BASELINE}"] == [f"{gained}, over the model's"]
    whole = [words for words, where in said if "all_gather" in where and "1 Mbit/s" in where]
    assert any(words.startswith(f"seconds of SGD with fp32 by {BASELINE} to the error") for words in whole)
    runs = {name.removesuffix(f"-{BASELINE}") for name in judged.tables["timing-iterations"]["run"]}
    assert "sgd-fp16" in runs


def test_a_gain_over_all_reduce_that_is_not_had_is_refuted(with_baseline: dict[str, Any]) -> None:
    judged = _made(with_baseline, quicker=2.0)
    gained = [one for one in judged.verdicts["network"] if one.statistic.startswith("gain in seconds")]
    by_baseline = [one for one in gained if BASELINE in one.statistic or one.setting.endswith(BASELINE)]
    assert {one.verdict for one in by_baseline} == {"refuted"}
    assert {one.verdict for one in gained if one not in by_baseline} == {"confirmed"}


def test_the_model_states_gains_against_both(with_baseline: dict[str, Any]) -> None:
    model = _made(with_baseline).tables["timing-model"]
    assert set(model.groupby("exchange")["against"].agg(lambda all_: tuple(dict.fromkeys(all_)))) == {
        ("all_gather", BASELINE),
        (BASELINE,),
    }
    # One gain over the other is fp32 in an all-gather over fp32 by all_reduce, whatever the compressor.
    gathered = model[model["exchange"] == "all_gather"].pivot(index="rate", columns=["compressor", "against"])["gain"]
    ratios = gathered.xs("all_gather", axis=1, level="against") / gathered.xs(BASELINE, axis=1, level="against")
    assert ratios.shape[1] == 3
    assert np.allclose(ratios, ratios.iloc[:, [0]])


def test_errors_that_another_exchange_does_not_have_are_refuted(config: dict[str, Any]) -> None:
    assert "refuted" in _verdicts(_made(config, other=1e-9), "communication")


def test_a_run_that_is_cut_short_is_drawn_on_at_its_pace_and_said_to_be(config: dict[str, Any]) -> None:
    curves = _made(config).tables["timing-curves"]
    short = curves[(curves["compressor"] == "sgd-fp32") & (curves["exchange"] == "relay")]
    assert list(short["source"]) == ["measured"] * 3 + ["extended"] * 3
    assert short["elapsed"].iloc[-1] == pytest.approx(2 * short["elapsed"].iloc[2])
    assert not (curves[curves["compressor"] == "qsgd-s4-rans"]["source"] == "extended").any()
    left, right = draw([curves]).axes
    assert [axes.get_title() for axes in (left, right)] == ["all-gather\n1 Mbit/s", "relay\n1 Mbit/s"]
    assert "emulated" in left.get_xlabel()
    assert sum(line.get_linestyle() == ":" for line in right.lines) == 1


def test_a_gain_that_is_not_had_is_refuted(config: dict[str, Any]) -> None:
    assert "refuted" in _verdicts(_made(config, slower=1.5), "network")


def test_where_the_model_says_no_side_of_1_none_is_judged(config: dict[str, Any]) -> None:
    def sides(judged: Any) -> list[str]:
        return [one.verdict for one in judged.verdicts["network"] if one.statistic.startswith("seconds of SGD")]

    assert "described" not in sides(_made(config))
    # With links that are hardly there for either of them.
    for run in config[NAME]["whole"]["runs"]:
        run["rates"] = [5e10]
    judged = _made(config)
    assert sides(judged) == ["described"]
    assert _verdicts(judged, "network") == {"confirmed", "described"}


def test_a_plan_from_costs_that_are_wrong_is_refuted(config: dict[str, Any]) -> None:
    judged = _made(config, dearer=20.0)
    refuted = [verdict for verdict in judged.verdicts["modelled seconds"] if verdict.verdict == "refuted"]
    assert refuted
    assert all("plan" in verdict.statistic for verdict in refuted)


def test_a_plan_is_held_against_what_was_measured_and_drawn(config: dict[str, Any]) -> None:
    judged = _made(config)
    plan, gains = judged.tables["timing-plan"], judged.tables["timing-plan-speed-up"]
    # The costs of this machine do not depend on the size: a part costs what a vector does.
    assert plan[plan["exchange"] != BASELINE]["error"].between(-0.07, 0.03).all()
    assert (plan["at_least"] <= plan["predicted"] * (1 + 1e-9)).all()
    assert set(plan["cell"]) == {f"d{D}-K{RANKS}", "d4000-K2"}
    measured = gains[gains["source"] == "measured"]
    assert set(measured["rate"]) == set(CELL["rates"])
    assert set(gains[gains["source"] == "planned"]["workers"]) == {RANKS, 16, 64}
    left, right = plan_validation.draw([plan]).axes
    assert "ms" in left.get_xlabel()
    assert "below" in right.get_title()
    assert len(predicted_speed_up.draw([gains]).axes) == len(EXCHANGES)


def test_the_best_ways_are_those_of_plans(config: dict[str, Any]) -> None:
    ways = _made(config).tables["timing-map"]
    at = [(1000, 4, 1e8), (1000, 4, 1e10)]
    assert list(zip(ways["dimension"], ways["workers"], ways["rate"], strict=True)) == 2 * at
    problem, link = Problem(1000, 10.0, 1e-6), network.Network(1e8, config[NAME]["round_trip"] / 2, 9001)
    shown = ["exchange", "compressor", "mini_batch", "seconds", "gain"]
    for row, samples in ((0, None), (2, config[NAME]["rank_batch"])):
        first = best(plan(problem, Host(link), machine_with(WORK).alone, [4], rank_batch=samples))
        assert list(ways.iloc[row][shown]) == list(first[shown])


def test_scaling_is_the_iterations_of_theory_times_those_that_were_timed(config: dict[str, Any]) -> None:
    names = [setting.name for setting in EXPERIMENT.settings(config)]
    # With 24 and with 6 samples of each of two ranks.
    assert [name for name in names if name.startswith("d") and "-m" in name] == [
        f"d{D}-K{RANKS}-m12",
        f"d{D}-K{RANKS}-m48",
    ]
    table = _made(config).tables["timing-scaling"].set_index(["batch", "source", "run", "workers"])
    run, both = "sgd-fp32-all_gather", (STRONG, WEAK)
    for batch in both:
        one = table.loc[batch, "planned", "one host", 1]
        assert one["seconds"] == pytest.approx(one["iterations"] * (COSTS["compute"] + COSTS["update"]))
        planned, shown = table.loc[batch, "planned", run, RANKS], table.loc[batch, "measured", run, RANKS]
        needed = theory.iterations_fixed(D, {STRONG: 48, WEAK: 12}[batch], 10, 1e-6, workers=RANKS)
        assert shown["iterations"] == planned["iterations"] == pytest.approx(needed)
        assert shown["seconds"] == pytest.approx(planned["seconds"], rel=0.02)
        assert shown["low"] < shown["speed_up"] < shown["high"]
        assert shown["speed_up"] * shown["seconds"] == pytest.approx(one["seconds"])
    # More ranks: as many iterations of the same mini-batch, fewer of a larger one.
    same, fewer = (table.loc[batch, "planned", run, 4] for batch in both)
    assert same["iterations"] == table.loc[STRONG, "planned", run, RANKS]["iterations"]
    assert fewer["iterations"] == pytest.approx(table.loc[WEAK, "planned", run, RANKS]["iterations"] / 2, rel=0.01)
    assert ("planned", run, 4) in table.loc[STRONG].index
    assert ("measured", run, 4) not in table.loc[STRONG].index


def test_bytes_that_no_interface_has_counted_are_refuted(config: dict[str, Any]) -> None:
    assert "refuted" in _verdicts(_made(config, lost=10**5), "communication")


def test_bytes_that_nobody_has_counted_are_neither_confirmed_nor_refuted(config: dict[str, Any]) -> None:
    missing = _made(config, missing=True)
    assert _verdicts(missing, "communication") == {"confirmed", "inconclusive"}  # no packet was dropped
    assert any("counts of rank 1 are missing" in verdict.note for verdict in missing.verdicts["communication"])
    assert "refuted" in _verdicts(_made(config, missing=True, lost=10**5), "communication")


def test_without_hosts_the_model_is_there_and_nothing_is_confirmed(config: dict[str, Any]) -> None:
    judged = _made(config, refused="no namespaces here")
    assert _verdicts(judged, "network") == {"inconclusive"}
    assert judged.verdicts["communication"] == []
    assert judged.tables["timing-iterations"].empty
    assert judged.tables["timing-model"]["gain"].gt(0).all()
    assert judged.tables["timing-plan"].empty
    assert set(judged.tables["timing-scaling"]["source"]) == {"planned"}
    assert set(judged.tables["timing-plan-speed-up"]["source"]) == {"planned"}
    assert set(judged.tables["timing-curves"]["source"]) == {"modelled", "extended"}


def test_only_what_the_machine_carries_is_timed(config: dict[str, Any]) -> None:
    setting = EXPERIMENT.settings(config)[0]
    for run in runs_of(D, config[NAME]["exchanges"]):
        traffic = [expected_traffic(run, CELL, rate, config[NAME]["round_trip"]) for rate in CELL["rates"]]
        carried = [rate for rate, bits in zip(CELL["rates"], traffic, strict=True) if bits <= config[NAME]["carried"]]
        assert [rate for rate, _ in setting.spec["runs"][run.name]["points"]] == carried
    for key, value in (("carried", 1e6), ("longest", 1e-3)):
        limited = {NAME: {**config[NAME], key: value}}
        assert not any(run["points"] for run in EXPERIMENT.settings(limited)[0].spec["runs"].values())


def test_runs_that_are_timed_exchange_no_moments(config: dict[str, Any]) -> None:
    timed = [setting for setting in EXPERIMENT.settings(config) if setting.procedure == "time_links"]
    assert timed
    assert not any(needs_moments(setting.spec["initial_weights"]) for setting in timed)


def test_a_batch_of_few_rows_is_drawn_without_replacement(config: dict[str, Any]) -> None:
    config[NAME].update(rank_rows=6, rank_batch=6)
    assert EXPERIMENT.settings(config)[0].spec["sampling"] == "reshuffled"
    config[NAME].update(rank_batch=7)
    assert EXPERIMENT.settings(config)[0].spec["sampling"] == "with_replacement"


def test_a_delay_saves_what_the_model_says_and_one_that_saves_nothing_is_refuted(config: dict[str, Any]) -> None:
    for overlapping, verdict in ((True, "confirmed"), (False, "refuted")):
        judged = _made(config, overlapping=overlapping)
        delayed = [one for one in judged.verdicts["modelled seconds"] if "with a delay of 1" in one.statistic]
        assert [one.setting.rpartition(", ")[2] for one in delayed] == ["all_gather", "all_reduce"]
        assert {one.verdict for one in delayed} == {verdict}
        table = judged.tables["timing-overlap"]
        assert len(table) == 2 * TRIALS
        assert (table["gain_predicted"] > 1.1).all()
