"""Failures in a few lines: what a job said last, and what Snakemake's own errors ask of a person."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterable
from pathlib import Path

_TAIL_BYTES, _TAIL_LINES = 16384, 15
#: How Snakemake says that a command has failed; the log of the job says why.
_STATUS = re.compile(r"returned non-zero exit status (\d+)|died with <Signals\.(\w+)")
#: Where Snakemake thinks that an error is: in the rules, which is not where a wrong configuration is mended.
_LOCATION = re.compile(r"\A\w+(?: in rule \S+)?(?: in file \".*\", line \d+)?:\n")
_TRACE = re.compile(r"\n {2}File \".*\", line \d+, in .*\Z", re.DOTALL)
_LOCKED = (
    "{folder}: is locked by another run of the workflow, or by one that was killed; if none is at work here, remove "
    "the lock with `snakemake --unlock` (`.venv/bin/snakemake --unlock` where the environment is not active), "
    "then start again"
)
_KILLED = "was killed ({signal}), often because memory ran out; see the log, close other programs, or use fewer --cores"


def tail(path: str) -> list[str]:
    """Return the last lines of a log, without empty and repeated ones; none if it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    lines = [line.rstrip() for piece in text.splitlines() for line in piece.split("\r")]
    return [line for line in dict.fromkeys(lines) if line][-_TAIL_LINES:]


def status_of(message: str) -> str | None:
    """Return how a command ended, from what Snakemake says of it; None if this is about no command that failed."""
    match = _STATUS.search(message)
    if match is None:
        return None
    code, name = match.groups()
    if name or int(code) > 128:
        return _KILLED.format(signal=name or f"signal {int(code) - 128}")
    return f"ended with exit status {code}"


def by_interrupt(message: str) -> bool:
    """Tell whether Snakemake says that an interrupt has ended a command."""
    match = _STATUS.search(message)
    return match is not None and (match[2] == "SIGINT" or match[1] == str(128 + signal.SIGINT))


def of_job(name: str, logs: Iterable[str], status: str | None) -> list[str]:
    """Return the lines on a job that failed: its name, the end of its log, how it ended if that does not say it.

    Parameters
    ----------
    name : str
    logs : iterable of str
        The paths of its logs.
    status : str or None
        What `status_of` found.
    """
    lines = [f"FAILED {name}"]
    for log in logs:
        last = tail(log)
        lines += [f"    {line}" for line in last]
        if status and not any(line.startswith("relufit: error:") for line in last):
            lines.append(f"    the command {status}")
        lines.append(f"    (the end of {log})" if last else f"    ({log} is empty or missing)")
    return lines if len(lines) > 1 else [*lines, f"    the command {status or 'left no log'}"]


def of_snakemake(message: str, exception: str) -> str:
    """Return an error of Snakemake itself without the places in the rules that it names.

    Parameters
    ----------
    message : str
        As Snakemake prints it.
    exception : str
        The name of its class.
    """
    if exception == "LockException":
        return f"relufit: error: {_LOCKED.format(folder=Path.cwd())}"
    if exception == "WorkflowError" and _LOCATION.match(message):
        return f"relufit: error: {_TRACE.sub('', _LOCATION.sub('', message)).strip()}"
    return message
