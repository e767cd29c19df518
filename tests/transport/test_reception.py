"""The reception: members are let in, strangers are turned away, and nobody is kept waiting by them."""

from __future__ import annotations

import errno
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Event, Thread
from time import sleep
from typing import Any

import psutil
import pytest
from callers import Caller, sealed
from meetings import LONG, RUN, TOKEN, Clock, fresh_contexts, make_network, our_contexts, put, until, yes
from strangers import MOST, hostile, is_refused_at_once

from relufit.errors import TransportError
from relufit.transport import reception
from relufit.transport.connections import Connection, Listener, Network, Tcp
from relufit.transport.frames import HEADER_BYTES, Kind, body_digest, check, unpack
from relufit.transport.greeting import ABOUT_BYTES, HELLO_BYTES, MAC_BYTES, PROOF_BYTES, TOKEN_BYTES
from relufit.transport.link import Link
from relufit.transport.reception import Peer, Rendezvous, join

#: `make test` sends fewer than the hundred thousand that the environment may ask for.
GREETINGS = int(os.environ.get("RELUFIT_HOSTILE_GREETINGS", "10000"))

Open = Callable[..., Rendezvous]


@pytest.fixture(autouse=True)
def _timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is turned away at once is not turned away by the deadline, and the machine may be busy."""
    monkeypatch.setattr(reception, "GREETING_SECONDS", 3 * LONG)
    monkeypatch.setattr(reception, "_IDLE_SECONDS", 0.02)


@pytest.fixture
def receive() -> Iterator[Open]:
    """Open a reception, which is closed after the test."""
    with ExitStack() as opened:

        def receive(network: Network, count: int = 2, **options: Any) -> Rendezvous:
            at = Rendezvous(network, RUN, TOKEN, count, deadline=LONG, wanted=yes, **options)
            opened.callback(at.close)
            return at

        yield receive


def come(network: Network, at: Rendezvous, rank: int, **about: Any) -> Link:
    return join(network, at.address, rank, RUN, TOKEN, about, peer="the master", deadline=LONG, wanted=yes)


def take(at: Rendezvous, rank: int) -> Peer:
    """Wait for a peer and take it."""
    until(lambda: rank in at.waiting())
    peer = at.take(rank)
    assert peer is not None
    return peer


def assert_linked(peer: Peer, link: Link) -> None:
    """Exchange frames in both directions, and close both ends."""
    link.send(Kind.GRADIENT, b"up", rank=peer.rank)
    assert bytes(peer.link.receive(Kind.GRADIENT, limit=2)[1]) == b"up"
    peer.link.send(Kind.WEIGHTS, b"down")
    assert bytes(link.receive(Kind.WEIGHTS, limit=4)[1]) == b"down"
    peer.link.close()
    link.close()


class Watched:
    """A network whose listeners can be out of order, and which counts who comes in."""

    def __init__(self, network: Network) -> None:
        self._network, self.out_of_order, self.asked, self.accepted = network, False, 0, 0

    def listen(self) -> Listener:
        return _WatchedListener(self, self._network.listen())

    def connect(self, address: tuple[str, int], seconds: float) -> Connection:
        return self._network.connect(address, seconds)

    def settle(self, number: int) -> None:
        """Wait until so many have come in and the last of them has been looked at."""
        until(lambda: self.accepted >= number)
        asked = self.asked
        until(lambda: self.asked > asked + 1)


class _WatchedListener:
    def __init__(self, watched: Watched, listener: Listener) -> None:
        self._watched, self._listener, self.address = watched, listener, listener.address

    def accept(self, seconds: float) -> Connection | None:
        if self._watched.out_of_order:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        self._watched.asked += 1
        connection = self._listener.accept(seconds)
        self._watched.accepted += connection is not None
        return connection

    def close(self) -> None:
        self._listener.close()


def is_turned_away(stranger: Connection) -> bool:
    """Tell whether a connection has been closed at the other end."""
    try:
        assert stranger.read(memoryview(bytearray(1)), 0) == 0, "a stranger was answered"
    except (OSError, EOFError):
        return True
    return False


def assert_turned_away(stranger: Connection) -> None:
    """Wait until a connection has been closed at the other end, and close this one."""
    until(lambda: is_turned_away(stranger))
    stranger.close()


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


def test_something_is_called_about_once_a_second(receive: Open, clock: Clock) -> None:
    called: list[float] = []
    network = Watched(make_network("memory"))
    receive(network, every=lambda: called.append(clock.seconds))
    for step in range(40):
        clock.seconds = 0.25 * step
        network.settle(0)
    assert called == [1.25, 2.5, 3.75, 5.0, 6.25, 7.5, 8.75]


def test_a_master_that_is_not_there_is_told_of_with_its_address(network: Network, receive: Open) -> None:
    at = receive(network)
    host, port = at.address
    at.close()
    with pytest.raises(TransportError, match="cannot be reached") as caught:
        come(network, at, 0)
    assert caught.value.where == f"the master at {host}:{port}"


def client_hello() -> bytes:
    """Return what a client of TLS says first."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        our_contexts()[1].wrap_bio(incoming, outgoing).do_handshake()
    return outgoing.read()


