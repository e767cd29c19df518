"""The reception: members are let in, strangers are turned away, and nobody is kept waiting by them."""

from __future__ import annotations

import ssl
from contextlib import suppress
from threading import Event, Thread
from time import sleep

import pytest
from callers import Caller
from meetings import LONG, RUN, Clock, fresh_contexts, make_network, put, until, yes
from receptions import (
    Open,
    Watched,
    assert_linked,
    assert_turned_away,
    come,
    is_turned_away,
    receiving,
    sockets_at,
    take,
)

from relufit.errors import TransportError
from relufit.transport import reception
from relufit.transport.connections import Network
from relufit.transport.frames import Kind
from relufit.transport.greeting import ABOUT_BYTES
from relufit.transport.link import Link
from relufit.transport.tcp import Tcp


def test_members_are_kept_by_rank_until_they_are_asked_for(network: Network, receive: Open) -> None:
    at = receive(network, 3)
    links = {rank: come(network, at, rank, name=f"number {rank}", iteration=None) for rank in (2, 0, 1)}
    until(lambda: len(at.waiting()) == 3)
    for rank, peer in sorted(at.waiting().items()):
        assert peer.rank == rank
        assert peer.link.peer == f"rank {rank}"
        assert peer.about == {"name": f"number {rank}", "iteration": None}
        assert at.take(rank) is peer
        assert at.take(rank) is None
        assert_linked(peer, links[rank])
    assert at.waiting() == {}


def test_what_a_member_sends_behind_its_greeting_is_kept(network: Network, receive: Open) -> None:
    at = receive(network)
    link = come(network, at, 1)
    link.send(Kind.GRADIENT, b"at once", iteration=3)
    peer = take(at, 1)
    assert bytes(peer.link.receive(Kind.GRADIENT, limit=7, iteration=3)[1]) == b"at once"
    assert_linked(peer, link)


def test_a_greeting_may_come_in_pieces(network: Network, receive: Open) -> None:
    at = receive(network)
    connection = network.connect(at.address, LONG)
    caller = Caller(connection, rank=1)
    hello = caller.hello()
    for byte in hello[:-1]:
        put(connection, bytes([byte]))
        sleep(0.0005)
    caller.hello = lambda: hello[-1:]  # type: ignore[method-assign]
    caller.challenged()
    for byte in caller.proof(b'{"name": "slow"}'):
        put(connection, bytes([byte]))
        sleep(0.0005)
    peer = take(at, 1)
    assert peer.about == {"name": "slow"}
    assert_linked(peer, Link(connection, RUN, "the master", deadline=LONG, wanted=yes))


def test_a_member_that_says_as_much_as_it_may_is_let_in(network: Network, receive: Open) -> None:
    at = receive(network)
    name = "x" * (ABOUT_BYTES - len('{"name": ""}'))
    link = come(network, at, 0, name=name)
    peer = take(at, 0)
    assert peer.about["name"] == name
    assert_linked(peer, link)


def test_of_two_equal_ranks_the_latest_is_kept(network: Network, receive: Open) -> None:
    """The first is one that has lost its connection and does not know it yet, or a process that is to be gone."""
    at = receive(network)
    first = come(network, at, 1, name="first")
    until(lambda: 1 in at.waiting())
    second = come(network, at, 1, name="second")
    until(lambda: at.waiting()[1].about == {"name": "second"})
    with pytest.raises(TransportError, match="closed the connection"):
        first.receive(Kind.WEIGHTS)
    first.close()
    # Who has been taken is nobody's to close.
    taken, third = take(at, 1), come(network, at, 1, name="third")
    until(lambda: 1 in at.waiting())
    assert_linked(taken, second)
    assert_linked(take(at, 1), third)


def test_waiting_ends_when_somebody_comes(network: Network, receive: Open) -> None:
    at, waiting = receive(network), Event()
    at.wait(0.05)

    def wait() -> None:
        waiting.set()
        at.wait(10 * LONG)

    thread = Thread(target=wait)
    thread.start()
    waiting.wait()
    sleep(0.05)
    link = come(network, at, 0)
    thread.join(LONG)
    assert not thread.is_alive()
    link.close()


