"""What an exchange says of itself, held against counts by hand, against the endpoints and against theory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relufit.cli import parser
from relufit.errors import ConfigError
from relufit.exchange import DEFAULT, EXCHANGES, Content, Exchange, Flow, Links, Role, find_exchange
from relufit.exchange.base import Sent
from relufit.exchange.relay import Relay
from relufit.theory.network import Network, Work
from relufit.training import TrainingSpec
from relufit.training.exchanges import endpoints

every_exchange = pytest.mark.parametrize("exchange", EXCHANGES.values(), ids=list(EXCHANGES))


class _InParts(Relay):
    """Ranks without a master that add a part of the vector each, and send its sum to all others."""

    name, label, has_master, links = "in_parts", "in parts", False, Links.MESH

    def flows(self, workers: int) -> tuple[Flow, ...]:
        return (Flow(Content.GRADIENT, Role.RANK, Role.RANK, 2 * (workers - 1), 1 / workers),)


def test_gradients_and_weights_that_travel_are_counted() -> None:
    assert EXCHANGES["master"].sent(4) == Sent(4, 0, 4)
    assert EXCHANGES["relay"].sent(4) == Sent(4, 12, 0)
    assert EXCHANGES["all_gather"].sent(4) == Sent(12, 0, 0)
    assert EXCHANGES["requantize"].sent(4) == Sent(4, 4, 0)
    assert EXCHANGES["all_reduce"].sent(4) == Sent(6, 0, 0)


def test_copies_are_those_of_one_gradient() -> None:
    assert {name: exchange.copies(4) for name, exchange in EXCHANGES.items()} == {
        "master": (1, 0),
        "relay": (1, 3),
        "requantize": (0, 4),
        "all_gather": (3, 0),
        "all_reduce": (3, 0),
    }
    assert {name: exchange.copies(1) for name, exchange in EXCHANGES.items()} == {
        "master": (1, 0),
        "relay": (1, 0),
        "requantize": (0, 1),
        "all_gather": (0, 0),
        "all_reduce": (0, 0),
    }


def test_what_each_member_sends_and_receives_is_that_counted_by_hand() -> None:
    gradient, weights = 10.0, 1000.0
    member_bytes = {
        (name, role): exchange.member_bytes(role, 4, gradient, weights)
        for name, exchange in EXCHANGES.items()
        for role in Role
    }
    assert member_bytes == {
        ("master", Role.RANK): (10, 1000),
        ("master", Role.MASTER): (4000, 40),
        ("relay", Role.RANK): (10, 30),
        ("relay", Role.MASTER): (120, 40),
        ("requantize", Role.RANK): (10, 10),
        ("requantize", Role.MASTER): (40, 40),
        ("all_gather", Role.RANK): (30, 30),
        ("all_reduce", Role.RANK): (15, 15),
        ("all_reduce", Role.MASTER): (0, 0),
        ("all_gather", Role.MASTER): (0, 0),
    }


def test_parts_of_vectors_are_as_many_bytes_as_their_share() -> None:
    exchange = _InParts()
    assert exchange.sent(4) == (6, 0, 0)
    assert exchange.member_bytes(Role.RANK, 4, 100.0, 0.0) == (150, 150)


@every_exchange
@given(workers=st.integers(1, 200), gradient=st.floats(1, 1e6), weights=st.floats(1, 1e6))
def test_what_is_sent_is_received(exchange: Exchange, workers: int, gradient: float, weights: float) -> None:
    (rank_out, rank_in), (master_out, master_in) = (
        exchange.member_bytes(role, workers, gradient, weights) for role in (Role.RANK, Role.MASTER)
    )
    sent = exchange.sent(workers)
    whole = (sent.up + sent.down) * gradient + sent.weights * weights
    assert workers * rank_out + master_out == pytest.approx(whole)
    assert workers * rank_in + master_in == pytest.approx(whole)
    if exchange.parts(1, workers) is None:
        assert sent[:2] == tuple(workers * copies for copies in exchange.copies(workers))


@every_exchange
def test_links_go_where_messages_do(exchange: Exchange) -> None:
    flows = exchange.flows(4)
    between_ranks = any(flow.sender is flow.receiver is Role.RANK for flow in flows)
    with_master = any(Role.MASTER in (flow.sender, flow.receiver) for flow in flows)
    assert exchange.links is (Links.MESH if between_ranks else Links.STAR)
    assert exchange.has_master == with_master
    assert exchange.replicas == (exchange.sent(4).weights == 0)


def test_peers_of_a_mesh_are_all_others_and_of_a_star_none() -> None:
    assert Links.MESH.peers(1, 4) == (0, 2, 3)
    assert Links.MESH.peers(0, 1) == ()
    assert Links.STAR.peers(1, 4) == ()


@every_exchange
def test_the_endpoints_are_those_of_the_members_that_update_weights(exchange: Exchange) -> None:
    ends = endpoints(exchange.name)
    assert (ends.at_master is not None) == exchange.has_master
    assert (ends.on_rank is not None) == exchange.replicas
    assert (ends.answer is None) == exchange.replicas


@every_exchange
def test_no_load_of_a_link_is_more_than_all_members_send(exchange: Exchange) -> None:
    sent = exchange.sent(8)
    for remote in (7, 8):
        loads = exchange.link_loads(8, remote)
        assert sum(count for count, content in loads if content is Content.GRADIENT) <= sent.up + sent.down
        assert sum(count for count, content in loads if content is Content.WEIGHTS) <= sent.weights


@every_exchange
def test_variances_are_those_of_what_is_encoded(exchange: Exchange) -> None:
    variances = exchange.variances(lambda size: 1 / size, 10, 4)
    # Parts of 2, 3, 2 and 3 coordinates have the mean of (2/10)(1/2) + (3/10)(1/3) + ...
    expected = {"requantize": (0.1, 0.1), "all_reduce": (0.4, 0.4)}.get(exchange.name, (0.1, 0.0))
    assert variances == pytest.approx(expected)
    assert exchange.variances(lambda size: None, 10, 4).gradients is None
    assert exchange.variances(lambda size: 0.0, 2, 4) == (0, 0)


@every_exchange
@given(d=st.integers(1, 50), workers=st.integers(1, 60))
def test_parts_cover_all_coordinates_once_and_evenly(exchange: Exchange, d: int, workers: int) -> None:
    parts = exchange.parts(d, workers)
    if parts is not None:
        assert [k for start, stop in parts for k in range(start, stop)] == list(range(d))
        sizes = [stop - start for start, stop in parts]
        assert max(sizes) - min(sizes) <= 1
        assert len(parts) == (1 if exchange.has_master else workers)


def test_a_specification_that_names_none_has_the_default() -> None:
    assert TrainingSpec("data").exchange == DEFAULT
    arguments = parser().parse_args(["train", "data", "--output", "trace.parquet"])
    assert arguments.exchange == DEFAULT


@pytest.mark.parametrize("name", ["ring", "all_to_all", "", None, ["relay"]])
def test_an_unknown_exchange_is_refused_with_those_that_there_are(name: str) -> None:
    with pytest.raises(ConfigError, match="choose one of master, relay, requantize, all_gather, all_reduce") as caught:
        find_exchange(name)
    assert caught.value.where == "exchange"


def test_what_is_out_of_range_is_named() -> None:
    with pytest.raises(ValueError, match="workers"):
        EXCHANGES["master"].sent(0)
    with pytest.raises(ValueError, match="payload"):
        EXCHANGES["master"].iteration(2, 0, 1, Network(1.0), Work())
