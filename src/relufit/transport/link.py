"""Links: frames over a blocking TCP socket, with deadlines, counted."""

from __future__ import annotations

import hmac
import ipaddress
import socket
import ssl
from collections.abc import Callable
from functools import partial
from time import monotonic, perf_counter

from relufit.errors import TransportError
from relufit.transport.frames import HEADER_BYTES, Header, Kind, check, pack, unpack

TOKEN_BYTES = 32
_POLL_SECONDS = 1.0
_KEEPALIVE_SECONDS = 5
_GREETING_SECONDS = 5.0


def is_loopback(host: str) -> bool:
    """Tell whether nobody outside this machine can reach `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Link:
    """One end of a connection between two ranks.

    Parameters
    ----------
    connection : socket
        A connected socket; the link owns it.
    run : int
        The number that every frame must carry.
    peer : str
        How messages call the other end.
    deadline : float
        Seconds within which every frame must arrive or be taken.
    wanted : callable
        Asked every second while waiting whether the run is still wanted; the wait ends with an error if not.
    """

    def __init__(
        self, connection: socket.socket, run: int, peer: str, *, deadline: float, wanted: Callable[[], bool]
    ) -> None:
        _tune(connection)
        self._socket, self._run, self.peer = connection, run, peer
        self._deadline, self._wanted = deadline, wanted
        self._header, self._body = bytearray(HEADER_BYTES), bytearray()
        self.payload_bytes_received = self.frame_bytes_received = 0
        self.waited = self.moved = 0.0

    def send(
        self,
        kind: Kind,
        body: bytes = b"",
        *,
        rank: int = 0,
        iteration: int = 0,
        notes: tuple[float, float, float] = (0.0, 0.0, 0.0),
    ) -> None:
        """Send a frame; returns when the system has taken all of it.

        Raises
        ------
        TransportError
            If the peer is gone or takes nothing before the deadline.
        """
        began = perf_counter()
        view = memoryview(pack(kind, rank, self._run, iteration, body, notes) + body)
        end = monotonic() + self._deadline
        while view:
            view = view[self._attempt(partial(self._socket.send, view), end) :]
        self.moved += perf_counter() - began

    def receive(self, kind: Kind, limit: int, *, iteration: int = 0) -> tuple[Header, memoryview]:
        """Return the next frame, which must be of that kind and iteration; its body is good until the next call.

        A frame of kind STOP is returned too, whatever was asked for.

        Raises
        ------
        TransportError
            If the peer is gone, silent beyond the deadline, or sends anything else.
        """
        began = perf_counter()
        self._fill(memoryview(self._header))
        came = perf_counter()
        header = unpack(self._header, limit)
        if len(self._body) < header.length:
            self._body = bytearray(header.length)
        body = memoryview(self._body)[: header.length]
        self._fill(body)
        check(self._header, body, header.checksum)
        self.frame_bytes_received += HEADER_BYTES + header.length
        self.waited += came - began
        self.moved += perf_counter() - came
        if header.run != self._run:
            raise TransportError("a frame of another run", where=self.peer)
        if header.kind is not Kind.STOP and (header.kind, header.iteration) != (kind, iteration):
            raise TransportError(
                f"{header.kind.name} of iteration {header.iteration} where {kind.name} of {iteration} was due",
                where=self.peer,
            )
        if header.kind in (Kind.GRADIENT, Kind.MOMENTS):
            self.payload_bytes_received += header.length
        return header, body

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _fill(self, view: memoryview) -> None:
        end = monotonic() + self._deadline
        while view:
            count = self._attempt(partial(self._socket.recv_into, view), end)
            if not count:
                raise TransportError("closed the connection", where=self.peer)
            view = view[count:]

    def _attempt(self, action: Callable[[], int], end: float) -> int:
        while True:
            try:
                return action()
            except (TimeoutError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                if not self._wanted():
                    raise TransportError("the run was cancelled", where=self.peer) from None
                if monotonic() > end:
                    raise TransportError(
                        f"no answer within {self._deadline:g} s",
                        where=self.peer,
                        remedy="look at that machine's log",
                    ) from None
            except OSError as error:
                raise TransportError(f"the connection broke ({error})", where=self.peer) from error


def _tune(connection: socket.socket) -> None:
    connection.settimeout(_POLL_SECONDS)
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


class Listener:
    """A listening socket that lets in the ranks of one run.

    Parameters
    ----------
    host : str
        Address to listen on.
    context : ssl.SSLContext, optional
        For TLS with certificates on both sides; without it only loopback is listened on.

    Raises
    ------
    TransportError
        If `host` can be reached from other machines and there is no TLS.
    """

    def __init__(self, host: str, context: ssl.SSLContext | None) -> None:
        if context is None and not is_loopback(host):
            raise TransportError(
                "gradients would travel unprotected between machines",
                where=host,
                remedy="start the Dask cluster with TLS (security=), or on 127.0.0.1",
            )
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, 0), family=family, backlog=512)
        self._socket.settimeout(_POLL_SECONDS)
        self._context = context
        self.address: tuple[str, int] = self._socket.getsockname()[:2]

    def accept_ranks(
        self, count: int, run: int, token: bytes, *, deadline: float, wanted: Callable[[], bool]
    ) -> list[Link]:
        """Return a link to each of `count` ranks, in their order; strangers are turned away.

        Raises
        ------
        TransportError
            If they are not all there before the deadline.
        """
        links: dict[int, Link] = {}
        try:
            self._let_in(links, count, run, token, deadline, wanted)
        except BaseException:
            for link in links.values():
                link.close()
            raise
        return [links[rank] for rank in range(count)]

    def _let_in(
        self,
        links: dict[int, Link],
        count: int,
        run: int,
        token: bytes,
        deadline: float,
        wanted: Callable[[], bool],
    ) -> None:
        """Add the ranks to `links` as they come."""
        end = monotonic() + deadline
        while len(links) < count:
            if not wanted():
                raise TransportError("the run was cancelled")
            if monotonic() > end:
                missing = sorted(set(range(count)) - set(links))
                raise TransportError(f"ranks {missing} did not come within {deadline:g} s")
            try:
                connection, _ = self._socket.accept()
            except TimeoutError:
                continue
            link = self._greet(connection, count, run, token, deadline, wanted)
            if link is not None:
                rank = int(link.peer.removeprefix("rank "))
                if rank in links:
                    link.close()
                else:
                    links[rank] = link

    def _greet(
        self,
        connection: socket.socket,
        count: int,
        run: int,
        token: bytes,
        deadline: float,
        wanted: Callable[[], bool],
    ) -> Link | None:
        try:
            connection.settimeout(_GREETING_SECONDS)
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True)
            link = Link(connection, run, "a new peer", deadline=_GREETING_SECONDS, wanted=wanted)
            header, body = link.receive(Kind.HELLO, TOKEN_BYTES)
            if not hmac.compare_digest(bytes(body), token) or header.rank >= count:
                raise TransportError("a peer without the secret of this run")
        except (TransportError, OSError):
            connection.close()
            return None
        return Link(connection, run, f"rank {header.rank}", deadline=deadline, wanted=wanted)

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()


def connect(
    address: tuple[str, int],
    rank: int,
    run: int,
    token: bytes,
    *,
    context: ssl.SSLContext | None,
    deadline: float,
    wanted: Callable[[], bool],
) -> Link:
    """Return a rank's link to the master that listens at `address`.

    Raises
    ------
    TransportError
        If nobody answers there.
    """
    try:
        connection = socket.create_connection(address, timeout=deadline)
        if context is not None:
            connection = context.wrap_socket(connection, server_hostname=address[0])
    except OSError as error:
        raise TransportError(f"cannot reach the master ({error})", where=f"{address[0]}:{address[1]}") from error
    link = Link(connection, run, "the master", deadline=deadline, wanted=wanted)
    try:
        link.send(Kind.HELLO, token, rank=rank)
    except BaseException:
        link.close()
        raise
    return link
