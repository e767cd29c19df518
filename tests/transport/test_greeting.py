"""The greeting: each end shows that it knows the secret, the secret never travels, and no one else gets anything."""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace

import pytest
from callers import Caller, sealed
from meetings import LONG, RUN, TOKEN, frame, get, make_network, put, until, yes

from relufit.errors import TransportError
from relufit.transport.connections import Connection, Listener, Network
from relufit.transport.frames import HEADER_BYTES, VERSION, Kind, unpack
from relufit.transport.greeting import (
    CHALLENGE_BYTES,
    HELLO_BYTES,
    MAC_BYTES,
    NONCE_BYTES,
    Greeting,
    new_nonce,
    run_number,
)
from relufit.transport.link import Link
from relufit.transport.memory import Memory, MemoryConnection
from relufit.transport.reception import Rendezvous, join
from relufit.transport.tcp import Tcp

SECRET_PLAN = {"name": "not for strangers", "worker": "tcp://127.0.0.1:1"}


def come(network: Network, address: tuple[str, int], *, answer: float | None = None) -> Link:
    return join(network, address, 0, RUN, TOKEN, SECRET_PLAN, peer="it", deadline=LONG, wanted=yes, answer=answer)


@contextmanager
def receiving(network: Network, token: bytes = TOKEN) -> Iterator[Rendezvous]:
    at = Rendezvous(network, RUN, token, 3, deadline=LONG, wanted=yes)
    try:
        yield at
    finally:
        at.close()


class Overheard:
    """A network within this process that keeps what the two ends of its connections have written."""

    def __init__(self) -> None:
        self._network, self.joiner, self.listener = Memory(), bytearray(), bytearray()

    def listen(self) -> Listener:
        return self._network.listen()

    def connect(self, address: tuple[str, int], seconds: float) -> Connection:
        connection = self._network.connect(address, seconds)
        assert isinstance(connection, MemoryConnection)
        for end, heard in ((connection, self.joiner), (connection.other, self.listener)):
            self._hear(end, heard)
        return connection

    @staticmethod
    def _hear(end: MemoryConnection, heard: bytearray) -> None:
        write = end.write

        def note(parts: Sequence[bytes | memoryview]) -> int:
            heard.extend(b"".join(parts))
            return write(parts)

        end.write = note  # type: ignore[method-assign]


def test_the_secret_and_what_is_derived_from_it_in_the_open_never_travel() -> None:
    network, secret = Overheard(), new_nonce()
    run = run_number(secret)
    at = Rendezvous(network, run, secret, 1, deadline=LONG, wanted=yes)
    try:
        join(network, at.address, 0, run, secret, SECRET_PLAN, peer="it", deadline=LONG, wanted=yes).close()
        until(lambda: 0 in at.waiting())
    finally:
        at.close()
    heard = bytes(network.joiner) + b"|" + bytes(network.listener)
    assert len(network.listener) == HEADER_BYTES + CHALLENGE_BYTES
    assert b"not for strangers" in network.joiner, "all that was said has been heard"
    for known in (secret, hashlib.sha256(secret).digest(), hmac.digest(secret, b"", "sha256")):
        assert not any(known[start : start + 4] in heard for start in range(len(known) - 3))


def test_the_number_of_a_run_is_an_hmac_with_a_label_of_its_own() -> None:
    secret = new_nonce()
    due = hmac.new(secret, b"relufit run number", hashlib.sha256).digest()[:8]
    assert run_number(secret) == int.from_bytes(due, "little")
    assert run_number(secret) != int.from_bytes(hashlib.sha256(secret).digest()[:8], "little")


def test_the_hmacs_are_those_of_the_protocol() -> None:
    """Computed here from what docs/protocol.md says, part by part."""
    greeting = Greeting(TOKEN, RUN, 7, "127.0.0.1 4000", "127.0.0.1 5000", b"j" * 32, b"l" * 32)

    def due(role: bytes, listener_nonce: bytes, about: bytes) -> bytes:
        fixed = bytes([VERSION]) + RUN.to_bytes(8, "little") + (7).to_bytes(4, "little")
        parts = [b"relufit greeting", role, fixed, b"127.0.0.1 4000", b"127.0.0.1 5000", b"j" * 32, listener_nonce]
        message = b"".join(struct.pack("<I", len(part)) + part for part in [*parts, about])
        return hmac.new(TOKEN, message, hashlib.sha256).digest()

    assert replace(greeting, listener_nonce=b"").hello() == due(b"hello", b"", b"")
    assert greeting.challenge() == due(b"listener", b"l" * 32, b"")
    assert greeting.proof(b"{}") == due(b"joiner", b"l" * 32, b"{}")


