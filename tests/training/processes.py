"""Ranks that are processes of a Dask cluster on this machine, and what happens to processes."""

from __future__ import annotations

import ctypes
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import dask
import psutil
from distributed import Client, LocalCluster, Nanny
from forked import FORKED, preload
from waiting import until

from relufit.training import tasks
from relufit.transport.connections import Plain
from relufit.transport.link import Link

#: Processes of the cluster that a module has of its own.
WORKERS = 4


@contextmanager
def local_cluster(workers: int, allowed_failures: int = 20) -> Iterator[LocalCluster]:
    """Processes with a slot each, which nannies start again.

    Some time after each loss of a worker, Dask's cluster looks whether it is back, and if it is just then being started
    again after a second loss, closes its nanny for good. So it must not look.
    """
    settings = {
        "distributed.scheduler.allowed-failures": allowed_failures,
        "distributed.deploy.lost-worker-timeout": "365d",
        **FORKED,
    }
    preload()
    with (
        dask.config.set(settings),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            resources={"slot": 1},
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        ) as started,
    ):
        yield started


def _state(dask_worker: Any) -> tuple[int, int, list[str]]:
    threads = [thread.name for thread in threading.enumerate() if "relufit" in thread.name]
    return len(tasks._HERE), dask_worker.state.executing_count, threads


def assert_nothing_left(client: Client) -> None:
    """No task or thread of a run is left on any worker."""
    until(lambda: all(state == (0, 0, []) for state in client.run(_state).values()), "a task or a thread is left")


def _connections() -> list[Plain]:
    """Return the connections of links in this process that a run sends over."""
    inner = [link._connection for link in _links()]
    return [connection for connection in inner if isinstance(connection, Plain) and connection._socket.fileno() >= 0]


def _links() -> list[Link]:
    """Return the links that functions which are running in this process have at hand.

    To look through all objects would disturb a thread that is just making one.
    """
    links: dict[int, Link] = {}
    for top in sys._current_frames().values():
        frame: FrameType | None = top
        while frame:
            for thing in list(frame.f_locals.values()):
                several = thing.values() if type(thing) is dict else thing if type(thing) is list else [thing]
                links.update({id(link): link for link in list(several) if isinstance(link, Link)})
            frame = frame.f_back
    return list(links.values())


def reset_connections() -> int:
    """Break the connections of all links in this process: the other ends are sent a reset."""
    libc, unspecified = ctypes.CDLL(None), bytes(16)
    connections = _connections()
    for connection in connections:
        libc.connect(connection._socket.fileno(), unspecified, len(unspecified))
    return len(connections)


def damage_next_frame() -> int:
    """Let each link in this process send, once, one bit that it should not."""
    connections = _connections()
    for connection in connections:

        def write(parts: Any, sender: Plain = connection) -> int:
            data = bytearray(b"".join(parts))
            data[-1] ^= 4
            del sender.write
            return sender.write([memoryview(data)])

        connection.write = write  # type: ignore[method-assign]
    return len(connections)


