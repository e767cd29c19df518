"""Streams of bytes between two ends, over TCP, with or without TLS, or within one process; and where they come from."""

from __future__ import annotations

import ipaddress
import os
import select
import socket
import ssl
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from time import perf_counter
from typing import Protocol, Self

#: Seconds after which a wait looks whether the run is still wanted.
POLL_SECONDS = 1.0
_KEEPALIVE_SECONDS = 5
_AT_ONCE = 1 << 20
_PARTS_AT_ONCE = 1024  # IOV_MAX
#: Sleeping and waking up takes about that long.
_SPIN_SECONDS = 200e-6
_NO_WAIT = socket.MSG_DONTWAIT | getattr(socket, "MSG_NOSIGNAL", 0)
_RECORD_BYTES = 1 << 14
#: Bytes that the system takes in before they are read. Gradients are read in the order of the ranks, and a link on
#: which nobody reads stays with the room it began with: eight ranks that gathered 3.2 MB each over 100 Mbit/s for the
#: first time took 4 s longer than the links.
_AHEAD_BYTES = 1 << 22


class Connection(Protocol):
    """One end of a stream of bytes."""

    def write(self, parts: Sequence[bytes | memoryview]) -> int:
        """Send the start of `parts`, one after the other, as much as goes without waiting; return how many bytes.

        What did not go comes first in the next call, whatever follows it.
        """

    def read(self, view: memoryview, seconds: float) -> int:
        """Fill the start of `view` and return how many bytes, 0 if none came within `seconds`.

        Raises
        ------
        EOFError
            If the other end is closed.
        """

    def wait(self, seconds: float, writing: Sequence[Self], *, reading: bool = True) -> None:
        """Wait until there is something to read here, if `reading`, or one of `writing` takes bytes again."""

    def receive_ahead(self) -> None:
        """Have the system take in megabytes before they are read, now that the peer is known to be no stranger."""

    def ready(self) -> bool:
        """Go on with the greeting of the stream itself (the handshake of TLS) and tell whether it is done."""

    def ends(self) -> tuple[str, str]:
        """Return the addresses of this end and of the other one, which both ends see alike.

        They are empty where the stream itself lets nobody in between (TLS with certificates on both sides, one
        process); there may be a translation of addresses on the way then.
        """

    def close(self) -> None:
        """Close this end; the other end reads to the last byte and then the end."""


class Listener(Protocol):
    """Where connections arrive."""

    @property
    def address(self) -> tuple[str, int]:
        """What `connect` takes."""

    def accept(self, seconds: float) -> Connection | None:
        """Return the next connection, None if none came in that time or after `interrupt`."""

    def interrupt(self) -> None:
        """Have `accept` wait no more, in whichever thread it does."""

    def close(self) -> None:
        """Let nobody in any more."""


class Network(Protocol):
    """How the members of a run reach each other."""

    def listen(self) -> Listener:
        """Open a listener that the other members can reach."""

    def connect(self, address: tuple[str, int], seconds: float) -> Connection:
        """Return a connection to the listener at `address`.

        Raises
        ------
        OSError
            If nobody answers there.
        """


