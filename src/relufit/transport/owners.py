"""Whose the other end of a connection on this machine is, by the kernel's table of TCP sockets.

Only what is on this machine is in the table, and nobody can write there, so that a process on loopback is known by its
user before the first byte is exchanged.
"""

from __future__ import annotations

import ipaddress
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

_ESTABLISHED, _LISTENING = "01", "0A"
#: The tables of the network of this process; those of IPv6 have IPv4 addresses too, mapped.
_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
_WORD_BYTES = 4


def tables() -> str:
    """Return the lines of the kernel's tables, without their headings; empty where there are none."""
    lines: list[str] = []
    for path in _TABLES:
        try:
            lines += Path(path).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
    return "\n".join(lines)


def owner_of_connection(lines: str, near: tuple[str, int], far: tuple[str, int]) -> int | None:
    """Return the user who has the socket of an established connection.

    Parameters
    ----------
    lines : str
        Of the kernel's tables.
    near, far : (str, int)
        Address and port of the socket that is asked about, and of the other end.

    Returns
    -------
    user : int or None
        None if nobody has it: a socket that no process has accepted yet, or that its process has closed, has no inode,
        and is no longer told of as its user's.
    """
    here, there = set(_written(near)), set(_written(far))
    for words in _rows(lines):
        if words[1] in here and words[2] in there and words[3] == _ESTABLISHED and words[9] != "0":
            return int(words[7])
    return None


def owners_of_listener(lines: str, where: tuple[str, int]) -> set[int]:
    """Return the users who listen at an address, or at all addresses, with a port.

    Parameters
    ----------
    lines : str
        Of the kernel's tables.
    where : (str, int)
    """
    host, port = where
    wanted = {written for name in (host, "0.0.0.0", "::") for written in _written((name, port))}
    return {int(words[7]) for words in _rows(lines) if words[1] in wanted and words[3] == _LISTENING}


def _rows(lines: str) -> Iterator[list[str]]:
    return (words for words in (line.split() for line in lines.splitlines()) if len(words) > 9 and ":" in words[1])


def _written(address: tuple[str, int]) -> list[str]:
    """Return how the tables write an address: as it is, and mapped into IPv6 or out of it."""
    host = ipaddress.ip_address(address[0].partition("%")[0])
    if isinstance(host, ipaddress.IPv4Address):
        forms = [host.packed, b"\0" * 10 + b"\xff\xff" + host.packed]
    else:
        forms = [host.packed, *([host.ipv4_mapped.packed] if host.ipv4_mapped else [])]
    return [f"{_hexadecimal(packed)}:{address[1]:04X}" for packed in forms]


def _hexadecimal(packed: bytes) -> str:
    """Return an address in the table's form: each word of four bytes as a number of this machine."""
    words = (packed[start : start + _WORD_BYTES] for start in range(0, len(packed), _WORD_BYTES))
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)


def owner_of_peer(connection: socket.socket) -> int | None:
    """Return the user at the other end of a connection within this machine, None if nobody of this machine has it."""
    return owner_of_connection(tables(), connection.getpeername()[:2], connection.getsockname()[:2])