class Processes:
    """The processes of a cluster whose scheduler and nannies are in this process: nobody who hangs need be asked."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._cluster, self._ports = cluster, set[int]()
        #: Processes that are to stay stopped.
        self.stopped: set[int] = set()

    @property
    def nannies(self) -> list[Nanny]:
        """The nannies."""
        return list(self._cluster.workers.values())

    def holding(self, member: str) -> tuple[str, psutil.Process] | None:
        """Return the address and the process that a task of a run, by a part of its name, was given to."""
        for key, task in list(self._cluster.scheduler.tasks.items()):
            if f"-{member}" in str(key) and task.processing_on is not None:
                for nanny in self.nannies:
                    pid = nanny.pid
                    if nanny.worker_address == task.processing_on.address and pid:
                        with suppress(psutil.NoSuchProcess):
                            return task.processing_on.address, psutil.Process(pid)
        return None

    def allow_failures(self, count: int) -> None:
        """Let a task be lost so many times with its process."""
        self._cluster.scheduler.allowed_failures = count

    def sockets(self) -> list[str]:
        """Return the sockets of all processes that are not Dask's."""
        scheduler = self._cluster.scheduler
        servers = [scheduler, *self.nannies]
        self._ports |= {int(server.address.rpartition(":")[2]) for server in servers}
        self._ports |= {int(nanny.worker_address.rpartition(":")[2]) for nanny in self.nannies if nanny.worker_address}
        self._ports |= {
            int(port)
            for worker in scheduler.workers.values()
            for port in worker.services.values()
            if isinstance(port, int)
        }
        return [
            f"{nanny.pid}: {socket}"
            for nanny in self.nannies
            if nanny.pid
            for socket in psutil.Process(nanny.pid).net_connections("tcp")
            if not {socket.laddr.port, socket.raddr.port if socket.raddr else 0} & self._ports
        ]


def _have_done(client: Client, address: str, what: Callable[[], int]) -> bool:
    """Have a worker do something, and tell whether it did; it may be stopped, and never answer."""
    answers: list[int] = []

    def ask() -> None:
        with suppress(Exception):
            answers.extend(client.run(what, workers=[address], on_error="ignore").values())

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(1)
    return sum(answers) > 0


@dataclass
class Strike:
    """What happens to the process of a member, so many seconds after the start of a run; 0 is as soon as it is there.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    member : str
        ``"rank-1"``, ``"master"``.
    moment : float
    length : float
        Of a pause, in seconds.
    """

    kind: str
    member: str
    moment: float
    length: float = 0.0
    hit: bool = False
    process: psutil.Process | None = field(default=None, repr=False)
    at: float = 0.0

    def happen(self, processes: Processes, client: Client) -> None:
        """Do it, if the member is anywhere."""
        holder = processes.holding(self.member)
        if holder is None:
            return
        address, self.process = holder
        with suppress(psutil.NoSuchProcess):
            done = KINDS[self.kind](self, processes, client, address)
            self.at = time.monotonic()
            time.sleep(0.02)
            again = processes.holding(self.member)
            self.hit = done and ((again is not None and again[0] == address) or not self.process.is_running())

    @property
    def lasts(self) -> bool:
        """Whether a process that was to be stopped for ever still is, and has not been replaced."""
        with suppress(psutil.NoSuchProcess):
            return self.hit and self.kind == "stopped" and bool(self.process and self.process.status() == "stopped")
        return False

    def undo(self) -> None:
        """Let a process that is still stopped go on."""
        if self.process is not None:
            with suppress(psutil.NoSuchProcess):
                self.process.resume()

    def _kill(self, processes: Processes, client: Client, address: str) -> bool:
        assert self.process is not None
        self.process.kill()
        return True

    def _stop(self, processes: Processes, client: Client, address: str) -> bool:
        assert self.process is not None
        processes.stopped.add(self.process.pid)
        self.process.suspend()
        return True

    def _pause(self, processes: Processes, client: Client, address: str) -> bool:
        assert self.process is not None
        self.process.suspend()

        def go_on() -> None:
            if self.process and self.process.pid not in processes.stopped:
                self.undo()

        timer = threading.Timer(self.length, go_on)
        timer.daemon = True
        timer.start()
        return True

    def _reset(self, processes: Processes, client: Client, address: str) -> bool:
        return _have_done(client, address, reset_connections)

    def _damage(self, processes: Processes, client: Client, address: str) -> bool:
        return _have_done(client, address, damage_next_frame)


KINDS: dict[str, Callable[[Strike, Processes, Client, str], bool]] = {
    "killed": Strike._kill,
    "stopped": Strike._stop,
    "stopped for a while": Strike._pause,
    "connections reset": Strike._reset,
    "frame damaged": Strike._damage,
}
