"""A Dask cluster of processes on this machine, on loopback: one process a rank and one for the master."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from relufit.clusters import certificates
from relufit.clusters.certificates import Pair
from relufit.clusters.limits import check_descriptors
from relufit.clusters.scratch import private_folder
from relufit.clusters.settings import default_settings, defaults_while_open, environment_without_dask
from relufit.clusters.versions import check_versions
from relufit.clusters.workers import DaskCluster, close_within, reached, wait_for_slots
from relufit.errors import ClusterError
from relufit.transport.protection import CLEAR, FRAMES_VARIABLE

_KEY = "cluster.local"
# On a busy machine processes take long to start, and to end.
_STARTING_SECONDS = _CLOSING_SECONDS = 60.0
_REMEDY = "ask for fewer ranks, free some memory, or see what this machine is busy with"
#: The program of the process that starts and keeps the others, see `relufit.clusters.local_processes`. The modules that
#: it imports are those of this process, whatever is in its working folder, and nothing of a user's script is imported.
_PROGRAM = """
import json, sys
order = json.loads(sys.stdin.buffer.readline())
sys.path[:] = order["path"]
from relufit.clusters.local_processes import main
main(order)
"""


@contextmanager
def open_local(options: Mapping[str, Any], workers: int) -> Iterator[DaskCluster]:
    """Start the processes, and stop them whatever happens.

    Raises
    ------
    ClusterError
        If they do not start, or not in time.
    """
    from distributed import Client

    count = workers + 1
    check_descriptors(count, _KEY)
    pair = certificates.make("relufit-local")
    with private_folder() as folder, defaults_while_open(), _started(folder, pair, count) as address:
        with reached(_KEY):
            client = Client(address, security=pair.security(), timeout=_STARTING_SECONDS)
        try:
            wait_for_slots(client, enough=count, wanted=count, seconds=_STARTING_SECONDS, where=_KEY, remedy=_REMEDY)
            check_versions(client, where=_KEY, seconds=_STARTING_SECONDS)
            yield DaskCluster(client, {"kind": "local", "processes": count})
        finally:
            close_within(_CLOSING_SECONDS, client.close)


@contextmanager
def _started(folder: Path, pair: Pair, count: int) -> Iterator[str]:
    """Start the processes, yield the scheduler's address, and end them."""
    end = time.monotonic() + _STARTING_SECONDS
    reading, writing = os.pipe()
    # What it says goes into a file: whoever reads the output of this program need not wait for its processes to end.
    with os.fdopen(reading, "rb") as answers, (folder / "log").open("wb") as log:
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", _PROGRAM],
                env=_environment(),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=[writing],
                # An interrupt from the terminal is for this process, which then ends the others.
                start_new_session=True,
            )
        finally:
            os.close(writing)
        assert process.stdin is not None
        try:
            with suppress(BrokenPipeError):  # then the log says why
                process.stdin.write(json.dumps(_order(folder, pair, count, writing)).encode() + b"\n")
                process.stdin.flush()
            yield _address(answers, end, folder)
        finally:
            _end(process)


def _environment() -> dict[str, str]:
    before: dict[str, Any] = default_settings()["distributed"]["nanny"]["pre-spawn-environ"]
    # As Dask's nannies have it, but from the first process on: most of it is read when a process begins.
    wanted = {name: str(value) for name, value in before.items()} | {"PYTHONHASHSEED": "6640"}
    kept = {name: os.environ[name] for name in before if name in os.environ}
    return environment_without_dask(**wanted, **{FRAMES_VARIABLE: CLEAR}) | kept


def _order(folder: Path, pair: Pair, count: int, answers: int) -> dict[str, Any]:
    """Return what the process is told; a key is seen neither on a command line nor in a variable."""
    return {
        "path": [entry or str(Path.cwd()) for entry in sys.path],
        "folder": str(folder),
        "certificate": pair.certificate,
        "key": pair.key,
        "count": count,
        "answers": answers,
        "parent": os.getpid(),
    }


def _address(answers: IO[bytes], end: float, folder: Path) -> str:
    """Return the address that the process tells when all others are there.

    Raises
    ------
    ClusterError
        If it tells of an error instead, ends, or says nothing in time.
    """
    poll = select.poll()
    poll.register(answers, select.POLLIN)
    if not poll.poll(1000 * max(0.0, end - time.monotonic())):
        raise ClusterError(f"the processes have not started within {_STARTING_SECONDS:g} s", where=_KEY, remedy=_REMEDY)
    line = answers.readline()
    message: dict[str, str] = json.loads(line) if line else {}
    if "address" in message:
        return message["address"]
    reason = message.get("error") or "one has ended"
    last = _last_line(folder / "log")
    raise ClusterError(
        f"the processes do not start ({reason})" if not last else f"the processes do not start ({reason}: {last})",
        where=_KEY,
        remedy="mend that, ask for fewer ranks, or free some memory",
    )


def _last_line(log: Path) -> str:
    """Return the last line of a log, which of a traceback is the error."""
    with suppress(OSError):
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1] if lines else ""
    return ""


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process, which ends the others; what does not end in time is killed, and all others with it."""
    assert process.stdin is not None
    with suppress(OSError):
        process.stdin.write(b"end\n")
        process.stdin.flush()
    with suppress(OSError):
        process.stdin.close()
    try:
        process.wait(_CLOSING_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
