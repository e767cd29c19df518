"""What gains are stated against, and that the plan that is recommended is the best of its own model."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from made_costs import COSTS

import relufit
from relufit.cli.plan import _AGAINST
from relufit.compression import Compressor, make_compressor
from relufit.errors import ConfigError
from relufit.exchange import EXCHANGES
from relufit.planning import BASELINE, Comparator, Costs, Host, Problem, best, payoff, plan, predict
from relufit.planning.costs import Curve, named, payload_bytes, vector_bytes
from relufit.planning.predictions import largest_batch
from relufit.planning.search import batches, compressors, needs_feedback
from relufit.planted import PlantedModel
from relufit.theory.network import Network

HOST, LARGE = Host(Network(1e9, 2.5e-4)), Problem(10**6)


def _slower(curve: Curve, factor: float) -> Curve:
    return Curve(curve.sizes, tuple(factor * seconds for seconds in curve.seconds))


#: Every compressor but fp64 and fp32 takes 200 times as long to encode and to decode.
SLOW_CODECS = replace(
    COSTS,
    codecs=tuple(
        codec
        if codec.name in ("fp64", "fp32")
        else replace(codec, encode=_slower(codec.encode, 200), decode=_slower(codec.decode, 200))
        for codec in COSTS.codecs
    ),
)


def _candidates(exchange: str, workers: int) -> list[Compressor]:
    """Return compressors whose levels follow a whole vector, and those of a plan."""
    sizes = {LARGE.dimension, *EXCHANGES[exchange].part_sizes(LARGE.dimension, workers)}
    return list(dict.fromkeys(compressor for size in sizes for compressor in compressors(size)))


@pytest.mark.parametrize("workers", [16, 64])
@pytest.mark.parametrize("costs", [COSTS, SLOW_CODECS], ids=["quick codecs", "slow codecs"])
def test_the_recommended_plan_takes_the_least_seconds_of_all_exchanges_and_compressors(
    costs: Costs, workers: int
) -> None:
    plans = plan(LARGE, HOST, costs, [workers])
    first = best(plans)
    tried = {
        (exchange, compressor, m): predict(
            LARGE, HOST, costs, exchange, compressor, workers, m, error_feedback=feedback
        ).seconds
        for exchange in EXCHANGES
        for compressor in _candidates(exchange, workers)
        for m in batches(LARGE, workers)[::9]
        if not (feedback := needs_feedback(compressor, LARGE.dimension)) or m <= largest_batch(LARGE.dimension)
    }
    assert {exchange for exchange, _, _ in tried} == set(EXCHANGES)
    # Levels that follow a whole vector lie between those of a plan where vectors are cut into parts.
    assert first["seconds"] <= 1.01 * min(tried.values())
    assert first["seconds"] == plans["seconds"].min()
    assert first["gain"] >= 1


@pytest.mark.parametrize("workers", [16, 64])
def test_sgd_in_fp32_by_all_reduce_is_recommended_where_codecs_cost_more_than_they_save(workers: int) -> None:
    first = best(plan(LARGE, HOST, SLOW_CODECS, [workers]))
    assert (first["compressor"], first["exchange"]) == ("fp32", "all_reduce")
    assert first["gain"] == 1


@pytest.mark.parametrize("goal", ["seconds", "bytes", "dollars"])
def test_a_gain_is_what_the_comparator_takes_at_its_own_best_mini_batch_over_what_the_plan_takes(goal: str) -> None:
    problem, host = Problem(200), Host(Network(1e8, 2.5e-4), price=0.1)
    against = Comparator.of("natural-packed/relay")
    table = plan(problem, host, COSTS, [1, 6], goal=goal, against=against)
    make = partial(predict, problem, host, COSTS, "relay", make_compressor("natural", coding="packed"))
    for workers in (1, 6):
        rows = table[table["workers"] == workers]
        tried = [make(workers, m) for m in batches(problem, workers)]
        least = min(
            prediction.uplink + prediction.downlink if goal == "bytes" else getattr(prediction, goal)
            for prediction in tried
        )
        for _, row in rows.iterrows():
            with np.errstate(divide="ignore", invalid="ignore"):  # one rank sends nothing
                expected = np.divide(least, row[goal])
            assert row["gain"] == pytest.approx(expected, nan_ok=True)
        own = best(rows, compressor="natural", coding="packed", exchange="relay")["gain"]
        assert own == pytest.approx(1) or (workers == 1 and goal == "bytes")


def test_with_a_given_batch_of_a_rank_plans_and_comparator_have_that_one() -> None:
    table = plan(LARGE, HOST, COSTS, [4, 16], rank_batch=12)
    assert (table["mini_batch"] == 12 * table["workers"]).all()
    plain = predict(LARGE, HOST, COSTS, "all_reduce", make_compressor("fp32"), 16, 192)
    first = best(table, workers=16)
    assert first["gain"] == pytest.approx(plain.seconds / first["seconds"])
    # Where every iteration has few samples exchanges count for more, and so does what they save.
    assert first["gain"] > best(plan(LARGE, HOST, COSTS, [16]))["gain"]


@pytest.mark.parametrize("rank_batch", [None, 12])
def test_where_compression_pays_is_what_is_recommended_there(rank_batch: int | None) -> None:
    where = {"dimensions": [1000, 10_000], "workers": [2, 8], "rates": [1e8, 1e10]}
    ways = payoff(COSTS, **where, network=lambda rate: Network(rate, 2.5e-4), rank_batch=rank_batch)
    assert len(ways) == 8
    for _, way in ways.iterrows():
        host = Host(Network(way["rate"], 2.5e-4))
        first = best(plan(Problem(way["dimension"]), host, COSTS, [way["workers"]], rank_batch=rank_batch))
        assert list(way[["exchange", "compressor", "seconds", "gain"]]) == list(
            first[["exchange", "compressor", "seconds", "gain"]]
        )
    assert (ways["gain"] >= 1).all()
    assert (ways[ways["rate"] == 1e8]["gain"].to_numpy() > ways[ways["rate"] == 1e10]["gain"].to_numpy()).all()


def test_a_plan_that_is_worse_than_the_baseline_has_a_gain_below_one() -> None:
    table = plan(Problem(10_000), HOST, COSTS, [64], exchanges=["all_reduce", "all_gather"])
    assert best(table, compressor="fp32", exchange="all_reduce")["gain"] == 1
    assert best(table, compressor="fp32", exchange="all_gather")["gain"] < 1


def test_the_baseline_is_fp32_by_all_reduce_and_reads_back() -> None:
    assert str(BASELINE) == _AGAINST == "fp32/all_reduce"
    assert BASELINE.words == "fp32 over all-reduce"
    for text in (
        "fp32/all_reduce",
        "fp16/relay",
        "qsgd-s16-rans/all_gather",
        "natural-rans/requantize",
        "sign+feedback/all_gather",
        "top_k_sign-fraction=0.05+feedback/relay",
    ):
        assert str(Comparator.of(text)) == text
    assert Comparator.of("natural/relay").compressor == make_compressor("natural")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("fp32", "'fp32'; write it as COMPRESSOR/EXCHANGE"),
        ("/all_reduce", "write it as COMPRESSOR/EXCHANGE"),
        ("fp32/", "write it as COMPRESSOR/EXCHANGE"),
        ("fp31/all_reduce", "unknown compressor 'fp31'; choose one of fp64, fp32"),
        ("fp32/ring", "unknown exchange 'ring'; choose one of master, relay"),
        ("qsgd/relay", "qsgd needs 'levels'"),
        ("sign/relay", "sign is biased; choose an unbiased compressor, or write sign+feedback"),
        ("eden+feedback/relay", "eden is unbiased, and planned without error feedback; write eden/relay"),
        ("majority+feedback/all_gather", "majority does not state how much of a vector it keeps"),
        ("fp32/relay/relay", "unknown exchange 'relay/relay'"),
    ],
)
def test_a_comparator_that_there_is_not_is_refused_with_a_remedy(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Comparator.of(text)
    assert says in str(caught.value)
    assert caught.value.where == "against"


@pytest.mark.parametrize("label", ["fp32", "qsgd-s12-rans", "qsgd-s12-packed"])
def test_bytes_of_a_vector_in_parts_are_those_that_a_run_sends(label: str) -> None:
    compressor, d, workers = named(label), 600, 4
    spec = relufit.TrainingSpec(
        dataset=PlantedModel(n=6000, d=d, seed=1),
        compressor={"name": compressor.name, **compressor.parameters},
        workers=workers,
        batch_size=80,
        iterations=60,
        exchange="all_reduce",
    )
    table = relufit.train(spec).table
    each = np.diff(table["uplink_bytes"])[1:] / np.diff(table["iteration"])[1:]
    exchange = EXCHANGES["all_reduce"]
    expected = exchange.sent(workers).up * vector_bytes(compressor, exchange, d, workers)
    assert np.mean(each) == pytest.approx(expected, rel=0.03)
    # With the norm of a part its levels are finer than those of a whole vector: that length would be too short.
    whole = exchange.sent(workers).up * payload_bytes(compressor, d)
    assert label != "qsgd-s12-rans" or whole < 0.9 * np.mean(each)


def test_parts_are_encoded_one_by_one() -> None:
    problem, compressor, workers = Problem(10_000), make_compressor("qsgd", levels=8, coding="rans"), 64
    whole, parts = (
        predict(problem, HOST, COSTS, exchange, compressor, workers, 640) for exchange in ("relay", "all_reduce")
    )
    assert parts.payload > whole.payload
    # 64 parts and a sum, each with the overhead of an encoding.
    assert parts.encode == pytest.approx((64 * 1e-5 + 5e-5) * (1 + 1 / 64))
    assert whole.encode == pytest.approx(1e-5 + 5e-5)


@pytest.mark.parametrize(("d", "workers"), [(1000, 7), (64, 64), (5, 8), (12, 1)])
def test_the_sizes_of_parts_are_those_of_the_parts(d: int, workers: int) -> None:
    for exchange in EXCHANGES.values():
        sizes = [stop - start for start, stop in exchange.parts(d, workers) or [(0, d)] if stop > start]
        assert {size: sizes.count(size) for size in sizes} == exchange.part_sizes(d, workers)
