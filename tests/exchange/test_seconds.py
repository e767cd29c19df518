from __future__ import annotations

import math

import pytest
from exchange_simulation import PACKETS, World, period
from hypothesis import given
from hypothesis import strategies as st

from relufit import theory
from relufit.exchange import EXCHANGES
from relufit.theory.network import Network, Work

#: Without overhead: a rate at which a payload's seconds are what they are meant to be.
_D = 10_000
_WEIGHTS = theory.weights_bytes(_D)


def _seconds(network: Network, payload: float) -> float:
    return 8 * theory.wire_bytes(payload, network.mtu) / network.rate


def _vector_seconds(exchange: str, network: Network, payload: float, workers: int) -> float:
    """Return the seconds of a vector on a link, in parts that each have a frame and packets of their own."""
    parts = workers if exchange == "all_reduce" else 1
    return parts * _seconds(network, payload / parts)


def test_two_ranks_and_a_master_by_hand() -> None:
    network, work = Network(1e8, 1e-3), Work(compute=0.01, encode=0.002, decode=0.001, update=0.0005, weights=0.0001)
    p, q = _seconds(network, 4e4), _seconds(network, _WEIGHTS)
    iteration = EXCHANGES["master"].iteration(2, 4e4, _D, network, work)
    own = 0.01 + 0.002 + 0.0005 + 2 * 0.0001
    assert iteration.lower == pytest.approx(own + 2e-3 + q + p + 0.001 + q)
    assert iteration.upper == pytest.approx(own + 2e-3 + 2 * (p + q + 0.001))


def test_two_ranks_over_a_relay_and_all_gather_by_hand() -> None:
    network, work = Network(1e8, 1e-3), Work(compute=0.01, decode=0.001)
    p = _seconds(network, 4e4)
    relay = EXCHANGES["relay"].iteration(2, 4e4, _D, network, work)
    assert relay.lower == pytest.approx(0.01 + 2e-3 + 2 * p + 0.001)
    assert relay.upper == pytest.approx(0.01 + 2e-3 + 2 * p + 2 * p + 2 * 0.001)
    direct = EXCHANGES["all_gather"].iteration(2, 4e4, _D, network, work)
    assert direct.lower == pytest.approx(0.01 + 1e-3 + p + 0.001)
    assert direct.upper == pytest.approx(0.01 + 1e-3 + p + 2 * 0.001)


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_burst_saves_its_time_once_on_a_link_but_a_link_carries_its_bytes_in_no_less(exchange: str) -> None:
    # Without a master all stages take the same links.
    work, stages = Work(compute=0.01, decode=0.01), 2 if EXCHANGES[exchange].has_master else 1
    plain, shaped = (EXCHANGES[exchange].iteration(3, 4e4, _D, Network(1e8, burst=burst), work) for burst in (0, 1e4))
    assert plain.upper - shaped.upper == pytest.approx(stages * 8e4 / 1e8)
    assert shaped.lower == pytest.approx(plain.lower - stages * 8e4 / 1e8)
    p, q = _vector_seconds(exchange, Network(1e8), 4e4, 3), _seconds(Network(1e8), _WEIGHTS)
    whole = {"master": 3 * max(p, q), "relay": 6 * p, "requantize": 3 * p, "all_gather": 2 * p, "all_reduce": 4 / 3 * p}
    busiest = whole[exchange]
    assert EXCHANGES[exchange].iteration(3, 4e4, _D, Network(1e8, burst=1e9), Work()).upper == pytest.approx(busiest)


@pytest.mark.parametrize("workers", [2, 8, 100])
def test_with_nothing_but_the_link_a_master_takes_k_plus_1_to_2_k_messages(workers: int) -> None:
    network = Network(1e9)
    p = _seconds(network, _WEIGHTS)
    iteration = EXCHANGES["master"].iteration(workers, _WEIGHTS, _D, network, Work())
    assert iteration.lower == pytest.approx((workers + 1) * p)
    assert iteration.upper == pytest.approx(2 * workers * p)


def test_two_ranks_that_reduce_by_hand() -> None:
    network, work = Network(1e8, 1e-3), Work(compute=0.01, encode=0.002, decode=0.001, update=0.0005)
    p = 2 * _seconds(network, 2e4)
    iteration = EXCHANGES["all_reduce"].iteration(2, 4e4, _D, network, work)
    own = 0.01 + 1.5 * 0.002 + 0.0005
    assert iteration.lower == pytest.approx(own + 2e-3 + p + 0.001)
    assert iteration.upper == pytest.approx(own + 2e-3 + p + 2 * 0.001)
    iteration = EXCHANGES["requantize"].iteration(2, 4e4, _D, network, work)
    own, p = 0.01 + 2 * 0.002 + 0.0005, _seconds(network, 4e4)
    assert iteration.lower == pytest.approx(own + 2e-3 + 3 * p + 2 * 0.001)
    assert iteration.upper == pytest.approx(own + 2e-3 + 4 * p + 3 * 0.001)