@pytest.mark.parametrize(
    "changed",
    [
        {"secret": bytes(32)},
        {"run": RUN + 1},
        {"rank": 6},
        {"listener": "127.0.0.1 4001"},
        {"joiner": "127.0.0.1 5001"},
        {"listener": "127.0.0.1 5000", "joiner": "127.0.0.1 4000"},
        {"joiner_nonce": b"k" * 32},
        {"listener_nonce": b"k" * 32},
        {"joiner_nonce": b"l" * 32, "listener_nonce": b"j" * 32},
        {"joiner_nonce": b"j" * 31, "listener_nonce": b"j" + b"l" * 32},
    ],
)
def test_every_part_of_a_greeting_is_in_its_hmacs(changed: dict[str, object]) -> None:
    greeting = Greeting(TOKEN, RUN, 7, "127.0.0.1 4000", "127.0.0.1 5000", b"j" * 32, b"l" * 32)
    other = replace(greeting, **changed)  # type: ignore[arg-type]
    one, two = ({item.hello(), item.challenge(), item.proof(b""), item.proof(b"{}")} for item in (greeting, other))
    assert len(one) == len(two) == 4, "roles and what is said differ"
    assert not one & two


def test_nonces_are_new_in_every_greeting() -> None:
    network = Overheard()
    with receiving(network) as at:
        for _ in range(20):
            come(network, at.address).close()
    hello, challenge = HEADER_BYTES + HELLO_BYTES, HEADER_BYTES + CHALLENGE_BYTES
    challenges = [network.listener[start : start + challenge] for start in range(0, len(network.listener), challenge)]
    said = len(network.joiner) // 20
    hellos = [network.joiner[start : start + hello] for start in range(0, len(network.joiner), said)]
    assert len({bytes(each[HEADER_BYTES : HEADER_BYTES + NONCE_BYTES]) for each in challenges + hellos}) == 40


Answer = Callable[[bytes, list[bytes]], bytes]


def _made_up(token: bytes, hello: bytes) -> bytes:
    """Return the challenge of somebody who has heard this HELLO and believes the secret to be `token`."""
    greeting = Greeting(token, RUN, 0, "", "", hello[HEADER_BYTES : HEADER_BYTES + NONCE_BYTES], bytes(NONCE_BYTES))
    return frame(Kind.CHALLENGE, bytes(NONCE_BYTES) + greeting.challenge())


#: What somebody without the secret may answer who has the port of a master that has died, and old challenges.
FAKES: dict[str, Answer] = {
    "another secret": lambda hello, old: _made_up(bytes(32), hello),
    "a challenge of before": lambda hello, old: old[0],
    "HELLO itself": lambda hello, old: hello,
    "the joiner's own HMAC": lambda hello, old: sealed(Kind.CHALLENGE, hello[HEADER_BYTES:]),
    "zeros": lambda hello, old: sealed(Kind.CHALLENGE, bytes(CHALLENGE_BYTES)),
    "an HMAC alone": lambda hello, old: sealed(Kind.CHALLENGE, bytes(MAC_BYTES)),
    "nothing in a frame": lambda hello, old: sealed(Kind.CHALLENGE, b""),
    "a beginning": lambda hello, old: sealed(Kind.BEGIN, b'{"round": 1}'),
    "a word to stop": lambda hello, old: sealed(Kind.STOP, b""),
    "another run": lambda hello, old: sealed(Kind.CHALLENGE, bytes(CHALLENGE_BYTES), run=RUN + 1),
    "a web server": lambda hello, old: b"HTTP/1.1 400 Bad Request\r\n\r\n" + bytes(100),
    "too much": lambda hello, old: sealed(Kind.CHALLENGE, bytes(CHALLENGE_BYTES), length=2**40),
}


