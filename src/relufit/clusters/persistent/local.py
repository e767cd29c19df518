"""Processes on this machine that outlive the command: a Dask scheduler and its workers, on loopback, with TLS."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relufit.clusters.certificates import Pair
from relufit.clusters.launch import SCRATCH_VARIABLE
from relufit.clusters.limits import check_descriptors
from relufit.clusters.persistent.base import Member, Up
from relufit.clusters.persistent.state import Folder
from relufit.clusters.settings import (
    INHERITED,
    WITHOUT_HTTP,
    defaults_while_open,
    environment_without_dask,
    serialized,
)
from relufit.clusters.workers import workers_of
from relufit.errors import ClusterError
from relufit.transport.slot import SLOT

if TYPE_CHECKING:
    import psutil
    from distributed import Client

_KEY = "cluster.local"
#: The variable in a member's environment by which it is found.
_MARK = "RELUFIT_CLUSTER_MEMBER"
#: Seconds without a task after which a cluster that was forgotten ends; and without a scheduler, for a worker.
_IDLE_SECONDS, _ORPHAN_SECONDS = 3600, 60
#: Seconds to start, and for a process to end before it is killed.
_START_SECONDS, _END_SECONDS = 60.0, 5.0
_POLLING_SECONDS = 0.1
#: What a nanny says of a worker that does not start, before it tries again and again.
_FAILURES = ("Failed to start process", "Failed to initialize worker", "Failed to start worker")
_ROLES = {"dask_scheduler": "scheduler", "dask_worker": "worker"}


class LocalProcesses:
    """The kind ``local``, standing."""

    def place(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return nothing: it is here."""
        return {}

    def up(self, options: Mapping[str, Any], ranks: int, name: str, pair: Pair, folder: Folder) -> Up:
        """Start a scheduler, a worker for each rank and one for the master."""
        from distributed import Client

        workers, tls = ranks + 1, folder.tls()
        check_descriptors(workers, _KEY)
        folder.scratch.mkdir(mode=0o700)
        try:
            common = ["--scheduler-file", str(folder.scheduler_file), "--host", "127.0.0.1", "--no-dashboard"]
            common += ["--dashboard-address", "127.0.0.1:0"]  # where it answers over HTTP in spite of that
            common += ["--protocol", "tls", "--tls-ca-file", str(tls.ca_file)]
            common += ["--tls-cert", str(tls.cert), "--tls-key", str(tls.key)]
            scheduler = ["dask_scheduler", *common, "--port", "0", "--idle-timeout", f"{_IDLE_SECONDS}s"]
            process = _start(scheduler, name, folder)
            address = _address(folder.scheduler_file, process, folder.path)
            own = ["--nworkers", str(workers), "--nthreads", "1", "--resources", f"{SLOT}=1"]
            own += ["--death-timeout", str(_ORPHAN_SECONDS), "--local-directory", str(folder.scratch)]
            own += ["--memory-limit", "0"]  # a shard that is mapped is counted as memory, and is none
            process = _start(["dask_worker", *common, *own], name, folder)
            security = tls.security()
            with defaults_while_open(), Client(address, security=security, timeout=_START_SECONDS) as client:
                _await_workers(client, workers, process, folder.path)
        except (OSError, TimeoutError) as error:
            logs = _last_lines(folder.path)
            self.down(name, {})
            raise ClusterError(
                f"the processes have not started ({error or type(error).__name__}) {logs}".rstrip(),
                where=_KEY,
                remedy="mend that, ask for fewer workers, or free some memory",
            ) from error
        except BaseException:
            self.down(name, {})
            raise
        return Up(address, workers)

    def members(self, name: str | None, place: Mapping[str, Any]) -> list[Member]:
        """Return the processes of this user that bear the mark."""
        members = []
        for process, cluster in _marked(name):
            try:
                words = process.cmdline()
                role = next((role for part, role in _ROLES.items() if any(part in word for word in words)), "child")
                member = Member(str(process.pid), cluster, role, "process", process.status(), process.create_time())
            except _psutil().Error:
                continue
            members.append(member)
        return sorted(members, key=lambda member: (member.since, member.id))

    def down(self, name: str, place: Mapping[str, Any]) -> int:
        """End the processes that bear the mark."""
        psutil = _psutil()
        deadline, ended = time.monotonic() + 3 * _END_SECONDS, set()
        while left := [process for process, _ in _marked(name)]:
            if time.monotonic() > deadline:
                pids = ", ".join(str(process.pid) for process in left)
                raise ClusterError(f"processes are left: {pids}", where=_KEY, remedy="end them by hand")
            ended |= {process.pid for process in left}
            for end in ("terminate", "kill"):
                for process in left:
                    with _gone():
                        getattr(process, end)()
                _, left = psutil.wait_procs(left, timeout=_END_SECONDS)
        return len(ended)

    def price(self, member_type: str, place: Mapping[str, Any]) -> float | None:
        """Return zero: this machine is paid for."""
        return 0.0


def _psutil() -> Any:  # noqa: ANN401 - comes with Dask
    import psutil

    return psutil


def _gone() -> Any:  # noqa: ANN401
    from contextlib import suppress

    return suppress(_psutil().Error)


def _marked(name: str | None) -> list[tuple[psutil.Process, str]]:
    """Return the processes with the mark of a cluster, or of any, and the cluster's name."""
    processes = []
    for process in _psutil().process_iter():
        with _gone():
            mark = process.environ().get(_MARK)
            alive = process.status() != _psutil().STATUS_ZOMBIE
            if mark and alive and name in (None, mark) and process.pid != os.getpid():
                processes.append((process, mark))
    return processes


def _start(command: Sequence[str], name: str, folder: Folder) -> subprocess.Popen[bytes]:
    module, *options = command
    settings = {_MARK: name, INHERITED: serialized(WITHOUT_HTTP), SCRATCH_VARIABLE: str(folder.scratch)}
    with (folder.path / f"{module}.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "relufit.clusters.launch", f"distributed.cli.{module}", *options],
            env=environment_without_dask(**settings),
            cwd=folder.path,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _address(path: Path, process: subprocess.Popen[bytes], folder: Path) -> str:
    """Return the address that the scheduler writes down when it listens."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise OSError("the scheduler has ended")
        try:
            return str(json.loads(path.read_text(encoding="utf-8"))["address"])
        except (FileNotFoundError, ValueError, KeyError):
            time.sleep(0.05)
    raise TimeoutError("the scheduler does not listen")


def _await_workers(client: Client, count: int, process: subprocess.Popen[bytes], folder: Path) -> None:
    """Wait until all workers are there.

    Raises
    ------
    OSError
        If their process ends, or one of them fails to start.
    TimeoutError
        If they are not there in time.
    """
    deadline = time.monotonic() + _START_SECONDS
    while len(workers_of(client, seconds=_START_SECONDS, where=_KEY)) < count:
        if process.poll() is not None:
            raise OSError("the process of the workers has ended")
        if any(sign in (folder / "dask_worker.log").read_text(errors="replace") for sign in _FAILURES):
            raise OSError("a worker has failed")
        if time.monotonic() > deadline:
            raise TimeoutError(f"not all workers were there within {_START_SECONDS:g} s")
        time.sleep(_POLLING_SECONDS)


def _last_lines(folder: Path) -> str:
    texts = [path.read_text(errors="replace").strip() for path in sorted(folder.glob("dask_*.log"))]
    return " / ".join(text.splitlines()[-1] for text in texts if text)
