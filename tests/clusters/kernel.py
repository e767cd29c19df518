"""What the kernel says of sockets and processes on this machine."""

from __future__ import annotations

import ipaddress
import socket
import sys
from contextlib import suppress
from pathlib import Path

import psutil


def _host(written: str) -> str:
    number = bytes.fromhex(written)
    words = [number[start : start + 4][:: -1 if sys.byteorder == "little" else 1] for start in range(0, len(number), 4)]
    return socket.inet_ntop(socket.AF_INET if len(number) == 4 else socket.AF_INET6, b"".join(words))


def listening(processes: list[psutil.Process]) -> list[tuple[str, int]]:
    """Where some processes listen for TCP, by the kernel's own table."""
    inodes = set()
    for process in processes:
        for descriptor in Path(f"/proc/{process.pid}/fd").iterdir():
            with suppress(OSError):  # it has just been closed
                inodes.add(str(descriptor.readlink()))
    addresses = []
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and f"socket:[{words[9]}]" in inodes:
                host, port = words[1].split(":")
                addresses.append((_host(host), int(port, 16)))
    return addresses


def assert_on_loopback(processes: list[psutil.Process]) -> None:
    """Some processes listen, and nowhere but on loopback."""
    where = listening(processes)
    assert where
    assert not [host for host, _ in where if not ipaddress.ip_address(host).is_loopback]
