"""The Dask processes: a scheduler at the switch, and on each host a worker with its nanny."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from relufit.clusters.emulated.namespaces import inside, processes
from relufit.clusters.emulated.network import SWITCH, data_address
from relufit.clusters.settings import INHERITED, QUIET, serialized
from relufit.errors import ClusterError
from relufit.transport.protection import CLEAR, FRAMES_VARIABLE
from relufit.transport.slot import SLOT

#: In memory, and in these namespaces alone: it is gone with them.
FOLDER = Path("/run/relufit")
SCHEDULER_PORT = 8786
_ENDING_SECONDS, _TOLD_LINES = 5.0, 12


class Hosts:
    """What runs on the hosts.

    Parameters
    ----------
    secrets : mapping
        Certificates and keys by what Dask's options call them.
    clear : bool
        Whether ranks send their frames in the clear, although Dask's own connections are encrypted.
    """

    def __init__(self, secrets: Mapping[str, str], *, clear: bool) -> None:
        self._options = [word for name, text in secrets.items() for word in (f"--{name}", _kept(name, text))]
        self._environment = {
            **os.environ,
            INHERITED: serialized(QUIET),
            **({FRAMES_VARIABLE: CLEAR} if clear else {}),
        }

    def start_scheduler(self) -> subprocess.Popen[bytes]:
        """Start the scheduler."""
        options = ["--host", SWITCH, "--port", str(SCHEDULER_PORT), "--protocol", "tls", "--no-show"]
        return self._start("scheduler", "dask_scheduler", [*options, "--dashboard-address", f"{SWITCH}:0"])

    def start_worker(self, host: str) -> subprocess.Popen[bytes]:
        """Start the worker of a host and its nanny: one thread, one slot."""
        options = {
            "--host": data_address(host),
            "--name": host,
            "--nworkers": "1",
            "--nthreads": "1",
            "--resources": f"{SLOT}=1",
            "--memory-limit": "0",
            "--dashboard-address": f"{data_address(host)}:0",
            "--local-directory": str(_private(FOLDER / "local" / host)),
        }
        words = [word for pair in options.items() for word in pair]
        scheduler = f"tls://{SWITCH}:{SCHEDULER_PORT}"
        with inside(host):
            return self._start(host, "dask_worker", [scheduler, "--no-dashboard", *words])

    def kill(self, host: str) -> None:
        """Kill every process of a host.

        Raises
        ------
        ClusterError
            If one is left after a while.
        """
        end = time.monotonic() + _ENDING_SECONDS
        while pids := processes(host):
            for process in pids:
                try:
                    os.kill(process, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            reap()
            if time.monotonic() > end:
                raise ClusterError(f"processes {pids} of {host} do not end", where="cluster.emulated")
            time.sleep(0.01)

    def logs(self, name: str) -> str:
        """Return the last that a host, or the ``scheduler``, has written."""
        path = FOLDER / f"{name}.log"
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
        return "\n".join(lines[-_TOLD_LINES:])

    def _start(self, name: str, program: str, words: list[str]) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.{program}", *words, *self._options]
        with (_private(FOLDER) / f"{name}.log").open("ab") as log:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment)


def reap() -> None:
    """Bury the processes that have ended, which all are children of the first one."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _private(folder: Path) -> Path:
    """Make a folder that its owner alone can enter, and return it."""
    for path in (*reversed(folder.relative_to("/run").parents), folder.relative_to("/run")):
        (Path("/run") / path).mkdir(exist_ok=True, mode=0o700)
    return folder


def _kept(name: str, text: str) -> str:
    """Write a secret where nobody else can read it, and return its path."""
    path = _private(FOLDER) / f"{name}.pem"
    with open(path, "x", encoding="ascii", opener=lambda p, flags: os.open(p, flags, 0o600)) as file:
        file.write(text)
    return str(path)
