"""Commands of the system, and the network namespaces that they are run in."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from relufit.errors import ClusterError

_SECONDS = 20
_CLONE_NEWNET = 0x40000000
NAMESPACES = Path("/run/netns")


def run(*command: str, stdin: str = "") -> str:
    """Run a command and return what it prints.

    Raises
    ------
    ClusterError
        If it fails, or takes too long.
    """
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ClusterError(f"`{' '.join(command)}` failed ({error})", where="cluster.emulated") from error
    if done.returncode:
        reason = " ".join(done.stderr.split()) or f"status {done.returncode}"
        raise ClusterError(f"`{' '.join(command)}` failed ({reason})", where="cluster.emulated")
    return done.stdout


def batch(program: str, lines: Sequence[str], host: str | None = None) -> None:
    """Run lines of `ip` or `tc`, in the namespace of a host or in that of the switch."""
    run(program, *(("-n", host) if host else ()), "-batch", "-", stdin="\n".join(lines) + "\n")


def told(*command: str) -> Any:  # noqa: ANN401 - any JSON
    """Run a command and return the JSON that it prints."""
    return json.loads(run(*command) or "[]")


def at(host: str) -> tuple[str, ...]:
    """Return what a command begins with that is run in the namespace of a host."""
    return ("nsenter", f"--net={NAMESPACES / host}")


def processes(host: str) -> list[int]:
    """Return the processes in the namespace of a host."""
    wanted, found = (NAMESPACES / host).stat().st_ino, []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "ns/net").stat().st_ino == wanted:
                    found.append(int(entry.name))
            except OSError:  # it has ended
                continue
    return found


@contextmanager
def inside(host: str) -> Iterator[None]:
    """Let this thread open sockets and files of the network of a host; they stay there afterwards."""
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(NAMESPACES / host, os.O_RDONLY)
    try:
        _enter(there)
        try:
            yield
        finally:
            _enter(here)
    finally:
        os.close(here)
        os.close(there)


def _enter(namespace: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.setns(namespace, _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
