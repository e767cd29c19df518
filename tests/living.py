"""Processes that may end at any moment while they are looked at."""

from __future__ import annotations

import psutil


def alive(process: psutil.Process) -> bool:
    """Tell whether a process runs; one that has ended and is only awaited does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def command_line(process: psutil.Process) -> list[str]:
    """Return the words of its command line; none of a process that has ended."""
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []
