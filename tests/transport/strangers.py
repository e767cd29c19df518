"""Hostile greetings: a valid one, damaged in the ways that a broken or malicious peer would; and who sends them.

    python tests/transport/strangers.py HOST PORT tcp|tls SEED FIRST LAST STEP < secret

Every greeting goes over a connection of its own, several are open at a time, and nobody waits in TIME_WAIT for the
ports to be used up. Every second stranger knows the secret up to its last message, the proof, which is damaged; to the
others it is the first. With TLS none gets that far. Greeting i of a seed is always damaged in the same way. What can
be refused at once must be: the stranger waits until it is turned away. The counts of what came of them are printed as
JSON.
"""

from __future__ import annotations

import json
import random
import socket
import struct
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from callers import Caller
from meetings import LONG

from relufit.errors import TransportError
from relufit.transport.frames import HEADER_BYTES, MAGIC, VERSION, Header, Kind, body_digest, pack, unpack
from relufit.transport.greeting import HELLO_BYTES, MAC_BYTES, PROOF_BYTES

#: Connections that one attacker keeps open; seconds after which a stranger has not been turned away.
OPEN = 8
SECONDS = 3 * LONG
#: What a reception reads at most, of each message that it is sent.
MOST = {Kind.HELLO: HELLO_BYTES, Kind.PROOF: PROOF_BYTES}
_LENGTH_AT = struct.calcsize("<2sBBIQQ")
_LENGTHS = (0, 1, MAC_BYTES - 1, MAC_BYTES, MAC_BYTES + 1, PROOF_BYTES, PROOF_BYTES + 1, 2**31, 2**32, 2**63, 2**64 - 1)

Mutation = Callable[[bytearray, random.Random], None]


def _flip_bits(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 1, 1, 2, 5, 40))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _set_bytes(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 2, 8))):
        data[rng.randrange(len(data))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))


