"""The listener into the namespaces: connections to a port outside are passed on to the Dask scheduler inside.

The listening socket was made outside, and stays there whoever has it; so do the connections that it accepts. Only
those of the user who opened the cluster are passed on: the table of TCP connections, opened outside as well, tells
whose they are. Run as ``python -m ... LISTENING TABLE USER HOST PORT``.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from contextlib import suppress
from time import monotonic

from relufit.transport.owners import owner_of_connection

_AT_ONCE = 1 << 20
_PATIENCE_SECONDS = 60.0


def owner(table: int, near: tuple[str, int], far: tuple[str, int]) -> int | None:
    """Return whose the connection from `far` to `near` is, by the table of its network; None if nobody's any more."""
    os.lseek(table, 0, os.SEEK_SET)
    content = b""
    while part := os.read(table, _AT_ONCE):
        content += part
    return owner_of_connection(content.decode("ascii"), far, near)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(_AT_ONCE):
            writer.write(data)
            await writer.drain()
    with suppress(OSError, RuntimeError):
        writer.close()


async def _reach(target: tuple[str, int]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to the scheduler, which at the beginning may not be there yet."""
    end = monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return await asyncio.open_connection(*target)
        except ConnectionRefusedError:
            if monotonic() > end:
                raise
            await asyncio.sleep(0.05)


async def serve(listening: socket.socket, table: int, user: int, target: tuple[str, int]) -> None:
    """Pass connections on, for ever."""

    async def passed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        near, far = (writer.get_extra_info(name)[:2] for name in ("sockname", "peername"))
        if owner(table, near, far) != user:
            writer.transport.abort()
            return
        try:
            there, back = await _reach(target)
        except OSError:
            writer.transport.abort()
            return
        await asyncio.gather(_pump(reader, back), _pump(there, writer))

    async with await asyncio.start_server(passed, sock=listening) as server:
        await server.serve_forever()


if __name__ == "__main__":
    _listening, _table, _user, _host, _port = sys.argv[1:]
    asyncio.run(serve(socket.socket(fileno=int(_listening)), int(_table), int(_user), (_host, int(_port))))
