"""The reception of a run: lets its members in, turns strangers away, and disturbs nobody while it does."""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Condition, Event, Thread
from time import monotonic
from typing import Any

from relufit.errors import TransportError
from relufit.transport.connections import Connection, Door, Network
from relufit.transport.frames import HEADER_BYTES, Header, Kind, body_digest, check, unpack
from relufit.transport.link import TOKEN_BYTES, Link

GREETING_SECONDS = 5.0
_MOST_GREETINGS = 256
#: A greeting is the token and what a member says of itself, as JSON.
_GREETING_BYTES = TOKEN_BYTES + 4096
_IDLE_SECONDS, _BUSY_SECONDS = 0.2, 0.002


@dataclass(frozen=True)
class Guest:
    """A member that has shown the token: its link, its rank, and what it said of itself."""

    link: Link
    rank: int
    about: dict[str, Any]


@dataclass
class _Greeting:
    """A connection from which the first frame is being read, without waiting."""

    connection: Connection
    end: float
    buffer: bytearray = field(default_factory=lambda: bytearray(HEADER_BYTES + _GREETING_BYTES))
    filled: int = 0
    header: Header | None = None

    def advance(self) -> bool:
        """Read what there is; tell whether the frame is complete."""
        if not self.connection.ready():
            return False
        while True:
            due = HEADER_BYTES + (self.header.length if self.header else 0)
            if self.filled < due:
                count = self.connection.read(memoryview(self.buffer)[self.filled : due], 0)
                if not count:
                    return False
                self.filled += count
            elif self.header is None:
                self.header = unpack(self.buffer, _GREETING_BYTES)
            else:
                return True


class Reception:
    """Listens, in a thread of its own, and keeps who has come until they are asked for.

    Parameters
    ----------
    network : Network
    run : int
        The number of the run.
    token : bytes
        The secret of the run.
    count : int
        The number of ranks.
    deadline : float
        Of the links that are made.
    wanted : callable
        Whether the run is still wanted, for those links.
    every : callable, optional
        Called about once a second, from the thread.
    """

    def __init__(
        self,
        network: Network,
        run: int,
        token: bytes,
        count: int,
        *,
        deadline: float,
        wanted: Callable[[], bool],
        every: Callable[[], None] | None = None,
    ) -> None:
        self._door: Door = network.listen()
        self._run, self._token, self._count = run, token, count
        self._deadline, self._wanted, self._every = deadline, wanted, every
        self._condition, self._guests, self._stop = Condition(), dict[int, Guest](), Event()
        self._greetings: list[_Greeting] = []
        self._thread = Thread(target=self._receive, name="relufit-reception", daemon=True)
        self._thread.start()

    @property
    def address(self) -> tuple[str, int]:
        """Where members go."""
        return self._door.address

    def guests(self) -> dict[int, Guest]:
        """Return who waits, by rank."""
        with self._condition:
            return dict(self._guests)

    def wait(self, seconds: float) -> None:
        """Wait until somebody new has come."""
        with self._condition:
            self._condition.wait(seconds)

    def take(self, rank: int) -> Guest | None:
        """Take a guest away."""
        with self._condition:
            return self._guests.pop(rank, None)

    def close(self) -> None:
        """Turn everybody away who was not taken, and listen no more."""
        self._stop.set()
        self._thread.join()
        self._door.close()
        for greeting in self._greetings:
            greeting.connection.close()
        for guest in self._guests.values():
            guest.link.close()
        self._guests.clear()

    def _receive(self) -> None:
        last = 0.0
        while not self._stop.is_set():
            try:
                connection = self._door.accept(_BUSY_SECONDS if self._greetings else _IDLE_SECONDS)
            except OSError:  # such as no more descriptors: it passes, or the deadlines of the run end it
                connection = None
                self._stop.wait(_IDLE_SECONDS)
            now = monotonic()
            if connection is not None:
                self._greetings.append(_Greeting(connection, now + GREETING_SECONDS))
            self._greetings = [greeting for greeting in self._greetings if self._goes_on(greeting, now)]
            while len(self._greetings) > _MOST_GREETINGS:
                self._greetings.pop(0).connection.close()
            if self._every and now - last > 1:
                last = now
                self._every()

    def _goes_on(self, greeting: _Greeting, now: float) -> bool:
        """Read on; let the member in or turn the stranger away; tell whether there is more to read."""
        try:
            if not greeting.advance():
                if now < greeting.end:
                    return True
                raise TransportError("too slow a greeting")
            self._let_in(greeting)
        except (TransportError, OSError, EOFError):
            greeting.connection.close()
        return False

    def _let_in(self, greeting: _Greeting) -> None:
        header, body = greeting.header, memoryview(greeting.buffer)[HEADER_BYTES : greeting.filled]
        assert header is not None
        check(greeting.buffer, body_digest(body), header.checksum)
        token, about = bytes(body[:TOKEN_BYTES]), bytes(body[TOKEN_BYTES:])
        if header.kind is not Kind.HELLO or header.run != self._run or not hmac.compare_digest(token, self._token):
            raise TransportError("a peer without the secret of this run")
        if header.rank >= self._count:
            raise TransportError("a rank that there is not")
        try:
            told = json.loads(about)
        except (ValueError, RecursionError) as error:
            raise TransportError("a greeting that says nothing") from error
        if not isinstance(told, dict):
            raise TransportError("a greeting that says nothing")
        link = Link(greeting.connection, self._run, f"rank {header.rank}", deadline=self._deadline, wanted=self._wanted)
        with self._condition:
            before = self._guests.get(header.rank)
            if before:
                before.link.close()
            self._guests[header.rank] = Guest(link, header.rank, told)
            self._condition.notify_all()


def join(
    network: Network,
    address: tuple[str, int],
    rank: int,
    run: int,
    token: bytes,
    about: dict[str, Any],
    *,
    peer: str,
    deadline: float,
    wanted: Callable[[], bool],
) -> Link:
    """Return a link to the member that receives at `address`, which has been shown the token.

    Raises
    ------
    TransportError
        If nobody answers there.
    """
    try:
        connection = network.connect(address, min(deadline, GREETING_SECONDS))
    except OSError as error:
        raise TransportError(f"cannot be reached ({error})", where=f"{peer} at {address[0]}:{address[1]}") from error
    link = Link(connection, run, peer, deadline=deadline, wanted=wanted)
    try:
        link.send(Kind.HELLO, token + json.dumps(about).encode(), rank=rank)
    except BaseException:
        link.close()
        raise
    return link