def _truncate(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def _remove(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    del data[start : start + rng.randrange(1, 9)]


def _duplicate(data: bytearray, rng: random.Random) -> None:
    start, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    at = rng.choice((0, end, rng.randrange(len(data) + 1)))
    data[at:at] = data[start:end]


def _change_the_length(data: bytearray, rng: random.Random) -> None:
    struct.pack_into("<Q", data, _LENGTH_AT, rng.choice((*_LENGTHS, rng.randrange(2**64))))


def _replace(data: bytearray, rng: random.Random) -> None:
    data[:] = rng.randbytes(rng.choice((0, 1, 3, 4, HEADER_BYTES - 1, HEADER_BYTES, 100, 300, 5000)))


def _replace_all_but_the_start(data: bytearray, rng: random.Random) -> None:
    start = bytes([*MAGIC, VERSION, rng.choice(list(Kind))])
    data[:] = start + rng.randbytes(rng.choice((4, HEADER_BYTES - 4, 100, 300, 5000)))


def _seal_anew(data: bytearray, rng: random.Random) -> None:
    """A frame without fault, with its checksum, of somebody who does not know the secret, or takes part elsewhere."""
    header, body = unpack(data, PROOF_BYTES), bytearray(data[HEADER_BYTES:])
    kind, rank, run, length = header.kind, header.rank, header.run, None
    wrong = rng.randrange(5)
    if wrong == 0:
        body[rng.randrange(len(body))] ^= 1 << rng.randrange(8)
    elif wrong == 1:
        del body[rng.randrange(len(body)) :]
    elif wrong == 2:
        rank = rng.choice((2**32 - 1, 2**31, rng.randrange(1000, 2**32)))
    elif wrong == 3:
        run = rng.choice((0, run ^ 1, 2**64 - 1 - run))
    elif rng.random() < 0.5:
        kind = rng.choice([other for other in Kind if other is not kind])
    else:
        length = rng.choice([other for other in _LENGTHS if other < len(body)])
    digest = body_digest(bytes(body[:length]))
    iteration = rng.choice((0, 1, 2**64 - 1))
    data[:] = pack(kind, rank, run, iteration, len(body) if length is None else length, digest, header.notes) + body


MUTATIONS: tuple[Mutation, ...] = (
    _flip_bits,
    _flip_bits,
    _set_bytes,
    _truncate,
    _remove,
    _duplicate,
    _change_the_length,
    _replace,
    _replace_all_but_the_start,
    _seal_anew,
    _seal_anew,
)


def hostile(greeting: bytes, seed: int, index: int) -> bytes:
    """Return bytes that do not begin with the valid message, nor with another that shows the secret."""
    rng, data = random.Random(seed << 48 | index), bytearray(greeting)
    rng.choice(MUTATIONS)(data, rng)
    if data and rng.random() < 0.2:
        rng.choice(MUTATIONS[:6])(data, rng)
    if data[: len(greeting)] == greeting:
        data[HEADER_BYTES] ^= 1
    return bytes(data)


def is_refused_at_once(data: bytes, most: int, tls: bool) -> bool:
    """Tell whether nothing that follows could make a message of at most so many bytes of this."""
    if tls:
        return len(data) >= 16 and data.startswith(MAGIC)
    if len(data) < HEADER_BYTES:
        return False
    try:
        header: Header = unpack(data, most)
    except TransportError:
        return True
    return len(data) >= HEADER_BYTES + header.length


@dataclass
class Stranger:
    """A connection on which a hostile greeting was sent."""

    connection: socket.socket
    refused: bool

    def leave(self) -> str:
        """Close, after being turned away if that is due; return what came of it."""
        with self.connection:
            if not self.refused:
                return "left"
            self.connection.settimeout(SECONDS)
            with suppress(ConnectionError):  # a reset, since it had sent more than was read
                while answer := self.connection.recv(1000):
                    # With TLS, an alert comes first.
                    if answer[0] != 0x15:
                        return "answered"
            return "turned away"


class _Raw:
    """A socket as `callers.Caller` takes it."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def ends(self) -> tuple[str, str]:
        here, there = self._socket.getsockname(), self._socket.getpeername()
        return f"{here[0]} {here[1]}", f"{there[0]} {there[1]}"

    def write(self, parts: list[memoryview]) -> int:
        return self._socket.sendmsg(parts)

    def read(self, view: memoryview, seconds: float) -> int:
        return self._socket.recv_into(view)


def greet(connection: socket.socket, secret: bytes, seed: int, index: int, *, tls: bool) -> Stranger:
    """Send a hostile greeting, in one or two pieces."""
    caller, kind = Caller(_Raw(connection), rank=2, token=secret), Kind.HELLO  # type: ignore[arg-type]
    valid = caller.hello()
    if index % 2 and not tls:
        caller.challenged()
        kind, valid = Kind.PROOF, caller.proof(b'{"name": "a name", "iteration": 3}')
    data = hostile(valid, seed, index)
    with suppress(ConnectionError):  # it may be turned away before it has said all
        half = len(data) // 2 if index % 3 == 0 else len(data)
        connection.sendall(data[:half])
        connection.sendall(data[half:])
    return Stranger(connection, is_refused_at_once(data, MOST[kind], tls))


def attack(address: tuple[str, int], secret: bytes, seed: int, indices: Iterable[int], *, tls: bool) -> Counter[str]:
    """Send hostile greetings and count what came of them."""
    counts, around = Counter[str](), deque[Stranger]()
    for index in indices:
        connection = socket.create_connection(address, SECONDS)
        # To close is to reset, so that no port is kept.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        around.append(greet(connection, secret, seed, index, tls=tls))
        if len(around) > OPEN:
            counts[around.popleft().leave()] += 1
        if index % 5 == 0:
            # Gone before it is looked at.
            counts[Stranger(around.pop().connection, False).leave()] += 1
    while around:
        counts[around.popleft().leave()] += 1
    return counts


def main() -> None:
    """Attack, and print the counts."""
    host, port, kind = sys.argv[1:4]
    seed, first, last, step = map(int, sys.argv[4:])
    secret = sys.stdin.buffer.read()
    counts = attack((host, int(port)), secret, seed, range(first, last, step), tls=kind == "tls")
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
