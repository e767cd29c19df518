"""Links over real sockets on loopback: what arrives, what is counted, and who is turned away."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

import pytest
from distributed.security import Security

from relufit.errors import TransportError
from relufit.transport import link
from relufit.transport.frames import HEADER_BYTES, Kind, pack
from relufit.transport.link import TOKEN_BYTES, Link, Listener, connect, is_loopback

RUN, TOKEN = 2**63 + 5, bytes(range(TOKEN_BYTES))


def yes() -> bool:
    return True


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "_POLL_SECONDS", 0.02)
    monkeypatch.setattr(link, "_GREETING_SECONDS", 0.5)


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        other, _ = server.accept()
    with one, other:
        yield one, other


@pytest.fixture
def links(sockets: tuple[socket.socket, socket.socket]) -> tuple[Link, Link]:
    one, other = sockets
    return (
        Link(one, RUN, "the master", deadline=20, wanted=yes),
        Link(other, RUN, "rank 3", deadline=20, wanted=yes),
    )


def test_a_frame_arrives_as_it_was_sent(links: tuple[Link, Link]) -> None:
    one, other = links
    one.send(Kind.GRADIENT, b"numbers", rank=3, iteration=8, notes=(0.1, 0.25, 0.5))
    header, body = other.receive(Kind.GRADIENT, 7, iteration=8)
    assert bytes(body) == b"numbers"
    assert (header.kind, header.rank, header.run, header.iteration) == (Kind.GRADIENT, 3, RUN, 8)
    assert header.notes == (0.1, 0.25, 0.5)


def test_frames_arrive_in_order_and_are_counted(links: tuple[Link, Link]) -> None:
    one, other = links
    bodies = [b"", b"a", bytes(1000), b"bc"]
    kinds = [Kind.MOMENTS, Kind.GRADIENT, Kind.WEIGHTS, Kind.GRADIENT]
    for iteration, (kind, body) in enumerate(zip(kinds, bodies, strict=True)):
        one.send(kind, body, iteration=iteration)
    one.send(Kind.STOP)
    for iteration, (kind, body) in enumerate(zip(kinds, bodies, strict=True)):
        assert bytes(other.receive(kind, 1000, iteration=iteration)[1]) == body
    assert other.payload_bytes_received == 0 + 1 + 2, "weights are no uplink"
    assert other.frame_bytes_received == 1003 + 4 * HEADER_BYTES
    assert other.receive(Kind.GRADIENT, 1000)[0].kind is Kind.STOP
    assert (one.payload_bytes_received, one.frame_bytes_received) == (0, 0)


def test_bodies_larger_than_all_buffers_pass_in_both_directions(
    links: tuple[Link, Link], thread: ThreadPoolExecutor
) -> None:
    large = bytes(range(256)) * 40_000
    for sender, receiver in (links, links[::-1]):
        sent = thread.submit(sender.send, Kind.WEIGHTS, large)
        assert bytes(receiver.receive(Kind.WEIGHTS, len(large))[1]) == large
        sent.result()


def test_the_other_end_may_take_its_time(links: tuple[Link, Link], thread: ThreadPoolExecutor) -> None:
    received = thread.submit(lambda: bytes(links[1].receive(Kind.WEIGHTS, 10)[1]))
    with pytest.raises(TimeoutError):
        received.result(timeout=5 * link._POLL_SECONDS)
    links[0].send(Kind.WEIGHTS, b"late")
    assert received.result() == b"late"


@pytest.mark.parametrize(
    ("kind", "iteration", "run", "told"),
    [
        (Kind.MOMENTS, 4, RUN, "MOMENTS of iteration 4 where GRADIENT of 4 was due"),
        (Kind.GRADIENT, 3, RUN, "GRADIENT of iteration 3 where GRADIENT of 4 was due"),
        (Kind.GRADIENT, 5, RUN, "GRADIENT of iteration 5"),
        (Kind.GRADIENT, 4, RUN + 1, "another run"),
        (Kind.STOP, 4, RUN + 1, "another run"),
    ],
)
def test_a_frame_that_is_not_due_is_refused_by_the_name_of_its_sender(
    sockets: tuple[socket.socket, socket.socket], kind: Kind, iteration: int, run: int, told: str
) -> None:
    sockets[0].sendall(pack(kind, 3, run, iteration, b"body") + b"body")
    with pytest.raises(TransportError, match=told) as caught:
        Link(sockets[1], RUN, "rank 3", deadline=20, wanted=yes).receive(Kind.GRADIENT, 100, iteration=4)
    assert caught.value.where == "rank 3"


@pytest.mark.parametrize("body", [b"boby", b"bod\0"])
def test_a_damaged_frame_is_refused(sockets: tuple[socket.socket, socket.socket], body: bytes) -> None:
    sockets[0].sendall(pack(Kind.GRADIENT, 3, RUN, 4, b"body") + body)
    with pytest.raises(TransportError, match="checksum"):
        Link(sockets[1], RUN, "rank 3", deadline=20, wanted=yes).receive(Kind.GRADIENT, 100, iteration=4)


@pytest.mark.parametrize("length", [0, 1, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + 3])
def test_a_peer_that_goes_away_within_a_frame_is_told_of(
    sockets: tuple[socket.socket, socket.socket], length: int
) -> None:
    sockets[0].sendall((pack(Kind.GRADIENT, 3, RUN, 4, b"body") + b"body")[:length])
    sockets[0].close()
    with pytest.raises(TransportError, match="closed the connection") as caught:
        Link(sockets[1], RUN, "rank 3", deadline=20, wanted=yes).receive(Kind.GRADIENT, 100, iteration=4)
    assert caught.value.where == "rank 3"


@pytest.mark.parametrize("length", [0, 10, HEADER_BYTES + 3])
def test_a_peer_that_falls_silent_is_told_of_at_the_deadline(
    sockets: tuple[socket.socket, socket.socket], length: int
) -> None:
    sockets[0].sendall((pack(Kind.GRADIENT, 3, RUN, 4, b"body") + b"body")[:length])
    with pytest.raises(TransportError, match="no answer within") as caught:
        Link(sockets[1], RUN, "rank 3", deadline=0.1, wanted=yes).receive(Kind.GRADIENT, 100, iteration=4)
    assert caught.value.where == "rank 3"


def test_a_peer_that_takes_nothing_is_told_of_at_the_deadline(sockets: tuple[socket.socket, socket.socket]) -> None:
    with pytest.raises(TransportError, match="no answer within"):
        Link(sockets[0], RUN, "rank 3", deadline=0.1, wanted=yes).send(Kind.WEIGHTS, bytes(50_000_000))


def test_sending_to_a_peer_that_is_gone_is_told_of(sockets: tuple[socket.socket, socket.socket]) -> None:
    sockets[1].close()
    sender = Link(sockets[0], RUN, "rank 3", deadline=20, wanted=yes)
    with pytest.raises(TransportError, match="broke") as caught:
        for _ in range(100):
            sender.send(Kind.WEIGHTS, bytes(100_000))
    assert caught.value.where == "rank 3"


def test_a_wait_ends_when_the_run_is_no_longer_wanted(sockets: tuple[socket.socket, socket.socket]) -> None:
    asked: list[int] = []

    def wanted() -> bool:
        asked.append(1)
        return len(asked) < 3

    with pytest.raises(TransportError, match="cancelled"):
        Link(sockets[0], RUN, "rank 3", deadline=1000, wanted=wanted).receive(Kind.WEIGHTS, 10)
    assert len(asked) == 3


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_is_known_by_its_addresses(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "2001:db8::1", "example.org", "", "localhost.example"])
def test_a_listener_that_others_can_reach_is_refused_without_tls(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(TransportError, match="unprotected") as caught:
        Listener(host, None)
    assert "TLS" in caught.value.remedy


@pytest.fixture
def listener() -> Iterator[Listener]:
    listening = Listener("127.0.0.1", None)
    yield listening
    listening.close()


def accept(
    listener: Listener, thread: ThreadPoolExecutor, count: int, deadline: float = 30, wanted: Callable[[], bool] = yes
) -> Future[list[Link]]:
    return thread.submit(listener.accept_ranks, count, RUN, TOKEN, deadline=deadline, wanted=wanted)


def join(
    listener: Listener,
    rank: int,
    *,
    run: int = RUN,
    token: bytes = TOKEN,
    context: ssl.SSLContext | None = None,
) -> Link:
    return connect(listener.address, rank, run, token, context=context, deadline=20, wanted=yes)


def assert_ranks_are_linked(links: list[Link], ranks: list[Link]) -> None:
    """Send a number from every rank, receive it at the master on the link of that rank, and close all links."""
    assert len(links) == len(ranks)
    for number, rank in enumerate(ranks):
        rank.send(Kind.GRADIENT, bytes([number]), rank=number)
    assert [bytes(one.receive(Kind.GRADIENT, 1)[1]) for one in links] == [bytes([i]) for i in range(len(ranks))]
    assert [one.peer for one in links] == [f"rank {i}" for i in range(len(ranks))]
    for one in (*links, *ranks):
        one.close()


def test_ranks_are_linked_in_their_order_whatever_the_order_they_come_in(
    listener: Listener, thread: ThreadPoolExecutor
) -> None:
    accepted = accept(listener, thread, 3)
    came = {rank: join(listener, rank) for rank in (2, 0, 1)}
    assert_ranks_are_linked(accepted.result(), [came[0], came[1], came[2]])


def garbage(listener: Listener, sent: bytes) -> socket.socket:
    stranger = socket.create_connection(listener.address)
    stranger.sendall(sent)
    return stranger


HELLO = pack(Kind.HELLO, 0, RUN, 0, TOKEN)
STRANGERS: dict[str, Callable[[Listener], Link | socket.socket]] = {
    "a wrong token": lambda at: join(at, 0, token=bytes(TOKEN_BYTES)),
    "a token with one bit flipped": lambda at: join(at, 0, token=bytes([TOKEN[0] ^ 1]) + TOKEN[1:]),
    "a short token": lambda at: join(at, 0, token=TOKEN[:-1]),
    "no token": lambda at: join(at, 0, token=b""),
    "a long token": lambda at: join(at, 0, token=TOKEN + b"\0"),
    "another run": lambda at: join(at, 0, run=RUN - 1),
    "a rank that is not asked for": lambda at: join(at, 2),
    "a rank of 32 bits": lambda at: join(at, 2**32 - 1),
    "another kind of frame": lambda at: garbage(at, pack(Kind.WEIGHTS, 0, RUN, 0, TOKEN) + TOKEN),
    "a damaged frame": lambda at: garbage(at, HELLO + TOKEN[:-1] + b"\0"),
    "a web browser": lambda at: garbage(at, b"GET / HTTP/1.1\r\nHost: x\r\n" + bytes(100)),
    "zeros": lambda at: garbage(at, bytes(1000)),
    "half a frame": lambda at: garbage(at, HELLO[:20]),
    "a header alone": lambda at: garbage(at, HELLO),
    "nothing": lambda at: garbage(at, b""),
}


@pytest.mark.parametrize("stranger", STRANGERS)
def test_strangers_are_turned_away_and_the_ranks_let_in(
    listener: Listener, thread: ThreadPoolExecutor, stranger: str
) -> None:
    before = STRANGERS[stranger](listener)
    accepted = accept(listener, thread, 2)
    ranks = [join(listener, 0)]
    between = STRANGERS[stranger](listener)
    ranks.append(join(listener, 1))
    assert_ranks_are_linked(accepted.result(), ranks)
    for one in (before, between):
        turned_away = one._socket if isinstance(one, Link) else one
        turned_away.settimeout(10)
        with suppress(ConnectionError):  # it is reset when what it sent was not read
            assert turned_away.recv(1) == b""
        turned_away.close()


def test_a_stranger_that_leaves_at_once_is_no_trouble(listener: Listener, thread: ThreadPoolExecutor) -> None:
    garbage(listener, b"").close()
    accepted = accept(listener, thread, 1)
    rank = join(listener, 0)
    assert_ranks_are_linked(accepted.result(), [rank])


def test_the_second_of_two_equal_ranks_is_turned_away(listener: Listener, thread: ThreadPoolExecutor) -> None:
    accepted = accept(listener, thread, 2)
    first, second, other = join(listener, 0), join(listener, 0), join(listener, 1)
    assert_ranks_are_linked(accepted.result(), [first, other])
    with pytest.raises(TransportError):
        second.receive(Kind.WEIGHTS, 10)
    second.close()


def test_ranks_that_do_not_come_are_named_at_the_deadline(listener: Listener, thread: ThreadPoolExecutor) -> None:
    came = [join(listener, rank) for rank in (0, 2)]
    accepted = accept(listener, thread, 4, deadline=0.5)
    with pytest.raises(TransportError, match=r"ranks \[1, 3\]"):
        accepted.result()
    for rank in came:
        with pytest.raises(TransportError, match="closed the connection"):
            rank.receive(Kind.WEIGHTS, 10)
        rank.close()


def test_waiting_for_ranks_ends_when_the_run_is_no_longer_wanted(listener: Listener) -> None:
    with pytest.raises(TransportError, match="cancelled"):
        listener.accept_ranks(1, RUN, TOKEN, deadline=1000, wanted=lambda: False)


def test_a_master_that_is_not_there_is_told_of_with_its_address(listener: Listener) -> None:
    listener.close()
    with pytest.raises(TransportError, match="cannot reach the master") as caught:
        join(listener, 0)
    assert caught.value.where == f"127.0.0.1:{listener.address[1]}"


def contexts(security: Security) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return the contexts of a listener and of a connection."""
    return (
        security.get_listen_args("worker")["ssl_context"],
        security.get_connection_args("worker")["ssl_context"],
    )


