"""The reception of a run: lets its members in, turns strangers away, and disturbs nobody while it does."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from threading import Condition, Event, Thread
from time import monotonic
from typing import Any

from relufit.errors import TransportError
from relufit.transport.connections import Connection, Listener, Network
from relufit.transport.frames import HEADER_BYTES, Header, Kind, body_digest, check, pack, unpack
from relufit.transport.greeting import (
    CHALLENGE_BYTES,
    HELLO_BYTES,
    MAC_BYTES,
    NONCE_BYTES,
    PROOF_BYTES,
    Greeting,
    check_mac,
    new_nonce,
    split,
)
from relufit.transport.link import Link

#: Seconds in which a caller must have shown that it belongs to the run, where the deadline of links is not longer: a
#: member may be on a busy machine.
GREETING_SECONDS = 5.0
_MOST_GREETINGS = 256
_IDLE_SECONDS, _BUSY_SECONDS = 0.2, 0.002


@dataclass(frozen=True)
class Peer:
    """A member that has shown the token: its link, its rank, and what it said of itself."""

    link: Link
    rank: int
    about: dict[str, Any]


@dataclass
class _Caller:
    """A connection whose greeting is being read, frame by frame, without waiting.

    `greeting` is None until the first frame has shown that the caller belongs to the run.
    """

    connection: Connection
    end: float
    buffer: bytearray = field(default_factory=lambda: bytearray(HEADER_BYTES + PROOF_BYTES))
    filled: int = 0
    header: Header | None = None
    greeting: Greeting | None = None

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
                self.header = unpack(self.buffer, PROOF_BYTES if self.greeting else HELLO_BYTES)
            else:
                return True

    def take(self, kind: Kind, run: int) -> tuple[int, memoryview]:
        """Return the rank and the body of a complete frame, and be ready for the next one."""
        header, body = self.header, memoryview(self.buffer)[HEADER_BYTES : self.filled]
        assert header is not None
        check(self.buffer, body_digest(body), header.checksum)
        if header.kind is not kind or header.run != run:
            raise TransportError("a peer that does not belong to this run")
        self.header, self.filled = None, 0
        return header.rank, body


class Rendezvous:
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
        Of the links that are made, and of greetings if it is longer than `GREETING_SECONDS`.
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
        self._listener: Listener = network.listen()
        self._run, self._token, self._count = run, token, count
        self._deadline, self._wanted, self._every = deadline, wanted, every
        self._patience = max(GREETING_SECONDS, deadline)
        self._condition, self._waiting, self._stop = Condition(), dict[int, Peer](), Event()
        self._callers: list[_Caller] = []
        self._thread = Thread(target=self._receive, name="relufit-reception", daemon=True)
        self._thread.start()

    @property
    def address(self) -> tuple[str, int]:
        """Where members go."""
        return self._listener.address

    def waiting(self) -> dict[int, Peer]:
        """Return who waits, by rank."""
        with self._condition:
            return dict(self._waiting)

    def wait(self, seconds: float) -> None:
        """Wait until somebody new has come."""
        with self._condition:
            self._condition.wait(seconds)

    def take(self, rank: int) -> Peer | None:
        """Take a waiting peer."""
        with self._condition:
            return self._waiting.pop(rank, None)

    def close(self) -> None:
        """Turn everybody away who was not taken, and listen no more."""
        self._stop.set()
        self._listener.interrupt()
        self._thread.join()
        self._listener.close()
        for caller in self._callers:
            caller.connection.close()
        for peer in self._waiting.values():
            peer.link.close()
        self._waiting.clear()

    def _receive(self) -> None:
        last = 0.0
        while not self._stop.is_set():
            try:
                connection = self._listener.accept(_BUSY_SECONDS if self._callers else _IDLE_SECONDS)
            except OSError:  # such as no more descriptors: it passes, or the deadlines of the run end it
                connection = None
                self._stop.wait(_IDLE_SECONDS)
            now = monotonic()
            if connection is not None:
                self._callers.append(_Caller(connection, now + self._patience))
            self._callers = [caller for caller in self._callers if self._goes_on(caller, now)]
            while len(self._callers) > _MOST_GREETINGS:
                # Whoever has shown that it belongs to the run is not pushed out by strangers.
                eldest = next((caller for caller in self._callers if caller.greeting is None), self._callers[0])
                self._callers.remove(eldest)
                eldest.connection.close()
            if self._every and now - last > 1:
                last = now
                self._every()

    def _goes_on(self, caller: _Caller, now: float) -> bool:
        """Read on; let the member in or turn the stranger away; tell whether there is more to read."""
        try:
            while caller.advance():
                if caller.greeting:
                    self._let_in(caller)
                    return False
                self._challenge(caller)
                caller.end = now + self._patience  # it is a member, of which the rest is due
            if now < caller.end:
                return True
            raise TransportError("too slow a greeting")
        except (TransportError, OSError, EOFError):
            caller.connection.close()
        return False

    def _challenge(self, caller: _Caller) -> None:
        """Answer a HELLO of this run, from a rank that there is."""
        rank, body = caller.take(Kind.HELLO, self._run)
        if rank >= self._count:
            raise TransportError("a rank that there is not")
        nonce, mac = split(body, NONCE_BYTES)
        here, there = caller.connection.ends()
        greeting = Greeting(self._token, self._run, rank, here, there, nonce)
        check_mac(mac, greeting.hello())
        greeting = replace(greeting, listener_nonce=new_nonce())
        answer = greeting.listener_nonce + greeting.challenge()
        frame = pack(Kind.CHALLENGE, 0, self._run, 0, len(answer), body_digest(answer)) + answer
        if caller.connection.write([frame]) != len(frame):  # nothing was sent before it, so that it fits
            raise TransportError("a peer that takes nothing")
        caller.greeting = greeting

    def _let_in(self, caller: _Caller) -> None:
        greeting = caller.greeting
        assert greeting is not None
        rank, body = caller.take(Kind.PROOF, self._run)
        mac, about = split(body, MAC_BYTES)
        check_mac(mac, greeting.proof(about))
        if rank != greeting.rank:
            raise TransportError("a rank that has become another")
        try:
            details = json.loads(about)
        except (ValueError, RecursionError) as error:
            raise TransportError("a greeting that says nothing") from error
        if not isinstance(details, dict):
            raise TransportError("a greeting that says nothing")
        link = Link(caller.connection, self._run, f"rank {rank}", deadline=self._deadline, wanted=self._wanted)
        with self._condition:
            before = self._waiting.get(rank)
            if before:
                before.link.close()
            self._waiting[rank] = Peer(link, rank, details)
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
    answer: float | None = None,
) -> Link:
    """Return a link to the member that receives at `address`; each end has shown the other that it knows the secret.

    Nothing but HELLO is sent before the other end has shown it, and the secret never is.

    Parameters
    ----------
    network : Network
    address : (str, int)
        Of the reception.
    rank : int
        Of this member.
    run : int
        The number of the run.
    token : bytes
        The secret of the run.
    about : dict
        What this member says of itself.
    peer : str
        How messages call the other end.
    deadline, wanted
        Of the link, see `Link`.
    answer : float, optional
        Seconds in which the other end must accept the connection, and must show that it knows the secret; the deadline
        if it is not given.

    Raises
    ------
    TransportError
        If nobody answers there, or somebody who does not know the secret.
    """
    where, patience = f"{peer} at {address[0]}:{address[1]}", answer or deadline
    try:
        connection = network.connect(address, patience)
    except OSError as error:
        raise TransportError(f"cannot be reached ({error})", where=where) from error
    try:
        link = Link(connection, run, peer, deadline=patience, wanted=wanted)
        try:
            here, there = connection.ends()
            _greet(link, Greeting(token, run, rank, there, here, new_nonce()), about)
        except (TransportError, OSError) as error:
            if not wanted():
                raise
            raise TransportError(
                f"has not shown that it knows the secret of this run: {getattr(error, 'what', error)}",
                where=where,
                remedy="another program may have taken that port",
            ) from error
    except BaseException:
        connection.close()
        raise
    # What was said so far is not counted.
    return Link(connection, run, peer, deadline=deadline, wanted=wanted)


def _greet(link: Link, greeting: Greeting, about: dict[str, Any]) -> None:
    """Say who this is, see that the other end knows the secret, and only then say the rest."""
    link.send(Kind.HELLO, greeting.joiner_nonce + greeting.hello(), rank=greeting.rank)
    _, body = link.receive(Kind.CHALLENGE, limit=CHALLENGE_BYTES)
    nonce, mac = split(body, NONCE_BYTES)
    greeting = replace(greeting, listener_nonce=nonce)
    check_mac(mac, greeting.challenge())
    text = json.dumps(about).encode()
    link.send(Kind.PROOF, greeting.proof(text) + text, rank=greeting.rank)
