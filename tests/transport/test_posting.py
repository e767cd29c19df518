"""What is posted over links goes on without anybody waiting for it, over links beside too."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from time import sleep

import numpy as np
import pytest
from link_ends import Ends, Links, make_link
from meetings import LARGE, LONG, frame, make_ends, make_network, meet, of_the_system, put, until

from relufit.errors import TransportError
from relufit.transport import connections
from relufit.transport.connections import Connection, Encrypted, Plain
from relufit.transport.frames import HEADER_BYTES, Kind, body_digest
from relufit.transport.link import Link


def block(sender: Link) -> None:
    """Push until nothing goes for a while, since buffers grow now and then."""
    refused = 0
    while refused < 3:
        refused = 0 if sender.push() else refused + 1
        sleep(0.02)


@of_the_system
def test_what_is_posted_goes_as_far_as_it_goes_without_waiting(links: Links, thread: ThreadPoolExecutor) -> None:
    one, other = links
    body = np.random.default_rng(0).bytes(LARGE)
    thread.submit(one.post, Kind.WEIGHTS, body, iteration=1).result(timeout=LONG)
    one.post(Kind.GRADIENT, b"behind it", iteration=2)
    block(one)
    assert one.frame_bytes_sent == 2 * HEADER_BYTES + LARGE + 9
    first = thread.submit(other.receive, Kind.WEIGHTS, limit=LARGE, iteration=1)
    one.flush()
    assert one.push() is False, "nothing is left"
    assert first.result()[1] == body
    assert bytes(other.receive(Kind.GRADIENT, limit=9, iteration=2)[1]) == b"behind it"


def room(end: Connection) -> int:
    """Return how many bytes the system takes in that nobody reads."""
    assert isinstance(end, Plain | Encrypted)
    return end._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)


@of_the_system
def test_an_end_that_belongs_to_a_link_has_room_for_megabytes(ends: Ends) -> None:
    """A member whose turn to be read has not come is not held up; a stranger has no link, and no such room."""
    before = room(ends[1])
    make_link(ends[1])
    assert before < 1 << 20 < 2 << 20 < room(ends[1])


@of_the_system
def test_pushing_tells_whether_anything_went(ends: Ends) -> None:
    sender = make_link(ends[0])
    assert sender.push() is False
    sender.post(Kind.WEIGHTS, bytes(LARGE))
    block(sender)
    view = memoryview(bytearray(1 << 20))
    until(lambda: ends[1].read(view, 0) >= 0 and sender.push() is True)


@pytest.mark.parametrize("first", [[1000] * 6000, [LARGE // 4]], ids=["small", "large"])
def test_thousands_of_frames_may_wait(links: Links, thread: ThreadPoolExecutor, first: list[int]) -> None:
    """Of all sizes, behind small ones or a large one that the system does not take."""
    one, other = links
    body, sizes = np.random.default_rng(0).bytes(LARGE // 4), [*first, *range(1000), *range(1000), LARGE // 4]
    for iteration, size in enumerate(sizes):
        one.post(Kind.REPORT, memoryview(body)[:size], iteration=iteration)
    flushed = thread.submit(one.flush)
    for iteration, size in enumerate(sizes):
        assert other.receive(Kind.REPORT, limit=LARGE, iteration=iteration)[1] == memoryview(body)[:size]
    flushed.result()


def exchange(own: Link, body: bytes) -> bool:
    """Post a body, receive the other's, and see to it that one's own has gone."""
    own.post(Kind.GRADIENT, body)
    same = own.receive(Kind.GRADIENT, limit=LARGE)[1] == body
    own.flush()
    return same


def test_two_ends_may_post_more_than_all_buffers_take_and_then_receive(
    links: Links, thread: ThreadPoolExecutor
) -> None:
    body = np.random.default_rng(0).bytes(LARGE)
    assert all(thread.map(exchange, links, [body, body]))


def test_what_was_posted_goes_on_while_an_answer_is_awaited(
    links: Links, thread: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And goes as soon as there is room, not when the wait is interrupted."""
    monkeypatch.setattr(connections, "POLL_SECONDS", 2 * LONG)
    one, other = links

    def answer() -> None:
        other.receive(Kind.WEIGHTS, limit=LARGE)
        other.send(Kind.STOP)

    answered = thread.submit(answer)
    one.post(Kind.WEIGHTS, bytes(LARGE))
    thread.submit(one.receive, Kind.STOP).result(timeout=LONG)
    answered.result()


