"""Network namespaces: made, entered by a thread, and what runs in them."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

NAMESPACES = Path("/run/netns")
#: How TCP between hosts finds its pace, whatever the machine has: every Linux lets everybody choose Reno. With BBR,
#: which estimates a rate for each connection, short messages to three peers at once took up to 1.3 times as long.
CONGESTION_CONTROL = "reno"
_CLONE_NEWNET = 0x40000000
_MS_BIND = 4096


def mount_memory(path: str) -> None:
    """Mount a file system in memory, which its owner alone can enter, over a folder of this mount namespace.

    Raises
    ------
    OSError
        If the system refuses it.
    """
    _checked("mount", b"tmpfs", path.encode(), b"tmpfs", 0, b"mode=0700")


def make(host: str) -> None:
    """Make the network namespace of a host; it stays until the mount namespace around it ends.

    Raises
    ------
    OSError
        If the system refuses it.
    """
    NAMESPACES.mkdir(parents=True, exist_ok=True)
    path = NAMESPACES / host
    path.touch()
    with _back():
        _checked("unshare", _CLONE_NEWNET)
        _checked("mount", b"/proc/thread-self/ns/net", bytes(path), None, _MS_BIND, None)


@contextmanager
def inside(host: str) -> Iterator[None]:
    """Let this thread open sockets and files of the network of a host, which stay there, and start processes in it."""
    there = os.open(NAMESPACES / host, os.O_RDONLY)
    try:
        with _back():
            _checked("setns", there, _CLONE_NEWNET)
            yield
    finally:
        os.close(there)


def configure_network() -> None:
    """Have the network of this thread route loopback addresses, send no packet of IPv6, and run TCP with Reno.

    Raises
    ------
    OSError
        If the system refuses it.
    """
    Path("/proc/sys/net/ipv4/conf/all/route_localnet").write_text("1", encoding="ascii")
    Path("/proc/sys/net/ipv4/tcp_congestion_control").write_text(CONGESTION_CONTROL, encoding="ascii")
    for part in ("all", "default"):
        with suppress(FileNotFoundError):  # a kernel without IPv6
            Path(f"/proc/sys/net/ipv6/conf/{part}/disable_ipv6").write_text("1", encoding="ascii")


def processes(host: str) -> list[int]:
    """Return the processes in the namespace of a host."""
    wanted, pids = (NAMESPACES / host).stat().st_ino, []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "ns/net").stat().st_ino == wanted:
                    pids.append(int(entry.name))
            except OSError:  # it has ended
                continue
    return pids


@contextmanager
def _back() -> Iterator[None]:
    """Bring this thread back to the network namespace that it is in."""
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        try:
            yield
        finally:
            _checked("setns", here, _CLONE_NEWNET)
    finally:
        os.close(here)


def _checked(function: str, *arguments: object) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, function)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{function}: {os.strerror(number)}")
