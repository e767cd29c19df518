"""Strangers at the reception, who say what is wrong or say nothing: they are turned away, and nobody waits for them."""

from __future__ import annotations

import socket
import ssl
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from threading import Event, Thread
from time import sleep

import pytest
from callers import Caller, sealed
from meetings import LONG, RUN, TOKEN, Clock, make_network, our_contexts, put, until
from receptions import (
    Open,
    Watched,
    assert_linked,
    assert_turned_away,
    come,
    is_turned_away,
    take,
)

from relufit.transport import reception
from relufit.transport.connections import Connection, Network
from relufit.transport.frames import HEADER_BYTES, Kind
from relufit.transport.greeting import HELLO_BYTES, MAC_BYTES, PROOF_BYTES, TOKEN_BYTES


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


@pytest.mark.parametrize("stranger", UNFINISHED)
def test_who_does_not_finish_a_greeting_is_given_up(
    network: Network, receive: Open, stranger: str, reception_clock: Clock
) -> None:
    at = receive(network)
    connection = network.connect(at.address, LONG)
    put(connection, UNFINISHED[stranger](Caller(connection)))
    link = come(network, at, 0)
    assert_linked(take(at, 0), link)
    reception_clock.seconds = reception.GREETING_SECONDS - 0.1
    sleep(0.02)
    assert not is_turned_away(connection)
    reception_clock.seconds = reception.GREETING_SECONDS + 0.1
    assert_turned_away(connection)
    assert at.waiting() == {}


def test_a_member_whose_machine_is_busy_has_as_long_for_its_first_message_as_for_any_other(
    network: Network, receive: Open, reception_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reception, "GREETING_SECONDS", 5.0)
    watched = Watched(network)
    at = receive(watched)
    connection = watched.connect(at.address, LONG)
    watched.settle(1)
    reception_clock.seconds = LONG - 0.1
    sleep(0.02)
    assert not is_turned_away(connection)
    reception_clock.seconds = LONG + 0.1
    assert_turned_away(connection)


def test_who_does_not_finish_the_handshake_of_tls_is_given_up(receive: Open, reception_clock: Clock) -> None:
    network = Watched(make_network("tls"))
    at = receive(network)
    for number, sent in enumerate((b"", client_hello()[:-1]), start=1):
        with socket.create_connection(at.address, LONG) as stranger:
            stranger.sendall(sent)
            network.settle(number)
            reception_clock.seconds += reception.GREETING_SECONDS + 0.1
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
@pytest.mark.usefixtures("reception_clock")
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