@pytest.fixture(scope="module")
def ours() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    return contexts(Security.temporary())


def test_with_tls_nobody_is_let_in_without_our_certificate(
    ours: tuple[ssl.SSLContext, ssl.SSLContext], thread: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "_GREETING_SECONDS", 20.0)  # a handshake takes longer on a busy machine
    listening, connecting = ours
    bare = ssl.create_default_context()
    bare.check_hostname, bare.verify_mode = False, ssl.CERT_NONE
    listener = Listener("127.0.0.1", listening)
    try:
        accepted = accept(listener, thread, 2)
        strangers: list[Link | socket.socket] = [join(listener, 0), garbage(listener, bytes(100))]
        for stranger in (bare, contexts(Security.temporary())[1]):
            with suppress(TransportError):  # with TLS 1.3 it may learn only later that it was refused
                strangers.append(join(listener, 0, context=stranger))
        ranks = [join(listener, rank, context=connecting) for rank in (0, 1)]
        assert_ranks_are_linked(accepted.result(), ranks)
    finally:
        listener.close()
    for one in strangers:
        one.close()


def test_with_tls_large_bodies_pass_and_the_bytes_on_the_wire_are_secret(
    ours: tuple[ssl.SSLContext, ssl.SSLContext], thread: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "_GREETING_SECONDS", 20.0)
    listener = Listener("127.0.0.1", ours[0])
    body = b"gradient " * 300_000
    with socket.create_server(("127.0.0.1", 0)) as wire:
        accepted = accept(listener, thread, 1)
        overheard = thread.submit(relay, wire, listener.address)
        rank = connect(wire.getsockname(), 0, RUN, TOKEN, context=ours[1], deadline=20, wanted=yes)
        (master,) = accepted.result()
        sent = thread.submit(rank.send, Kind.GRADIENT, body)
        assert bytes(master.receive(Kind.GRADIENT, len(body))[1]) == body
        sent.result()
        rank.close()
        master.close()
        heard = overheard.result()
    listener.close()
    assert len(heard) > len(body)
    assert b"gradient" not in heard
    assert TOKEN not in heard


def relay(wire: socket.socket, address: tuple[str, int]) -> bytes:
    """Pass on what a client sends and the first answers; return what it sent."""
    heard = b""
    client, _ = wire.accept()
    with client, socket.create_connection(address) as server:
        client.settimeout(0.05)
        server.settimeout(0.05)
        while True:
            for source, target in ((client, server), (server, client)):
                try:
                    data = source.recv(2**20)
                except TimeoutError:
                    continue
                except ConnectionError:
                    return heard
                if not data:
                    return heard
                if source is client:
                    heard += data
                target.sendall(data)
