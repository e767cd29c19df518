"""Links: frames over a connection, with deadlines, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from time import monotonic, perf_counter

import xxhash

from relufit.errors import TransportError
from relufit.transport import connections
from relufit.transport.connections import Connection
from relufit.transport.frames import HEADER_BYTES, PAYLOADS, Header, Kind, body_digest, check, pack, unpack

TOKEN_BYTES = 32


class Link:
    """One end of a connection between two members of a run.

    Parameters
    ----------
    connection : Connection
        The link owns it.
    run : int
        The number that every frame must carry.
    peer : str
        How messages call the other end.
    deadline : float
        Seconds of silence, or of nothing being taken, after which the peer is given up.
    wanted : callable
        Asked every second whether the run is still wanted; receiving ends with an error if not.
    """

    def __init__(
        self, connection: Connection, run: int, peer: str, *, deadline: float, wanted: Callable[[], bool]
    ) -> None:
        self._connection, self._run, self.peer = connection, run, peer
        self._deadline, self._wanted, self._asked = deadline, wanted, monotonic()
        self._header, self._body = bytearray(HEADER_BYTES), bytearray()
        self._outgoing: list[memoryview] = []
        #: Whether to wait for a frame as long as the run is wanted, because somebody else's work comes first.
        self.patient = False
        #: Links whose frames are to be pushed along while this one waits for its own.
        self.beside: Sequence[Link] = (self,)
        #: Bytes by kind: of bodies sent and received; and of all frames.
        self.sent: Counter[Kind] = Counter()
        self.received: Counter[Kind] = Counter()
        self.frame_bytes_sent = self.frame_bytes_received = 0
        self.waited = self.moved = 0.0

    def post(
        self,
        kind: Kind,
        body: bytes | memoryview = b"",
        *,
        rank: int = 0,
        iteration: int = 0,
        notes: tuple[float, float, float] = (0.0, 0.0, 0.0),
        digest: int | None = None,
    ) -> None:
        """Send a frame as far as that goes without waiting; the rest goes while a link `beside` waits, or on `flush`.

        The body must not change until then. Its `digest` is computed where it is not given.

        Raises
        ------
        TransportError
            If the peer is gone.
        """
        began = perf_counter()
        size = len(body)
        digest = body_digest(body) if digest is None else digest
        self._outgoing.append(memoryview(pack(kind, rank, self._run, iteration, size, digest, notes)))
        if size:
            self._outgoing.append(memoryview(body).cast("B"))
        self.sent[kind] += size
        self.frame_bytes_sent += HEADER_BYTES + size
        self.push()
        self.moved += perf_counter() - began

    def push(self) -> bool:
        """Send what goes of what was posted without waiting, and tell whether anything went."""
        went = 0
        while self._outgoing:
            try:
                count = self._connection.write(self._outgoing)
            except OSError as error:
                raise TransportError(f"the connection broke ({error})", where=self.peer) from error
            if not count:
                break
            went += count
            while self._outgoing and count >= len(self._outgoing[0]):
                count -= len(self._outgoing.pop(0))
            if count:
                self._outgoing[0] = self._outgoing[0][count:]
        return went > 0

    def flush(self) -> None:
        """Wait until the system has taken all that was posted.

        Raises
        ------
        TransportError
            If the peer is gone or takes nothing before the deadline.
        """
        began, end = perf_counter(), monotonic() + self._deadline
        while self._outgoing:
            self._connection.wait(connections.POLL_SECONDS, [self._connection], reading=False)
            if self.push():
                end = monotonic() + self._deadline
            else:
                self._check_waiting(end)
        self.moved += perf_counter() - began

    def send(self, kind: Kind, body: bytes | memoryview = b"", **fields: int | tuple[float, float, float]) -> None:
        """Post a frame and wait until the system has taken all of it."""
        self.post(kind, body, **fields)  # type: ignore[arg-type]
        self.flush()

    def receive(self, *kinds: Kind, limit: int = 0, iteration: int | None = None) -> tuple[Header, memoryview]:
        """Return the next frame, which must be of one of these kinds, of that iteration where one is given.

        Its body, of at most `limit` bytes, is good until the next call. A frame of kind STOP has no iteration.

        Raises
        ------
        TransportError
            If the peer is gone, silent beyond the deadline, or sends anything else.
        """
        began = perf_counter()
        self._fill(memoryview(self._header))
        came = perf_counter()
        try:
            header = unpack(self._header, limit)
            if len(self._body) < header.length:
                self._body = bytearray(header.length)
            body = memoryview(self._body)[: header.length]
            check(self._header, self._fill(body), header.checksum)
        except TransportError as error:
            raise TransportError(error.what, where=self.peer, remedy=error.remedy) from error
        self.frame_bytes_received += HEADER_BYTES + header.length
        self.received[header.kind] += header.length
        self.waited += came - began
        self.moved += perf_counter() - came
        if header.run != self._run:
            raise TransportError("a frame of another run", where=self.peer)
        if header.kind not in kinds:
            due = " or ".join(kind.name for kind in kinds)
            raise TransportError(f"{header.kind.name} where {due} was due", where=self.peer)
        if iteration not in (None, header.iteration) and header.kind is not Kind.STOP:
            raise TransportError(
                f"{header.kind.name} of iteration {header.iteration} where that of {iteration} was due",
                where=self.peer,
            )
        return header, body

    def counts(self) -> dict[str, int]:
        """Return the bytes of payloads, and of all frames, that were sent and received here."""
        return {
            "payload_bytes_sent": sum(self.sent[kind] for kind in PAYLOADS),
            "payload_bytes_received": sum(self.received[kind] for kind in PAYLOADS),
            "frame_bytes_sent": self.frame_bytes_sent,
            "frame_bytes_received": self.frame_bytes_received,
        }

    def close(self) -> None:
        """Close the connection."""
        self._outgoing.clear()
        self._connection.close()

    def _fill(self, view: memoryview) -> int:
        """Fill `view` and return the digest of what came."""
        now, whole, total = monotonic(), view, None
        if now > self._asked + connections.POLL_SECONDS:  # also where frames come without a pause
            self._asked = now
            self._check_wanted()
        end = now + self._deadline
        while view:
            pending = [link for link in self.beside if link._outgoing]
            pushed = self._push_along(pending)
            try:
                count = self._connection.read(view, 0 if pending else connections.POLL_SECONDS)
            except EOFError:
                raise TransportError("closed the connection", where=self.peer) from None
            except OSError as error:
                raise TransportError(f"the connection broke ({error})", where=self.peer) from error
            if count:
                if count == len(whole):
                    break
                # While the bytes are in the cache.
                total = total or xxhash.xxh3_64()
                total.update(view[:count])
                view = view[count:]
            if count or pushed:
                end = monotonic() + self._deadline
            else:
                self._check_waiting(end)
        return int(total.intdigest()) if total else body_digest(whole)

    def _push_along(self, pending: Sequence[Link]) -> bool:
        """Send what goes of what waits on links, and wait if nothing goes and nothing comes; tell whether it went."""
        if not pending:
            return False
        if _push(pending):
            return True
        self._connection.wait(connections.POLL_SECONDS, [link._connection for link in pending])
        return _push(pending)

    def _check_wanted(self) -> None:
        if not self._wanted():
            raise TransportError("the run was cancelled", where=self.peer)

    def _check_waiting(self, end: float) -> None:
        self._check_wanted()
        if monotonic() > end and not self.patient:
            raise TransportError(
                f"no answer within {self._deadline:g} s", where=self.peer, remedy="look at that machine's log"
            )


def _push(links: Sequence[Link]) -> bool:
    went = [link.push() for link in links]
    return any(went)