@pytest.mark.parametrize("exchange", ["relay", "all_gather"])
def test_one_rank_alone_has_no_network(exchange: str) -> None:
    work = Work(compute=1.0, encode=0.1, decode=0.2, update=0.4, message=9.0, byte=1.0)
    iteration = EXCHANGES[exchange].iteration(1, 100, _D, Network(1.0, 5.0), work, apart=False)
    assert (iteration.lower, iteration.upper) == pytest.approx((1.7, 1.7))


def test_a_master_beside_a_single_rank_has_no_network() -> None:
    iteration = EXCHANGES["master"].iteration(1, 100, _D, Network(1.0, 5.0), Work(compute=1.0), apart=False)
    assert iteration.lower == iteration.upper == 1.0


def test_copies_slower_than_the_link_take_its_place() -> None:
    slow = EXCHANGES["all_gather"].iteration(3, 1e6, _D, Network(math.inf), Work(byte=1e-8))
    assert slow.upper == pytest.approx(2 * 1e-8 * (1e6 + 56))


@pytest.mark.parametrize("exchange", EXCHANGES)
@pytest.mark.parametrize("fair", [False, True], ids=["in turn", "shared"])
@pytest.mark.parametrize("workers", [2, 3, 8])
@pytest.mark.parametrize(
    ("rate", "latency", "compute", "decode", "payload"),
    [
        (1e9, 0.0, 0.0, 0.0, 40_004),
        (1e9, 2.5e-4, 1e-3, 0.0, 40_004),
        (1e8, 2.5e-4, 1e-3, 1e-4, 2_500),
        (1e9, 2.5e-4, 1e-3, 5e-3, 2_500),
        (1e9, 2.5e-4, 1e-3, 2e-4, 20_000),
        (1e9, 1e-1, 0.0, 2e-4, 20_000),
    ],
)
def test_a_simulation_packet_by_packet_lies_between_the_bounds(
    exchange: str, fair: bool, workers: int, rate: float, latency: float, compute: float, decode: float, payload: float
) -> None:
    network = Network(rate, latency)
    p, q = _vector_seconds(exchange, network, payload, workers), _seconds(network, _WEIGHTS)
    took = period(exchange, World(workers, p, q, latency, compute, decode, fair))
    iteration = EXCHANGES[exchange].iteration(workers, payload, _D, network, Work(compute=compute, decode=decode))
    # A packet waits for another on each link that it passes.
    grain = 4 * workers * max(p, q if exchange == "master" else 0.0) / PACKETS
    assert iteration.lower * (1 - 1e-9) <= took <= iteration.upper + grain


@pytest.mark.parametrize("workers", [2, 4, 8])
def test_the_lower_bound_is_reached_where_a_master_sends_one_after_the_other(workers: int) -> None:
    network = Network(1e9, 2.5e-4)
    p, q = _seconds(network, 20_000), _seconds(network, _WEIGHTS)
    took = period("master", World(workers, p, q, network.latency, 1e-3, 1e-5, fair=False))
    iteration = EXCHANGES["master"].iteration(workers, 20_000, _D, network, Work(compute=1e-3, decode=1e-5))
    assert took == pytest.approx(iteration.lower, rel=0.01)


@pytest.mark.parametrize("workers", [2, 4, 8])
def test_the_upper_bound_is_reached_where_links_are_shared(workers: int) -> None:
    network = Network(1e9, 2.5e-4)
    p, q = _seconds(network, 20_000), _seconds(network, _WEIGHTS)
    took = period("master", World(workers, p, q, network.latency, 1e-3, 1e-5, fair=True, packets=80))
    iteration = EXCHANGES["master"].iteration(workers, 20_000, _D, network, Work(compute=1e-3, decode=1e-5))
    assert took == pytest.approx(iteration.upper, rel=0.03)


_POSITIVE = st.floats(1e-6, 1.0)


@given(
    exchange=st.sampled_from(list(EXCHANGES)),
    workers=st.integers(1, 10_000),
    payload=st.floats(1, 1e9),
    rate=st.floats(1e6, 1e11),
    latency=st.floats(0, 0.1),
    work=st.builds(Work, *[st.floats(0, 1.0)] * 6, st.floats(0, 1e-8)),
    apart=st.booleans(),
    more=st.floats(1, 100),
)
def test_bounds_are_in_order_and_no_resource_that_grows_slows_anything_down(
    exchange: str,
    workers: int,
    payload: float,
    rate: float,
    latency: float,
    work: Work,
    apart: bool,
    more: float,
) -> None:
    def bounds(payload: float, rate: float, latency: float, workers: int) -> tuple[float, float]:
        iteration = EXCHANGES[exchange].iteration(workers, payload, 1000, Network(rate, latency), work, apart=apart)
        assert iteration.lower <= iteration.upper * (1 + 1e-12)
        return iteration.lower, iteration.upper

    reference = bounds(payload, rate, latency, workers)
    worse = (
        bounds(payload * more, rate, latency, workers),
        bounds(payload, rate / more, latency, workers),
        bounds(payload, rate, latency * more, workers),
        # Where ranks share the work of decoding and encoding, more of them have less of it.
        bounds(payload, rate, latency, workers + (exchange != "all_reduce")),
    )
    for lower, upper in worse:
        assert lower >= reference[0] * (1 - 1e-12)
        assert upper >= reference[1] * (1 - 1e-12)
