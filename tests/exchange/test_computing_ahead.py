"""The seconds of an iteration in which ranks compute the next gradient while this one is exchanged."""

from __future__ import annotations

import pytest

from relufit.exchange import EXCHANGES, Exchange
from relufit.theory.network import Iteration, Network, Work

LINK, PAYLOAD, D = Network(1e9, latency=1e-3), 4e5, 100_000
REPLICAS = [exchange for exchange in EXCHANGES.values() if exchange.replicas]


def seconds(exchange: Exchange, compute: float, network: Network = LINK, *, ahead: bool = True) -> Iteration:
    work = Work(compute=compute, encode=compute / 4, decode=2e-4, update=1e-4, message=5e-5)
    return exchange.iteration(4, PAYLOAD, D, network, work, ahead=ahead)


@pytest.mark.parametrize("exchange", REPLICAS, ids=lambda exchange: exchange.name)
def test_the_shorter_of_computing_and_travelling_is_saved(exchange: Exchange) -> None:
    travelling = seconds(exchange, 0.0).messages + LINK.latency * 2 + seconds(exchange, 0.0).link
    for compute in (0.0, 1e-3, 0.01, 1.0):
        plain, ahead = seconds(exchange, compute, ahead=False), seconds(exchange, compute)
        own = 1.25 * compute
        parts = plain.messages + plain.latency + plain.link
        assert parts <= travelling
        assert ahead.upper == pytest.approx(plain.upper - min(own, parts), rel=1e-12)
        assert max(own, plain.lower - own) <= ahead.lower <= ahead.upper <= plain.upper
        assert ahead.lower <= plain.lower


def test_between_ranks_the_bounds_are_those_written_out() -> None:
    # Of an all-gather of four ranks: three payloads, half a round trip, a message's overhead for each, four decodings.
    ahead = seconds(EXCHANGES["all_gather"], 0.01)
    link = 3 * LINK.seconds(PAYLOAD)
    assert ahead.upper == pytest.approx(max(0.0125, 3 * 5e-5 + 1e-3 + link) + 4 * 2e-4 + 1e-4, rel=1e-9)
    assert ahead.lower == pytest.approx(max(0.0125, 5e-5 + 1e-3 + link + 2e-4 + 1e-4), rel=1e-9)
    assert seconds(EXCHANGES["all_gather"], 0.1).lower == pytest.approx(0.125)


def test_with_a_master_that_sends_the_weights_nothing_is_saved() -> None:
    exchange = EXCHANGES["master"]
    assert seconds(exchange, 0.01) == seconds(exchange, 0.01, ahead=False)


@pytest.mark.parametrize("exchange", REPLICAS, ids=lambda exchange: exchange.name)
@pytest.mark.parametrize("compute", [0.0, 1e-3, 0.05])
def test_no_iteration_is_shorter_than_the_bytes_of_the_busiest_link(exchange: Exchange, compute: float) -> None:
    burst = Network(LINK.rate, LINK.latency, burst=1e6)
    ahead = seconds(exchange, compute, burst)
    busiest = max(count for count, _ in exchange.link_loads(4, 4)) * LINK.seconds(PAYLOAD)
    assert ahead.upper >= 0.99 * busiest
    assert 1.25 * compute <= ahead.lower <= ahead.upper <= seconds(exchange, compute, burst, ahead=False).upper