@pytest.mark.parametrize("kind", ["tcp", "memory"])
@pytest.mark.parametrize("fake", FAKES)
def test_a_listener_without_the_secret_is_told_nothing_and_named(kind: str, fake: str) -> None:
    overheard = Overheard()
    with receiving(overheard) as at:
        come(overheard, at.address).close()
    network = make_network(kind)
    with fake_master(network) as (listener, thread):
        joining = thread.submit(come, network, listener.address)
        stranger = listener.accept(LONG)
        assert stranger is not None
        hello = get(stranger, HEADER_BYTES + HELLO_BYTES)
        put(stranger, FAKES[fake](hello, [bytes(overheard.listener)]))
        host, port = listener.address
        with pytest.raises(TransportError, match="has not shown that it knows the secret of this run") as caught:
            joining.result()
        assert caught.value.where == f"it at {host}:{port}"
        assert caught.value.remedy == "another program may have taken that port"
        assert rest(stranger) == b"", "nothing follows HELLO"
        stranger.close()


@contextmanager
def fake_master(network: Network) -> Iterator[tuple[Listener, ThreadPoolExecutor]]:
    listener = network.listen()
    try:
        with ThreadPoolExecutor(2) as thread:
            yield listener, thread
    finally:
        listener.close()


def rest(connection: Connection) -> bytes:
    """Return what still comes until the other end is closed."""
    data, view = bytearray(), memoryview(bytearray(1000))
    with suppress(EOFError, ConnectionError):
        while True:
            data += view[: connection.read(view, LONG)]
    return bytes(data)


def test_a_listener_that_closes_or_stays_silent_is_given_up_and_named() -> None:
    network = Tcp("127.0.0.1")
    with fake_master(network) as (listener, thread):
        joining = thread.submit(come, network, listener.address)
        stranger = listener.accept(LONG)
        assert stranger is not None
        get(stranger, HEADER_BYTES + HELLO_BYTES)
        stranger.close()
        with pytest.raises(TransportError, match=r"has not shown .* closed the connection"):
            joining.result()
        with pytest.raises(TransportError, match=r"has not shown .* no answer within 0.2 s"):
            come(network, listener.address, answer=0.2)


@pytest.mark.parametrize("byte", range(CHALLENGE_BYTES))
def test_a_challenge_with_one_bit_flipped_is_refused(byte: int) -> None:
    network = Memory()
    with fake_master(network) as (listener, thread):
        joining = thread.submit(come, network, listener.address)
        accepted = listener.accept(LONG)
        assert accepted is not None
        hello = get(accepted, HEADER_BYTES + HELLO_BYTES)
        body = bytearray(_made_up(TOKEN, hello)[HEADER_BYTES:])
        body[byte] ^= 1 << byte % 8
        put(accepted, frame(Kind.CHALLENGE, bytes(body)))
        with pytest.raises(TransportError, match="a peer without the secret"):
            joining.result()


@pytest.mark.parametrize(("kind", "length"), [(Kind.HELLO, HELLO_BYTES), (Kind.PROOF, MAC_BYTES + 12)])
def test_a_message_of_the_joiner_with_one_bit_flipped_is_refused(kind: Kind, length: int) -> None:
    """Also of what it says of itself; the checksum is right."""
    network = Memory()
    with receiving(network) as at:
        for byte in range(length):
            connection = network.connect(at.address, LONG)
            caller = Caller(connection)
            if kind is Kind.PROOF:
                caller.challenged()
            message = caller.hello() if kind is Kind.HELLO else caller.proof(b'{"name": ""}')
            body = bytearray(message[HEADER_BYTES:])
            assert len(body) == length
            body[byte] ^= 1 << byte % 8
            put(connection, sealed(kind, bytes(body)))
            assert rest(connection) == b""
        assert at.waiting() == {}


def test_what_was_recorded_of_one_greeting_opens_no_other() -> None:
    """In this process the addresses of both ends are always the same, so that it is the nonce that tells."""
    network = Overheard()
    with receiving(network) as at:
        come(network, at.address).close()
        recorded = bytes(network.joiner)
        until(lambda: 0 in at.waiting())
        taken = at.take(0)
        assert taken is not None
        taken.link.close()
        connection = network.connect(at.address, LONG)
        put(connection, recorded)
        answer = get(connection, HEADER_BYTES + CHALLENGE_BYTES)
        assert unpack(answer, CHALLENGE_BYTES).kind is Kind.CHALLENGE
        assert rest(connection) == b""
        assert at.waiting() == {}


