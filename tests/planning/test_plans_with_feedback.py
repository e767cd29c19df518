"""Plans of biased compressors, which have error feedback."""

from __future__ import annotations

import math

import pytest
from made_costs import COSTS

from relufit import theory
from relufit.compression import make_compressor
from relufit.errors import ConfigError
from relufit.exchange import EXCHANGES
from relufit.planning import Host, Machine, Problem, best, plan, predict
from relufit.planning.predictions import describe_row, largest_batch
from relufit.theory.network import Network

D, WORKERS = 10_000, 8
PROBLEM, SLOW = Problem(D), Host(Network(1e7, 2.5e-4))
SIGN = make_compressor("sign")


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_iterations_are_those_of_the_recursion_with_the_encodings_of_the_exchange(exchange: str) -> None:
    prediction = predict(PROBLEM, SLOW, COSTS, exchange, SIGN, WORKERS, 80, error_feedback=True)
    gradients, total = EXCHANGES[exchange].encodings(SIGN.encoding, D, WORKERS)
    assert gradients
    expected = theory.iterations_feedback(D, 80, 10.0, 1e-6, delta=gradients, workers=WORKERS, sum_delta=total)
    assert prediction.iterations == expected
    assert prediction.error_feedback
    assert math.isnan(prediction.omega)
    # Signs with error feedback take hardly more iterations than SGD does, whose payloads are 32 times as long.
    plain = predict(PROBLEM, SLOW, COSTS, exchange, make_compressor("fp32"), WORKERS, 80)
    assert 1 <= prediction.iterations / plain.iterations < 1.1
    assert prediction.payload < plain.payload / 28


def test_an_encoding_takes_a_decoding_and_an_update_more() -> None:
    exact, kept = (
        predict(PROBLEM, SLOW, COSTS, "all_gather", make_compressor("fp32"), 2, 80, error_feedback=feedback)
        for feedback in (False, True)
    )
    assert kept.encode - exact.encode == pytest.approx(1e-5 + 1e-9 * D + 1e-6 + 2e-9 * D)
    assert kept.vectors - exact.vectors == 2 * 8 * D
    network = Network(1e8, 2.5e-4)
    machine = Machine(COSTS, COSTS, processors=2)
    alone, more = (
        machine.iteration("all_gather", SIGN, 2, D, 8, network, error_feedback=feedback)[0]
        for feedback in (False, True)
    )
    assert more.encode - alone.encode == pytest.approx(1e-5 + 1e-9 * D + 1e-6 + 2e-9 * D)


def test_slow_links_make_signs_with_error_feedback_the_plan_where_batches_are_given() -> None:
    table = plan(PROBLEM, SLOW, COSTS, [WORKERS], rank_batch=12)
    first = best(table)
    assert first["error_feedback"]
    assert first["compressor"] in ("sign", "one_bit", "top_k_sign-fraction=0.05", "top_k_sign-fraction=0.2")
    assert describe_row(first).endswith("+feedback")
    assert first["gain"] > best(table[~table["error_feedback"]])["gain"] > 1
    assert set(table.loc[table["error_feedback"], "compressor"]) == {
        "sign", "one_bit", "top_k-fraction=0.05", "top_k-fraction=0.2", "top_k_sign-fraction=0.05",
        "top_k_sign-fraction=0.2",
    }  # fmt: skip


def test_no_plan_with_error_feedback_has_a_mini_batch_for_which_there_is_no_prediction() -> None:
    table = plan(PROBLEM, SLOW, COSTS, [WORKERS])
    with_feedback = table[table["error_feedback"]]
    assert len(with_feedback)
    assert (with_feedback["mini_batch"] <= largest_batch(D)).all()
    assert (table.loc[~table["error_feedback"], "mini_batch"] > largest_batch(D)).any()
    most = largest_batch(D) // WORKERS
    assert plan(PROBLEM, SLOW, COSTS, [WORKERS], rank_batch=most)["error_feedback"].any()
    assert not plan(PROBLEM, SLOW, COSTS, [WORKERS], rank_batch=most + 1)["error_feedback"].any()
    with pytest.raises(ConfigError, match="where no iterations are predicted; give 2000 or fewer"):
        predict(PROBLEM, SLOW, COSTS, "relay", SIGN, WORKERS, 4008, error_feedback=True)


@pytest.mark.parametrize(
    ("name", "feedback", "says"),
    [
        ("sign", False, "sign is biased: without error feedback no iterations are predicted"),
        ("majority", True, "majority does not state how much of a vector it keeps"),
    ],
)
def test_what_has_no_predicted_iterations_is_refused(name: str, feedback: bool, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        predict(PROBLEM, SLOW, COSTS, "relay", make_compressor(name), WORKERS, 80, error_feedback=feedback)
