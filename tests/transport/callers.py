"""Who greets a reception by hand, step by step, and may say anything but what is right."""

from __future__ import annotations

from dataclasses import replace

from meetings import RUN, TOKEN, frame, get, put

from relufit.transport.connections import Connection
from relufit.transport.frames import HEADER_BYTES, Kind, body_digest, pack
from relufit.transport.greeting import CHALLENGE_BYTES, NONCE_BYTES, Greeting

NONCE = bytes(range(100, 100 + NONCE_BYTES))


def sealed(kind: Kind, body: bytes, *, rank: int = 0, run: int = RUN, length: int | None = None) -> bytes:
    """Return a frame with the right checksum, whatever its header says."""
    return pack(kind, rank, run, 0, len(body) if length is None else length, body_digest(body)) + body


class Caller:
    """The joining end of a connection."""

    def __init__(self, connection: Connection, rank: int = 0, *, token: bytes = TOKEN, nonce: bytes = NONCE) -> None:
        here, there = connection.ends()
        self.connection, self.rank = connection, rank
        self.greeting = Greeting(token, RUN, rank, there, here, nonce)

    def hello_body(self) -> bytes:
        return self.greeting.joiner_nonce + self.greeting.hello()

    def hello(self) -> bytes:
        """Return the frame that comes first."""
        return sealed(Kind.HELLO, self.hello_body(), rank=self.rank)

    def challenged(self) -> bytes:
        """Say it, and return the frame that answers it."""
        put(self.connection, self.hello())
        answer = get(self.connection, HEADER_BYTES + CHALLENGE_BYTES)
        nonce = answer[HEADER_BYTES : HEADER_BYTES + NONCE_BYTES]
        self.greeting = replace(self.greeting, listener_nonce=nonce)
        assert answer == frame(Kind.CHALLENGE, nonce + self.greeting.challenge())
        return answer

    def proof(self, about: bytes = b"{}") -> bytes:
        """Return the frame that comes last."""
        return sealed(Kind.PROOF, self.greeting.proof(about) + about, rank=self.rank)