def is_loopback(host: str) -> bool:
    """Tell whether nobody outside this machine can reach `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Spinning:
    """Looks again and again for what will be there in a moment: to be woken takes longer than to wait that long.

    Only while the last wait was short, so that who waits for long leaves the processor to others.
    """

    def __init__(self) -> None:
        self.pays, self.began = True, 0.0

    def attempts(self) -> Iterator[None]:
        """Go round while it pays; other processes may run in between."""
        self.began = perf_counter()
        while self.pays:
            yield
            os.sched_yield()
            self.pays = perf_counter() - self.began < _SPIN_SECONDS

    def slept(self) -> None:
        """Note that what was awaited came only while asleep."""
        self.pays = perf_counter() - self.began < _SPIN_SECONDS


class Plain:
    """A TCP connection as it is."""

    def __init__(self, connection: socket.socket) -> None:
        _tune(connection)
        # Blocking, with a time limit that the system keeps: a read is one call, without a poll before it.
        connection.settimeout(None)
        self._socket, self._seconds, self._spinning = connection, 0.0, _Spinning()

    def write(self, parts: Sequence[bytes | memoryview]) -> int:
        """Send what goes without waiting."""
        try:
            return self._socket.sendmsg(parts[:_PARTS_AT_ONCE], (), _NO_WAIT)
        except BlockingIOError:
            return 0

    def read(self, view: memoryview, seconds: float) -> int:
        """Receive what there is."""
        if not seconds:
            return self._receive(view, socket.MSG_DONTWAIT)
        for _ in self._spinning.attempts():
            if count := self._receive(view, socket.MSG_DONTWAIT):
                return count
        if seconds != self._seconds:
            limit = struct.pack("ll", int(seconds), max(1, int(seconds % 1 * 1e6)))
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
            self._seconds = seconds
        count = self._receive(view, 0)
        self._spinning.slept()
        return count

    def _receive(self, view: memoryview, flags: int) -> int:
        try:
            count = self._socket.recv_into(view, min(len(view), _AT_ONCE), flags)
        except BlockingIOError:
            return 0
        if not count:
            raise EOFError
        return count

    def wait(self, seconds: float, writing: Sequence[Self], *, reading: bool = True) -> None:
        """Wait for bytes to read, or room to write."""
        _wait(self._socket if reading else None, [other._socket for other in writing], seconds)

    def receive_ahead(self) -> None:
        """Give the socket a wider window."""
        _widen(self._socket)

    def ready(self) -> bool:
        """Nothing comes first."""
        return True

    def ends(self) -> tuple[str, str]:
        """Return the addresses and ports of the two sockets; on loopback nothing translates them."""
        return _text(self._socket.getsockname()), _text(self._socket.getpeername())

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class Encrypted:
    """A TCP connection under TLS with certificates on both sides."""

    def __init__(self, connection: ssl.SSLSocket) -> None:
        _tune(connection)
        connection.settimeout(0)
        self._socket, self._done = connection, False

    def write(self, parts: Sequence[bytes | memoryview]) -> int:
        """Send the records that go without waiting; one that went in part is known to TLS by its length, and kept."""
        sent = 0
        for record in _records(parts):
            try:
                sent += self._socket.send(record)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                break
        return sent

    def read(self, view: memoryview, seconds: float) -> int:
        """Receive what there is."""
        for wait in (seconds, 0.0):
            try:
                count = self._socket.recv_into(view[:_AT_ONCE])
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                if wait:
                    _wait(self._socket, [], wait)
                continue
            except ssl.SSLEOFError as error:
                raise EOFError from error
            if not count:
                raise EOFError
            return count
        return 0

    def wait(self, seconds: float, writing: Sequence[Self], *, reading: bool = True) -> None:
        """Wait for bytes to read, or room to write."""
        if not (reading and self._socket.pending()):
            _wait(self._socket if reading else None, [other._socket for other in writing], seconds)

    def receive_ahead(self) -> None:
        """Give the socket a wider window."""
        _widen(self._socket)

    def ready(self) -> bool:
        """Go on with the handshake."""
        if not self._done:
            with suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                self._socket.do_handshake()
                self._done = True
        return self._done

    def ends(self) -> tuple[str, str]:
        """Nothing: the certificates say who is at the other end."""
        return "", ""

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def _text(address: tuple[str, int]) -> str:
    """Return an address of a socket as text."""
    return f"{address[0]} {address[1]}"


def _records(parts: Sequence[bytes | memoryview]) -> Iterator[memoryview]:
    """Cut the bytes of `parts` into records of TLS, all but the last of them full."""
    joined: list[memoryview] = []
    room = _RECORD_BYTES
    for whole in parts:
        part, start = memoryview(whole), 0
        while len(part) - start >= room:
            piece = part[start : start + room]
            yield memoryview(b"".join([*joined, piece])) if joined else piece
            start += room
            joined, room = [], _RECORD_BYTES
        if start < len(part):
            joined.append(part[start:])
            room -= len(part) - start
    if joined:
        yield memoryview(b"".join(joined))


def _wait(reading: socket.socket | None, writing: Sequence[socket.socket], seconds: float) -> None:
    """Wait until one socket has something to read or one of the others takes something."""
    poll, events = select.poll(), dict.fromkeys(writing, select.POLLOUT)
    if reading is not None:
        events[reading] = events.get(reading, 0) | select.POLLIN
    for waiting, event in events.items():
        poll.register(waiting, event)
    poll.poll(1000 * seconds)


def _tune(connection: socket.socket) -> None:
    """Send small messages at once, and notice a dead peer, whether something is on its way to it or not."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", _KEEPALIVE_SECONDS),
        ("TCP_KEEPINTVL", 1),
        ("TCP_KEEPCNT", _KEEPALIVE_SECONDS),
        ("TCP_USER_TIMEOUT", 4000 * _KEEPALIVE_SECONDS),
    ):
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _widen(connection: socket.socket) -> None:
    """Let more bytes come than have been read, as far as the system allows.

    Linux makes the receive buffer as large as what a program says it waits for (SO_RCVLOWAT), by its limit for TCP, and
    goes on adapting it; a size that is set (SO_RCVBUF) has a lower limit and stays.
    """
    with suppress(OSError):  # where a system does not have it, windows are as they were
        for size in (_AHEAD_BYTES, 1):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)