Message = Callable[[Caller], bytes]


def hello(
    body: Callable[[bytes], bytes] = bytes, *, kind: Kind = Kind.HELLO, run: int = RUN, length: int | None = None
) -> Message:
    """Return a first message that is right but for what is said."""
    return lambda caller: sealed(kind, body(caller.hello_body()), rank=caller.rank, run=run, length=length)


def of_rank(claimed: int) -> Message:
    """Return a valid first message from a rank that does not exist."""
    return lambda caller: Caller(caller.connection, claimed).hello()


def proof(
    body: Callable[[bytes], bytes] = bytes,
    *,
    kind: Kind = Kind.PROOF,
    run: int = RUN,
    rank: int = 0,
    length: int | None = None,
) -> Message:
    """Challenge and answer, but for what is said."""

    def say(caller: Caller) -> bytes:
        caller.challenged()
        mac = caller.greeting.proof(b"{}")
        return sealed(kind, body(mac + b"{}"), rank=rank, run=run, length=length)

    return say


def about(content: bytes) -> Message:
    """Answer the challenge as who knows the secret, but may have been damaged nevertheless."""

    def say(caller: Caller) -> bytes:
        caller.challenged()
        return caller.proof(content)

    return say


def flipped(index: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:index] + bytes([data[index] ^ 1]) + data[index + 1 :]


def reflected(caller: Caller) -> bytes:
    """Answer a challenge with what the listener has shown itself."""
    answer = caller.challenged()
    return sealed(Kind.PROOF, answer[-MAC_BYTES:] + b"{}")


def said_twice(caller: Caller) -> bytes:
    caller.challenged()
    return caller.hello()


def damaged(caller: Caller) -> bytes:
    caller.challenged()
    return caller.proof()[:-1] + b"]"


