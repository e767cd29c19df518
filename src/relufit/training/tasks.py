"""What runs on the workers of a Dask cluster: a rank, a master, or both side by side, each as one long-running task."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from distributed import Variable, get_worker

from relufit.errors import TransportError
from relufit.planted.dataset import RecipeRows, RowSource, Shard
from relufit.training.checkpoint import CheckpointManager
from relufit.training.coordinator import Coordinator
from relufit.training.hearing import address_variable
from relufit.training.member import Member
from relufit.training.run_context import RunContext
from relufit.training.spec import Plan
from relufit.training.trace import Trace
from relufit.transport.protection import frames_in_clear
from relufit.transport.tcp import Tcp
from relufit.transport.timeouts import Timeouts

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Names of the runs that have a task in this process: what must be gone when a run has ended.
_HERE: dict[str, int] = {}
_HERE_LOCK = threading.Lock()


class ProcessLocation(NamedTuple):
    """Where a task is: the worker's address and the number of its process, since a new one may have the address."""

    address: str
    pid: int

    def __str__(self) -> str:
        """Return it as members call a worker."""
        return f"{self.address} {self.pid}"


class ShippedRows:
    """A rank's own part of rows that were in the client's memory."""

    model = None

    def __init__(self, rows: RowSource, rank: int, workers: int) -> None:
        shard = rows.shard(rank, workers)
        self._shard = Shard(shard.x.copy(), shard.y.copy())
        self.n, self.d, self.w_star, self.digest = rows.n, rows.d, rows.w_star, rows.digest

    def shard(self, rank: int, workers: int) -> Shard:
        """Return the part."""
        return self._shard


class NoRows:
    """What a master knows of the rows: the planted weights, and the digest."""

    model = None

    def __init__(self, rows: RowSource) -> None:
        self.n, self.d, self.digest = rows.n, rows.d, rows.digest
        self._planted = rows if isinstance(rows, RecipeRows) else rows.w_star

    @property
    def w_star(self) -> np.ndarray:
        """The planted weights, (d,) float64: of a recipe they are made here."""
        return self._planted.w_star if isinstance(self._planted, RecipeRows) else self._planted

    def shard(self, rank: int, workers: int) -> Shard:
        """Refuse."""
        raise NotImplementedError("a master has no rows")


@dataclass(frozen=True)
class TaskSpec:
    """What a task is told: everything but where it runs."""

    plan: Plan
    rows: RowSource
    token: bytes
    name: str
    topic: str
    timeouts: Timeouts
    checkpoint: str | None
    checkpoint_seconds: float

    def context(self, wanted: Callable[[], bool]) -> RunContext:
        """Return the context of the run on this worker."""
        worker = get_worker()
        scheme, _, netloc = worker.address.partition("://")
        # Workers that are threads of one process have no address on a network.
        host = "127.0.0.1" if scheme == "inproc" else str(netloc.rsplit(":", 1)[0].strip("[]"))
        tls = scheme == "tls" and not frames_in_clear(host)
        listening = worker.security.get_listen_args("worker").get("ssl_context") if tls else None
        connecting = worker.security.get_connection_args("worker").get("ssl_context") if tls else None
        return RunContext(self.plan, self.token, Tcp(host, listening, connecting), self.timeouts, wanted)


@contextmanager
def _here(name: str) -> Iterator[None]:
    """Count a task of the run in this process while it lives."""
    with _HERE_LOCK:
        _HERE[name] = _HERE.get(name, 0) + 1
    try:
        yield
    finally:
        with _HERE_LOCK:
            _HERE[name] -= 1
            if not _HERE[name]:
                del _HERE[name]


def count_here(name: str) -> int:
    """Return how many tasks of a run are in this process."""
    return _HERE.get(name, 0)


def _begin(order: TaskSpec, member: str) -> ProcessLocation:
    """Tell the client that a member of the run begins here, perhaps not for the first time."""
    worker = get_worker()
    location = ProcessLocation(worker.address, os.getpid())
    worker.log_event(order.topic, (order.name, "begun", member, *location))
    return location


def wanted_here() -> Callable[[], bool]:
    """Return a function that tells whether Dask still wants the task that calls this."""
    worker, key = get_worker(), get_worker().get_current_task()

    def wanted() -> bool:
        task = worker.state.tasks.get(key)
        return task is not None and task.state in ("executing", "long-running") and _has_scheduler(worker)

    return wanted


def _has_scheduler(worker: Any) -> bool:  # noqa: ANN401 - a Dask worker
    return worker.status.name in ("running", "paused") and not worker.batched_stream.closed()


def _coordinator(order: TaskSpec, wanted: Callable[[], bool]) -> Coordinator:
    """Return a master on this worker, after it has been said where it is."""
    worker, plan, rows = get_worker(), order.plan, order.rows

    def event(kind: str) -> Callable[..., None]:
        return lambda *details: worker.log_event(order.topic, (order.name, kind, *details))

    manager = (
        CheckpointManager(order.checkpoint, plan, rows.digest, order.checkpoint_seconds) if order.checkpoint else None
    )
    coordinator = Coordinator(
        order.context(wanted),
        rows.w_star,
        manager=manager,
        progress=event("news"),
        lost=event("lost"),
        told=event("fault"),
        alive=event("alive"),
    )
    Variable(address_variable(order.name)).set(coordinator.address)
    return coordinator


def lead(order: TaskSpec) -> Trace:
    """Run the master as a task."""
    with _here(order.name):
        _begin(order, "master")
        return _coordinator(order, wanted_here()).lead()


def serve(order: TaskSpec, number: int) -> dict[str, dict[str, int]]:
    """Run one rank as a task."""
    with _here(order.name):
        return _serve(order, number, wanted_here())


def _serve(order: TaskSpec, number: int, wanted: Callable[[], bool]) -> dict[str, dict[str, int]]:
    location = _begin(order, f"rank-{number}")
    member = Member(order.context(wanted), number, order.rows, str(location))
    variable = Variable(address_variable(order.name))

    def find() -> tuple[str, int] | None:
        try:
            host, port = variable.get(timeout=1)
        except TimeoutError:
            return None
        return host, port

    return member.serve(find)


def serve_and_lead(order: TaskSpec, number: int) -> tuple[Trace, dict[str, dict[str, int]]]:
    """Run a rank as a task and the master in a thread beside it, for clusters with no worker to spare."""
    asked, failed = wanted_here(), Event()

    def wanted() -> bool:
        return asked() and not failed.is_set()

    with _here(order.name), ThreadPoolExecutor(1, thread_name_prefix="relufit-master") as thread:
        master = thread.submit(_coordinator(order, wanted).lead)
        try:
            counts = _serve(order, number, lambda: wanted() and not master.done())
        except TransportError:
            master.result()  # which knows better why
            raise
        except BaseException:
            failed.set()  # or the master would wait for this rank until its deadline
            raise
        return master.result(), counts