@pytest.fixture(params=["tcp", "tls"])
def mesh(request: pytest.FixtureRequest) -> Iterator[list[dict[int, Link]]]:
    """The links of three members to each other."""
    network = make_network(request.param)
    of: list[dict[int, Link]] = [{}, {}, {}]
    for one, other in combinations(range(3), 2):
        called, accepted = meet(network)
        of[one][other] = make_link(called, f"rank {other}", deadline=2 * LONG)
        of[other][one] = make_link(accepted, f"rank {one}", deadline=2 * LONG)
    yield of
    for links in of:
        for each in links.values():
            each.close()


def test_three_members_may_each_post_more_than_all_buffers_take_to_all(
    mesh: list[dict[int, Link]], thread: ThreadPoolExecutor
) -> None:
    bodies = [bytes([rank]) * LARGE for rank in range(3)]
    digests = [body_digest(body) for body in bodies]

    def take_part(rank: int, links: dict[int, Link]) -> bool:
        beside, same = list(links.values()), True
        for each in beside:
            each.beside = beside
            each.post(Kind.GRADIENT, bodies[rank], rank=rank, digest=digests[rank])
        for other, each in links.items():
            header, body = each.receive(Kind.GRADIENT, limit=LARGE)
            same = same and header.rank == other and body_digest(body) == digests[other]
        for each in beside:
            each.flush()
        return same

    assert all(thread.map(take_part, range(3), mesh))


def test_frames_of_links_beside_go_on_while_one_waits(mesh: list[dict[int, Link]], thread: ThreadPoolExecutor) -> None:
    """Rank 0 waits for rank 2, which has nothing to say until rank 1 has all that rank 0 sends it."""

    def pass_on_the_word() -> None:
        mesh[1][0].receive(Kind.WEIGHTS, limit=LARGE)
        mesh[1][2].send(Kind.STOP)

    def wait_for_the_word() -> None:
        mesh[2][1].receive(Kind.STOP)
        mesh[2][0].send(Kind.STOP)

    done = [thread.submit(pass_on_the_word), thread.submit(wait_for_the_word)]
    mesh[0][2].beside = list(mesh[0].values())
    mesh[0][1].post(Kind.WEIGHTS, bytes(LARGE))
    mesh[0][2].receive(Kind.STOP)
    for one in done:
        one.result()


def test_a_link_beside_that_breaks_is_told_of_by_its_own_name(mesh: list[dict[int, Link]]) -> None:
    mesh[0][2].beside = list(mesh[0].values())
    mesh[0][1].post(Kind.WEIGHTS, bytes(LARGE))
    mesh[1][0].close()
    with pytest.raises(TransportError, match="broke") as caught:
        mesh[0][2].receive(Kind.STOP)
    assert caught.value.where == "rank 1"


def test_a_link_that_is_closed_ends_the_connection_after_what_was_sent(links: Links) -> None:
    one, other = links
    one.send(Kind.GRADIENT, b"the last")
    one.close()
    assert bytes(other.receive(Kind.GRADIENT, limit=10)[1]) == b"the last"
    with pytest.raises(TransportError, match="closed the connection"):
        other.receive(Kind.GRADIENT, limit=10)


def test_nothing_is_pushed_on_a_link_that_is_closed() -> None:
    (one, other), (third, fourth) = make_ends("tcp"), make_ends("tcp")
    closed, open_ = make_link(one), make_link(third)
    closed.post(Kind.WEIGHTS, bytes(LARGE))
    closed.close()
    assert closed.push() is False
    open_.beside = [open_, closed]
    put(fourth, frame(Kind.STOP))
    assert open_.receive(Kind.STOP)[0].kind is Kind.STOP
    for end in (other, third, fourth):
        end.close()