#: Whom the reception turns away as soon as they have sent this.
STRANGERS: dict[str, Message] = {
    "a wrong secret": lambda caller: Caller(caller.connection, token=bytes(TOKEN_BYTES)).hello(),
    "a secret with one bit flipped": lambda caller: Caller(caller.connection, token=flipped(0)(TOKEN)).hello(),
    "the secret itself, as an earlier version would": lambda caller: sealed(Kind.HELLO, TOKEN + b'{"name": "old"}'),
    "another nonce": hello(flipped(0)),
    "another HMAC": hello(flipped(-1 + HELLO_BYTES)),
    "a short HMAC": hello(lambda body: body[:-1]),
    "a nonce alone": hello(lambda body: body[:-MAC_BYTES]),
    "a short nonce alone": hello(lambda body: body[:5]),
    "no nonce": hello(lambda body: b""),
    "a long HMAC": hello(lambda body: body + b"\0"),
    "another run": hello(run=RUN - 1),
    "a rank that is not asked for": of_rank(2),
    "a rank of 32 bits": of_rank(2**32 - 1),
    "another kind of frame": hello(kind=Kind.WEIGHTS),
    "a word to stop": hello(kind=Kind.STOP),
    "a proof without a challenge": lambda caller: caller.proof(),
    "a damaged frame": lambda caller: flipped(HEADER_BYTES + 1)(caller.hello()),
    "a damaged header": lambda caller: flipped(HEADER_BYTES - 1)(caller.hello()),
    "another version": lambda caller: b"rf\x04" + caller.hello()[3:],
    "a body that is too long": hello(length=HELLO_BYTES + 1),
    "a body of 2**64 - 1 bytes": hello(length=2**64 - 1),
    "a length that is too short": hello(length=TOKEN_BYTES),
    "a web browser": lambda caller: b"GET / HTTP/1.1\r\nHost: x\r\n" + bytes(100),
    "zeros": lambda caller: bytes(1000),
    "many zeros": lambda caller: bytes(100_000),
    # These know the secret up to the challenge, or have heard who does.
    "HELLO a second time": said_twice,
    "the listener's own HMAC": reflected,
    "a damaged proof": damaged,
    "a proof with one bit flipped": proof(flipped(0)),
    "a proof of something else": proof(flipped(MAC_BYTES)),
    "a short proof": proof(lambda body: body[: MAC_BYTES - 1]),
    "an empty proof": proof(lambda body: b""),
    "a proof of another rank": proof(rank=1),
    "a proof of another run": proof(run=RUN - 1),
    "another kind of proof": proof(kind=Kind.STATE),
    "a proof that is too long": proof(length=PROOF_BYTES + 1),
    "a proof alone": about(b""),
    "half a word": about(b'{"name": "'),
    "no text": about(b"\xff\xfe{}"),
    "a number": about(b"5"),
    "a list": about(b"[]"),
    "a list in a list in a list": about(b"[" * 4096),
}
#: Whom it gives up after a while.
UNFINISHED: dict[str, Message] = {
    "nothing": lambda caller: b"",
    "half a header": lambda caller: caller.hello()[:20],
    "a header": lambda caller: caller.hello()[:HEADER_BYTES],
    "almost all": lambda caller: caller.hello()[:-1],
    "no proof": lambda caller: caller.challenged()[:0],
    "a part of a proof": lambda caller: about(b"{}")(caller)[: HEADER_BYTES + 5],
    "almost all of a proof": lambda caller: about(b"{}")(caller)[:-1],
}


