"""Connections of Dask without TLS, only to processes of this user, or of root, on this machine.

What a scheduler answers is a pickle, and a pickle runs code. `own+tcp://` is Dask's `tcp://` with a look at the
kernel's table between connecting and the first byte; it looks at the connection itself, so that it does not matter who
has listened at the address before.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

from relufit.errors import ClusterError
from relufit.transport.owners import owner_of_peer

_KEY = "cluster.address"
#: What else there is.
WITH_TLS = (
    "start scheduler and workers with --tls-ca-file, --tls-cert and --tls-key, use the tls:// address, "
    f"and give the files as {_KEY}.tls"
)
#: The scheme of addresses whose connections are looked at.
SCHEME = "own+tcp"
_LOOKING_SECONDS, _PAUSE_SECONDS = 10.0, 0.01


class StrangerError(ClusterError):
    """Somebody else has answered; no OSError, after which Dask would connect again and again."""


def trusted() -> set[int]:
    """Return the users to whom this one listens: itself, and root, who can do everything anyway."""
    return {os.getuid(), 0}


async def check_peer(connection: Any) -> None:  # noqa: ANN401 - a socket
    """Wait until a process has accepted a connection, and refuse it if that is not this user's or root's.

    Raises
    ------
    StrangerError
        If it is not, or nobody accepts.
    """
    end = time.monotonic() + _LOOKING_SECONDS
    while (user := owner_of_peer(connection)) is None:
        if time.monotonic() > end:
            raise StrangerError("nobody of this machine has accepted the connection", where=_KEY, remedy=WITH_TLS)
        await asyncio.sleep(_PAUSE_SECONDS)
    if user not in trusted():
        raise StrangerError(f"it belongs to another user ({user})", where=_KEY, remedy=WITH_TLS)


def register() -> None:
    """Let Dask know the scheme."""
    from distributed.comm import tcp
    from distributed.comm.registry import backends

    if SCHEME in backends:
        return

    class Connector(tcp.TCPConnector):  # type: ignore[misc]
        async def connect(self, address: str, deserialize: bool = True, **arguments: Any) -> Any:  # noqa: ANN401
            comm = await super().connect(address, deserialize, **arguments)
            try:
                await check_peer(comm.stream.socket)
            except BaseException:
                comm.abort()
                raise
            return comm

    class Backend(tcp.TCPBackend):  # type: ignore[misc]
        _connector_class = Connector

    backends[SCHEME] = Backend()