def test_a_listener_cannot_be_made_to_answer_its_own_challenge() -> None:
    """With two connections at once: what it says on the one is no proof on the other."""
    network = Memory()
    with receiving(network) as at:
        one = Caller(network.connect(at.address, LONG))
        one.challenged()
        # The nonce of the listener comes back as that of a joiner, for whose HELLO the secret is needed.
        other = network.connect(at.address, LONG)
        put(other, sealed(Kind.HELLO, one.greeting.listener_nonce + one.greeting.challenge()))
        assert rest(other) == b""
        put(one.connection, sealed(Kind.PROOF, one.greeting.challenge() + b"{}"))
        assert rest(one.connection) == b""
        assert at.waiting() == {}


def _pump(source: Connection, target: Connection) -> bytes:
    """Hand on what comes until an end is closed, and return it."""
    passed, view = bytearray(), memoryview(bytearray(1 << 16))
    with suppress(EOFError, OSError):
        while True:
            count = source.read(view, 0.05)
            put(target, bytes(view[:count]))
            passed += view[:count]
    source.close()
    target.close()
    return bytes(passed)


def relayed(network: Network) -> tuple[Future[Link], Future[bytes], Future[bytes], Rendezvous]:
    """Join a fake master that hands every byte on to the right one and back."""
    with receiving(network) as at, fake_master(network) as (listener, _), ThreadPoolExecutor(3) as thread:
        joining = thread.submit(come, network, listener.address)
        near = listener.accept(LONG)
        assert near is not None
        far = network.connect(at.address, LONG)
        up, down = thread.submit(_pump, near, far), thread.submit(_pump, far, near)
        with suppress(TransportError):
            joining.result().close()
        return joining, up, down, at


def test_on_loopback_a_fake_master_that_hands_all_on_to_the_right_one_gets_nobody_in() -> None:
    """Each end's HMACs are of the addresses and ports that it sees itself, and a relay has others."""
    joining, up, down, at = relayed(Tcp("127.0.0.1"))
    with pytest.raises(TransportError, match=r"has not shown .* closed the connection"):
        joining.result()
    assert len(up.result()) == HEADER_BYTES + HELLO_BYTES, "nothing but HELLO was there to hand on"
    assert down.result() == b"", "and it was not even answered"
    assert at.waiting() == {}


def test_with_tls_a_relay_without_a_certificate_is_not_even_greeted() -> None:
    """It could be in between at the level of TCP alone, as any wire is."""
    network = make_network("tls")
    with receiving(network) as at, fake_master(Tcp("127.0.0.1")) as (listener, _), ThreadPoolExecutor(1) as thread:
        joining = thread.submit(come, network, listener.address)
        near = listener.accept(LONG)
        assert near is not None
        until(lambda: near.read(memoryview(bytearray(1000)), LONG) > 0)
        near.close()
        with pytest.raises(TransportError, match="cannot be reached"):
            joining.result()
        assert at.waiting() == {}


def test_both_ends_of_a_connection_see_the_same_addresses_on_loopback_and_none_elsewhere() -> None:
    for kind, known in (("tcp", True), ("tls", False), ("memory", False)):
        network = make_network(kind)
        with fake_master(network) as (listener, thread):
            calling = thread.submit(network.connect, listener.address, LONG)
            accepted = listener.accept(LONG)
            assert accepted is not None
            until(accepted.ready)
            here, there = calling.result().ends()
            assert accepted.ends() == (there, here)
            assert there == (f"127.0.0.1 {listener.address[1]}" if known else "")
            assert (here != there) == known
            calling.result().close()
            accepted.close()


def test_strangers_do_not_push_out_who_has_shown_that_it_belongs_to_the_run() -> None:
    network = Memory()
    with receiving(network) as at:
        member = Caller(network.connect(at.address, LONG))
        member.challenged()
        strangers = [network.connect(at.address, LONG) for _ in range(600)]
        assert rest(strangers[0]) == b"", "so many are too many"
        put(member.connection, member.proof())
        until(lambda: 0 in at.waiting())
        for stranger in strangers:
            stranger.close()