@pytest.mark.parametrize("stranger", STRANGERS)
def test_strangers_are_turned_away_and_the_members_let_in(network: Network, receive: Open, stranger: str) -> None:
    at = receive(network)

    def call() -> Connection:
        connection = network.connect(at.address, LONG)
        with suppress(OSError):  # it may be turned away before it has said all
            connection.write([memoryview(STRANGERS[stranger](Caller(connection)))])
        return connection

    strangers = [call()]
    ranks = [come(network, at, 0)]
    strangers.append(call())
    ranks.append(come(network, at, 1))
    strangers.append(call())
    for rank, link in enumerate(ranks):
        assert_linked(take(at, rank), link)
    for each in strangers:
        assert_turned_away(each)
    assert at.waiting() == {}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time by which receptions reckon their deadlines."""
    fake_clock = Clock()
    monkeypatch.setattr(reception, "monotonic", fake_clock)
    return fake_clock


@pytest.mark.parametrize("stranger", UNFINISHED)
def test_who_does_not_finish_a_greeting_is_given_up(
    network: Network, receive: Open, stranger: str, clock: Clock
) -> None:
    at = receive(network)
    connection = network.connect(at.address, LONG)
    put(connection, UNFINISHED[stranger](Caller(connection)))
    link = come(network, at, 0)
    assert_linked(take(at, 0), link)
    clock.seconds = reception.GREETING_SECONDS - 0.1
    sleep(0.02)
    assert not is_turned_away(connection)
    clock.seconds = reception.GREETING_SECONDS + 0.1
    assert_turned_away(connection)
    assert at.waiting() == {}


def test_a_member_whose_machine_is_busy_has_as_long_for_its_first_message_as_for_any_other(
    network: Network, receive: Open, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reception, "GREETING_SECONDS", 5.0)
    watched = Watched(network)
    at = receive(watched)
    connection = watched.connect(at.address, LONG)
    watched.settle(1)
    clock.seconds = LONG - 0.1
    sleep(0.02)
    assert not is_turned_away(connection)
    clock.seconds = LONG + 0.1
    assert_turned_away(connection)


def test_who_does_not_finish_the_handshake_of_tls_is_given_up(receive: Open, clock: Clock) -> None:
    network = Watched(make_network("tls"))
    at = receive(network)
    for number, sent in enumerate((b"", client_hello()[:-1]), start=1):
        with socket.create_connection(at.address, LONG) as stranger:
            stranger.sendall(sent)
            network.settle(number)
            clock.seconds += reception.GREETING_SECONDS + 0.1
            assert stranger.recv(1) == b""


def test_who_leaves_within_a_greeting_is_no_trouble(network: Network, receive: Open) -> None:
    at = receive(network)
    for say in (*UNFINISHED.values(), *STRANGERS.values()):
        connection = network.connect(at.address, LONG)
        with suppress(OSError):
            connection.write([memoryview(say(Caller(connection)))])
        connection.close()
    link = come(network, at, 0)
    assert_linked(take(at, 0), link)


@pytest.mark.parametrize("kind", ["tcp", "tls"])
@pytest.mark.parametrize("number", [200, 500])
@pytest.mark.usefixtures("clock")
def test_strangers_who_send_a_byte_now_and_then_keep_nobody_waiting(receive: Open, kind: str, number: int) -> None:
    """To a reception for which no time passes, so that no stranger is given up."""
    network = make_network(kind)
    at = receive(network, 5)
    said = client_hello() if kind == "tls" else sealed(Kind.HELLO, bytes(HELLO_BYTES))
    stop, drops = Event(), Counter[int]()
    with ExitStack() as strangers:
        around = [strangers.enter_context(socket.create_connection(at.address, LONG)) for _ in range(number)]

        def drip() -> None:
            """Even faster than a byte a second; from whoever is too many, there is none that arrives."""
            for byte in said[:-1]:
                for each in around:
                    with suppress(ConnectionError):
                        each.send(bytes([byte]))
                        drops[each.fileno()] += 1
                if stop.wait(0.2):
                    break

        dripping = Thread(target=drip)
        dripping.start()
        until(lambda: len(drops) == number)
        for rank in range(5):
            link = come(network, at, rank)
            assert_linked(take(at, rank), link)
        stop.set()
        dripping.join()
    assert at.waiting() == {}


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
    network: Network, receive: Open, clock: Clock
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
    clock.seconds += reception.GREETING_SECONDS + 0.1
    assert_turned_away(stranger)
    watched.out_of_order = False
    link = come(watched, at, 1)
    assert_linked(take(at, 1), link)
    assert_linked(peer, Link(member, RUN, "the master", deadline=LONG, wanted=yes))


def receiving() -> int:
    """Return how many threads of receptions there are."""
    return sum(thread.name == "relufit-reception" for thread in threading.enumerate())


def sockets_at(port: int) -> list[Any]:
    """Return the sockets of this process on its own port."""
    return [each for each in psutil.Process().net_connections("tcp") if each.laddr and each.laddr.port == port]


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


@pytest.mark.parametrize("kind", [Kind.HELLO, Kind.PROOF])
def test_hostile_greetings_are_of_all_sorts_and_never_valid(kind: Kind) -> None:
    """What is said of the strangers below is so."""
    most = MOST[kind]
    valid = sealed(kind, bytes(range(HELLO_BYTES if kind is Kind.HELLO else 70)), rank=2)
    sent = [hostile(valid, 0, index) for index in range(3000)]
    assert sent == [hostile(valid, 0, index) for index in range(3000)]
    assert not any(data.startswith(valid) for data in sent)
    assert len(set(sent)) > len(sent) // 2
    refused = sum(is_refused_at_once(data, most, tls=False) for data in sent)
    assert min(refused, len(sent) - refused) > len(sent) // 10
    right = [data for data in sent if len(data) >= HEADER_BYTES and is_sealed(data)]
    assert len(right) > len(sent) // 20, "many have the right checksum"


def is_sealed(data: bytes) -> bool:
    """Tell whether a frame is without fault."""
    with suppress(TransportError):
        header = unpack(data, PROOF_BYTES)
        body = data[HEADER_BYTES : HEADER_BYTES + header.length]
        check(data[:HEADER_BYTES], body_digest(body), header.checksum)
        return True
    return False


ATTACKERS = 2


def attack(kind: str, number: int, receive: Open) -> None:
    """Send so many hostile greetings to a reception, while members exchange frames and others come and go."""
    network = Watched(make_network(kind))
    threads = receiving()
    at = receive(network, 3)
    port, me = at.address[1], psutil.Process()
    # Rank 0 stays, rank 1 comes and goes, and strangers call themselves rank 2.
    links = [come(network, at, 0)]
    links.append(take(at, 0).link)
    memory, most, joined = me.memory_info().rss, 0, 1
    script = Path(__file__).with_name("strangers.py")
    command = [sys.executable, str(script), at.address[0], str(port), kind, "0"]
    attackers = [
        subprocess.Popen(
            [*command, str(first), str(number), str(ATTACKERS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for first in range(ATTACKERS)
    ]
    body = bytes(range(256)) * 100
    try:
        for attacker in attackers:
            assert attacker.stdin is not None
            attacker.stdin.write(TOKEN)
            attacker.stdin.close()
        iteration = 0
        while joined < 4 or any(attacker.poll() is None for attacker in attackers):
            iteration += 1
            for sender, receiver in (links, links[::-1]):
                sender.send(Kind.GRADIENT, body, iteration=iteration)
                assert receiver.receive(Kind.GRADIENT, limit=len(body), iteration=iteration)[1] == body
            if iteration % 10 == 0:
                link = come(network, at, 1)
                assert_linked(take(at, 1), link)
                joined += 1
                assert at.waiting() == {}
            most = max(most, me.memory_info().rss)
            sleep(0.005)
        counts = Counter[str]()
        for attacker in attackers:
            assert attacker.stdout is not None
            assert attacker.stderr is not None
            assert attacker.wait() == 0, attacker.stderr.read().decode()
            counts.update(json.loads(attacker.stdout.read()))
    finally:
        for attacker in attackers:
            attacker.kill()
            attacker.wait()
            for pipe in (attacker.stdout, attacker.stderr):
                assert pipe is not None
                pipe.close()
    assert counts.keys() == {"left", "turned away"}, "nobody was answered"
    assert counts.total() == number
    assert counts["turned away"] > number // 10
    if kind == "tcp":  # with TLS, some are gone before they are looked at
        until(lambda: network.accepted == joined + number)
    link = come(network, at, 1)
    assert_linked(take(at, 1), link)
    assert at.waiting() == {}
    assert most - memory < 50e6
    at.close()
    assert receiving() == threads
    assert len(sockets_at(port)) == 1
    for link in links:
        link.close()
    assert sockets_at(port) == []


def test_a_hundred_thousand_hostile_greetings_change_nothing(receive: Open) -> None:
    """10,000 unless the environment's RELUFIT_HOSTILE_GREETINGS says how many."""
    attack("tcp", GREETINGS, receive)


def test_hostile_greetings_change_nothing_with_tls_either(receive: Open) -> None:
    """A tenth as many, none of which gets beyond the handshake."""
    attack("tls", max(GREETINGS // 10, 100), receive)