def test_something_is_called_about_once_a_second(receive: Open, reception_clock: Clock) -> None:
    called: list[float] = []
    network = Watched(make_network("memory"))
    receive(network, every=lambda: called.append(reception_clock.seconds))
    for step in range(40):
        reception_clock.seconds = 0.25 * step
        network.settle(0)
    assert called == [1.25, 2.5, 3.75, 5.0, 6.25, 7.5, 8.75]


def test_a_master_that_is_not_there_is_told_of_with_its_address(network: Network, receive: Open) -> None:
    at = receive(network)
    host, port = at.address
    at.close()
    with pytest.raises(TransportError, match="cannot be reached") as caught:
        come(network, at, 0)
    assert caught.value.where == f"the master at {host}:{port}"


def test_of_more_greetings_than_256_the_eldest_are_given_up(receive: Open) -> None:
    network = make_network("tcp")
    at = receive(network)
    strangers = [network.connect(at.address, LONG) for _ in range(276)]
    until(lambda: is_turned_away(strangers[19]))
    assert [is_turned_away(each) for each in strangers] == [True] * 20 + [False] * 256
    link = come(network, at, 0)
    assert_linked(take(at, 0), link)
    at.close()
    for each in strangers:
        assert_turned_away(each)


def test_without_descriptors_for_more_those_who_are_there_are_let_in_or_given_up(
    network: Network, receive: Open, reception_clock: Clock
) -> None:
    """So that there are descriptors again."""
    watched = Watched(network)
    at = receive(watched)
    member, stranger = watched.connect(at.address, LONG), watched.connect(at.address, LONG)
    watched.settle(2)
    watched.out_of_order = True
    caller = Caller(member)
    caller.challenged()
    put(member, caller.proof())
    peer = take(at, 0)
    reception_clock.seconds += reception.GREETING_SECONDS + 0.1
    assert_turned_away(stranger)
    watched.out_of_order = False
    link = come(watched, at, 1)
    assert_linked(take(at, 1), link)
    assert_linked(peer, Link(member, RUN, "the master", deadline=LONG, wanted=yes))


@pytest.mark.parametrize("kind", ["tcp", "tls", "memory"])
def test_closing_leaves_no_thread_and_no_socket(kind: str, receive: Open) -> None:
    network, before = make_network(kind), receiving()
    at = receive(network, 3)
    port = at.address[1]
    link = come(network, at, 0)
    taken = take(at, 0)
    waiting, greeting = come(network, at, 1), network.connect(at.address, LONG)
    put(greeting, Caller(greeting).hello()[:-1])
    until(lambda: 1 in at.waiting())
    assert receiving() == before + 1
    until(lambda: len(sockets_at(port)) == (0 if kind == "memory" else 4))
    at.close()
    assert receiving() == before
    assert len(sockets_at(port)) == (0 if kind == "memory" else 1), "only that of the peer who was taken"
    assert at.waiting() == {}
    with pytest.raises(TransportError, match="closed the connection"):
        waiting.receive(Kind.BEGIN)
    assert_turned_away(greeting)
    assert_linked(taken, link)
    assert sockets_at(port) == []
    waiting.close()
    at.close()  # which does nothing more


def test_with_tls_not_even_the_token_helps_without_our_certificate(receive: Open) -> None:
    network = make_network("tls")
    at = receive(network)
    trusting = fresh_contexts()
    nobody = ssl.create_default_context()
    for context in (nobody, trusting[1]):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    links = []
    for stranger in (Tcp("127.0.0.1"), Tcp("127.0.0.1", trusting[0], nobody), Tcp("127.0.0.1", *trusting)):
        with suppress(TransportError):  # it may learn only later that it was refused
            links.append(come(stranger, at, 0))
    for link in links:
        with pytest.raises(TransportError, match=r"closed the connection|broke"):
            link.receive(Kind.BEGIN)
        link.close()
    assert at.waiting() == {}
    member = come(network, at, 0)
    assert_linked(take(at, 0), member)
