"""Links: frames over a connection, with deadlines, counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic, perf_counter

import numpy as np
import xxhash

from relufit.errors import TransportError
from relufit.transport import connections
from relufit.transport.connections import Connection
from relufit.transport.frames import HEADER_BYTES, PAYLOADS, Body, Header, Kind, body_digest, check, pack, unpack

#: As much is read at once, of one frame or several.
_STAGE_BYTES = 1 << 17
#: Vectors in double precision follow the 4 bytes of a payload's header.
_BEFORE_NUMBERS = 4
#: Where in a page numbers start that are received: where compiled loops want them, and not at the place in a page where
#: the system has them. A processor takes a load for one of what it is just storing where their places in a page agree.
_PAGE_BYTES, _PLACE = 1 << 12, 1 << 10
_NO_NOTES = (0.0, 0.0, 0.0)


def _room(size: int, before: int) -> memoryview:
    """Return memory for `size` bytes; the byte after the first `before` ones is at its place in a page."""
    room = np.empty(size + _PAGE_BYTES, np.uint8)
    skipped = (_PLACE - room.ctypes.data - before) % _PAGE_BYTES
    return room.data.cast("B")[skipped : skipped + size]


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
        connection.receive_ahead()
        self._connection, self._run, self.peer = connection, run, peer
        self._deadline, self._wanted, self._asked = deadline, wanted, monotonic()
        # What was read and not taken yet is in the stage from `start` to `end`.
        self._stage, self._start, self._end = _room(_STAGE_BYTES, HEADER_BYTES + _BEFORE_NUMBERS), 0, 0
        self._large, self._turn = [_room(0, _BEFORE_NUMBERS)], 0
        self._outgoing: list[memoryview] = []
        #: How many of the bodies that were received last stay good.
        self.kept = 1
        #: Whether to wait for a frame as long as the run is wanted, because somebody else's work comes first.
        self.patient = False
        #: Links whose frames are to be pushed along while this one waits for its own.
        self.beside: Sequence[Link] = (self,)
        #: Bytes by kind: of bodies sent and received; and of all frames.
        self.sent, self.received = [0] * (max(Kind) + 1), [0] * (max(Kind) + 1)
        self.frame_bytes_sent = self.frame_bytes_received = 0
        #: Seconds without anything to receive, while something was due.
        self.waited = 0.0

    def post(
        self,
        kind: Kind,
        body: Body = b"",
        *,
        rank: int = 0,
        iteration: int = 0,
        notes: tuple[float, float, float] = _NO_NOTES,
        digest: int | None = None,
    ) -> None:
        """Send a frame as far as that goes without waiting; the rest goes while a link `beside` waits, or on `flush`.

        The body must not change until then. Its `digest` is computed where it is not given.

        Raises
        ------
        TransportError
            If the peer is gone.
        """
        pieces = body if isinstance(body, tuple) else (body,) if body else ()
        size = sum(map(len, pieces))
        digest = body_digest(body) if digest is None else digest
        frame = (pack(kind, rank, self._run, iteration, size, digest, notes), *pieces)
        self.sent[kind] += size
        size += HEADER_BYTES
        self.frame_bytes_sent += size
        if self._outgoing:
            self._outgoing += map(memoryview, frame)
            self.push()
        elif (count := self._write(frame)) < size:
            self._outgoing += map(memoryview, frame)
            self._drop(count)

    def push(self) -> bool:
        """Send what goes of what was posted without waiting, and tell whether anything went."""
        went = 0
        while self._outgoing and (count := self._write(self._outgoing)):
            went += count
            self._drop(count)
        return went > 0

    def _write(self, pieces: Sequence[bytes | memoryview]) -> int:
        try:
            return self._connection.write(pieces)
        except OSError as error:
            raise TransportError(f"the connection broke ({error})", where=self.peer) from error

    def _drop(self, count: int) -> None:
        """Forget the first bytes of what is to be sent."""
        outgoing, gone = self._outgoing, 0
        while gone < len(outgoing) and count >= len(outgoing[gone]):
            count -= len(outgoing[gone])
            gone += 1
        del outgoing[:gone]
        if count:
            outgoing[0] = outgoing[0][count:]

    def flush(self) -> None:
        """Wait until the system has taken all that was posted.

        Raises
        ------
        TransportError
            If the peer is gone or takes nothing before the deadline.
        """
        if not self._outgoing:
            return
        end = monotonic() + self._deadline
        while self._outgoing:
            self._connection.wait(connections.POLL_SECONDS, [self._connection], reading=False)
            if self.push():
                end = monotonic() + self._deadline
            else:
                self._check_waiting(end)

    def send(self, kind: Kind, body: Body = b"", **fields: int | tuple[float, float, float]) -> None:
        """Post a frame and wait until the system has taken all of it."""
        self.post(kind, body, **fields)  # type: ignore[arg-type]
        self.flush()

    def receive(self, *kinds: Kind, limit: int = 0, iteration: int | None = None) -> tuple[Header, memoryview]:
        """Return the next frame, which must be of one of these kinds, of that iteration where one is given.

        Its body, of at most `limit` bytes, is good until as many more have come as are `kept`. A frame of kind STOP has
        no iteration.

        Raises
        ------
        TransportError
            If the peer is gone, silent beyond the deadline, or sends anything else.
        """
        began, now = perf_counter(), monotonic()
        if now > self._asked + connections.POLL_SECONDS:  # also where frames come without a pause
            self._asked = now
            self._check_wanted()
        self._await_header()
        self.waited += perf_counter() - began
        try:
            header = unpack(self._stage, limit, self._start)
            body, digest = self._take_body(header.length)
            check(self._stage[self._start : self._start + HEADER_BYTES], digest, header.checksum)
        except TransportError as error:
            raise TransportError(error.what, where=self.peer, remedy=error.remedy) from error
        self._start += HEADER_BYTES + min(header.length, self._end - self._start - HEADER_BYTES)
        self.frame_bytes_received += HEADER_BYTES + header.length
        self.received[header.kind] += header.length
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
        """Return the bytes of payloads, of copies of residuals, and of all frames, that were sent and received here."""
        return {
            "payload_bytes_sent": sum(self.sent[kind] for kind in PAYLOADS),
            "payload_bytes_received": sum(self.received[kind] for kind in PAYLOADS),
            "copy_bytes_sent": self.sent[Kind.RESIDUALS],
            "copy_bytes_received": self.received[Kind.RESIDUALS],
            "frame_bytes_sent": self.frame_bytes_sent,
            "frame_bytes_received": self.frame_bytes_received,
        }

    def close(self) -> None:
        """Close the connection."""
        self._outgoing.clear()
        self._connection.close()

    def _await_header(self) -> None:
        """Have a header in the stage, at its start where nothing else is there."""
        held = self._end - self._start
        if held and self._start + HEADER_BYTES > _STAGE_BYTES:
            self._stage[:held] = bytes(self._stage[self._start : self._end])
            self._start, self._end = 0, held
        elif not held:
            self._start = self._end = 0
        while self._end - self._start < HEADER_BYTES:
            self._end += self._read(self._stage[self._end :])

    def _take_body(self, length: int) -> tuple[memoryview, int]:
        """Return a body of that length and its digest; what is not in the stage is read to its place."""
        at = self._start + HEADER_BYTES
        staged = self._stage[at : min(at + length, self._end)]
        if len(staged) == length and self.kept == 1:
            return staged, body_digest(staged)
        body, filled, digest = self._next_body(length), len(staged), xxhash.xxh3_64(staged)
        body[:filled] = staged
        while filled < length:
            count = self._read(body[filled:])
            digest.update(body[filled : filled + count])  # while the bytes are in the cache
            filled += count
        return body, digest.intdigest()

    def _next_body(self, length: int) -> memoryview:
        """Return memory for a body, that of the body which was received longest ago."""
        self._turn += 1
        if self._turn >= self.kept:
            self._turn = 0
        if self._turn == len(self._large):
            self._large.append(_room(length, _BEFORE_NUMBERS))
        if len(self._large[self._turn]) < length:
            self._large[self._turn] = _room(length, _BEFORE_NUMBERS)
        return self._large[self._turn][:length]

    def _read(self, view: memoryview) -> int:
        """Wait for bytes, fill the start of `view` with them, and return how many came."""
        end = monotonic() + self._deadline
        while True:
            pending = [link for link in self.beside if link._outgoing]
            pushed = self._push_along(pending)
            try:
                count = self._connection.read(view, 0 if pending else connections.POLL_SECONDS)
            except EOFError:
                raise TransportError("closed the connection", where=self.peer) from None
            except OSError as error:
                raise TransportError(f"the connection broke ({error})", where=self.peer) from error
            if count:
                return count
            if pushed:
                end = monotonic() + self._deadline
            else:
                self._check_waiting(end)

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
