"""TCP sockets of one host, with TLS or on loopback alone: where connections arrive, and how they are made."""

from __future__ import annotations

import selectors
import socket
import ssl
from contextlib import suppress

from relufit.errors import TransportError
from relufit.transport.connections import Connection, Encrypted, Listener, Plain, is_loopback


def _check_loopback(host: str) -> None:
    if not is_loopback(host):
        raise TransportError(
            "gradients would travel unprotected between machines",
            where=host,
            remedy="start the Dask cluster with TLS (security=), or on 127.0.0.1",
        )


class _TcpListener:
    def __init__(self, host: str, context: ssl.SSLContext | None) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, 0), family=family, backlog=512)
        self._socket.setblocking(False)
        self._interruption, self._interrupter = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._interrupter.setblocking(False)
        for awaited in (self._socket, self._interruption):
            self._selector.register(awaited, selectors.EVENT_READ)
        self._context = context
        if context is not None:
            # A client that closes with tickets unread would have the system drop what it sent last.
            context.num_tickets = 0
        self.address: tuple[str, int] = self._socket.getsockname()[:2]

    def accept(self, seconds: float) -> Connection | None:
        self._selector.select(seconds)
        try:
            connection, _ = self._socket.accept()
        except (BlockingIOError, ConnectionError):
            return None
        try:
            if self._context is None:
                return Plain(connection)
            wrapped = self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
            return Encrypted(wrapped)
        except OSError:  # it is closed already
            connection.close()
            return None

    def interrupt(self) -> None:
        with suppress(OSError):  # it is closed, or was interrupted again and again
            self._interrupter.send(b"!")

    def close(self) -> None:
        self._selector.close()
        for each in (self._socket, self._interruption, self._interrupter):
            each.close()


class Tcp:
    """TCP sockets of one host.

    Parameters
    ----------
    host : str
        Address of this host that others reach it by.
    listening, connecting : ssl.SSLContext, optional
        For TLS with certificates on both sides; without them only loopback is used.

    Raises
    ------
    TransportError
        If `host` can be reached from other machines and there is no TLS.
    """

    def __init__(
        self, host: str, listening: ssl.SSLContext | None = None, connecting: ssl.SSLContext | None = None
    ) -> None:
        if listening is None or connecting is None:
            _check_loopback(host)
        self._host, self._listening, self._connecting = host, listening, connecting

    def listen(self) -> Listener:
        """Listen on a free port."""
        return _TcpListener(self._host, self._listening)

    def connect(self, address: tuple[str, int], seconds: float) -> Connection:
        """Connect, with the handshake of TLS where there is TLS."""
        if self._connecting is None:
            _check_loopback(address[0])
        connection = socket.create_connection(address, timeout=seconds)
        if self._connecting is None:
            return Plain(connection)
        try:
            encrypted = self._connecting.wrap_socket(connection, server_hostname=address[0])
        except BaseException:
            connection.close()
            raise
        return Encrypted(encrypted)
