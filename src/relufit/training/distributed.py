"""The same ranks as long-running Dask tasks, one `slot` each, that exchange frames over sockets.

Dask places the tasks, restarts them when a worker dies, and carries their errors; gradients and weights never pass
through it. The master is a task too: on a worker of its own where there is one more than there are ranks, else
beside a rank.
"""

from __future__ import annotations

import os
import secrets
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from threading import Event
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from distributed import Client, Future, KilledWorker, Variable, get_worker, wait

from relufit.dataset import ArrayRows, RowSource, Shard
from relufit.errors import ClusterError, RelufitError, TransportError
from relufit.training.checkpoint import Keeper
from relufit.training.coordinator import Coordinator
from relufit.training.loop import News, Progress
from relufit.training.member import Member
from relufit.training.spec import Plan
from relufit.training.terms import Patience, Terms
from relufit.training.trace import Trace
from relufit.transport.connections import Tcp
from relufit.transport.link import TOKEN_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

SLOT = "slot"
_OPTIONS: dict[str, Any] = {"pure": False, "retries": 0, "resources": {SLOT: 1}}
#: Seconds for a master to end after it has told the ranks to, and for all tasks to end when the run has.
_LAST_SECONDS, _ENDING_SECONDS = 3.0, 30.0
#: Seconds for the scheduler to take note that a run has ended.
_FORGETTING_SECONDS = 5.0
#: Names of the runs that have a task in this process: what must be gone when a run has ended.
_HERE: dict[str, int] = {}
_HERE_LOCK = threading.Lock()


class _ShippedRows:
    """A rank's own part of rows that were in the client's memory."""

    model = None

    def __init__(self, rows: RowSource, rank: int, workers: int) -> None:
        shard = rows.shard(rank, workers)
        self._shard = Shard(shard.x.copy(), shard.y.copy())
        self.n, self.d, self.w_star = rows.n, rows.d, rows.w_star

    def shard(self, rank: int, workers: int) -> Shard:
        return self._shard


class _NoRows:
    """What a master knows of the rows: the planted weights alone."""

    model = None

    def __init__(self, rows: RowSource) -> None:
        self.n, self.d, self.w_star = rows.n, rows.d, rows.w_star

    def shard(self, rank: int, workers: int) -> Shard:
        raise NotImplementedError("a master has no rows")


@dataclass(frozen=True)
class _Order:
    """What a task is told: everything but where it runs."""

    plan: Plan
    rows: RowSource
    token: bytes
    name: str
    patience: Patience
    checkpoint: str | None
    checkpoint_seconds: float

    def terms(self, wanted: Callable[[], bool]) -> Terms:
        """Return the terms of the run on this worker."""
        worker = get_worker()
        tls = worker.address.startswith("tls://")
        listening = worker.security.get_listen_args("worker").get("ssl_context") if tls else None
        connecting = worker.security.get_connection_args("worker").get("ssl_context") if tls else None
        host = str(worker.address.split("://", 1)[1].rsplit(":", 1)[0].strip("[]"))
        return Terms(self.plan, self.token, Tcp(host, listening, connecting), self.patience, wanted)


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


def _count_here(name: str) -> int:
    return _HERE.get(name, 0)


def wanted_here() -> Callable[[], bool]:
    """Return a function that tells whether Dask still wants the task that calls this."""
    worker, key = get_worker(), get_worker().get_current_task()

    def wanted() -> bool:
        task = worker.state.tasks.get(key)
        return task is not None and task.state in ("executing", "long-running") and _has_scheduler(worker)

    return wanted


def _has_scheduler(worker: Any) -> bool:  # noqa: ANN401 - a Dask worker
    return worker.status.name in ("running", "paused") and not worker.batched_stream.closed()


def _coordinator(order: _Order, wanted: Callable[[], bool]) -> Coordinator:
    """Return a master on this worker, after it has been said where it is."""
    worker, plan, w_star = get_worker(), order.plan, order.rows.w_star
    address, name = worker.address, order.name

    def event(kind: str) -> Callable[..., None]:
        return lambda *told: worker.log_event(name, (kind, *told))

    keeper = Keeper(order.checkpoint, plan, w_star, order.checkpoint_seconds) if order.checkpoint else None
    coordinator = Coordinator(
        order.terms(wanted),
        w_star,
        keeper=keeper,
        progress=event("news"),
        lost=event("lost"),
        told=event("fault"),
        alive=lambda: worker.log_event(name, ("alive", address)),
    )
    Variable(f"{name}-address").set(coordinator.address)
    return coordinator


def _master(order: _Order) -> Trace:
    """Run the master as a task."""
    with _here(order.name):
        return _coordinator(order, wanted_here()).lead()


def _rank(order: _Order, number: int) -> dict[str, dict[str, int]]:
    """Run one rank as a task."""
    with _here(order.name):
        return _serve(order, number, wanted_here())


def _serve(order: _Order, number: int, wanted: Callable[[], bool]) -> dict[str, dict[str, int]]:
    member = Member(order.terms(wanted), number, order.rows, get_worker().address)
    variable = Variable(f"{order.name}-address")

    def find() -> tuple[str, int] | None:
        try:
            host, port = variable.get(timeout=1)
        except TimeoutError:
            return None
        return host, port

    return member.serve(find)


def _rank_beside_master(order: _Order, number: int) -> tuple[Trace, dict[str, dict[str, int]]]:
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


def train(
    plan: Plan,
    rows: RowSource,
    client: Client,
    progress: Progress | None = None,
    *,
    patience: Patience | None = None,
    checkpoint: str | None = None,
    checkpoint_seconds: float = 10.0,
    told: Callable[[str], None] | None = None,
) -> Trace:
    """Run `plan` on a Dask cluster, see `relufit.train`."""
    return _Supervisor(plan, rows, client, progress, patience or Patience(), checkpoint, checkpoint_seconds, told).run()


class _Supervisor:
    """The client's part in a run: submit the tasks, restart workers that hang, and leave nothing behind."""

    def __init__(
        self,
        plan: Plan,
        rows: RowSource,
        client: Client,
        progress: Progress | None,
        patience: Patience,
        checkpoint: str | None,
        checkpoint_seconds: float,
        told: Callable[[str], None] | None,
    ) -> None:
        self._client, self._rows, self._progress, self._told = client, rows, progress, told
        self._patience, self._workers = patience, plan.spec.workers
        # Arrays in the specification would travel whole to every rank; the ranks get their own parts with `rows`.
        plan = replace(plan, spec=replace(plan.spec, dataset=""))
        self._name = f"relufit-{uuid4().hex}"
        self._order = _Order(
            plan, rows, secrets.token_bytes(TOKEN_BYTES), self._name, patience, checkpoint, checkpoint_seconds
        )
        self._events: SimpleQueue[tuple[Any, ...]] = SimpleQueue()
        self._futures: list[Future] = []
        self._finished: dict[str, float] = {}
        self._alive, self._address = time.monotonic(), ""

    def run(self) -> Trace:
        """Run to the end."""
        client = self._client
        slots = _slots(client, self._workers)
        client.subscribe_topic(self._name, self._hear)
        try:
            self._submit(slots)
            return self._result()
        finally:
            self._end()
            self._forget()

    def _hear(self, event: tuple[float, Any]) -> None:
        self._events.put(tuple(event[1]))

    def _submit(self, slots: int) -> None:
        client, name = self._client, self._name
        alone = slots > self._workers
        if alone:
            order = replace(self._order, rows=_NoRows(self._rows))
            self._futures.append(client.submit(_master, order, key=f"{name}-master", **_OPTIONS))
        for number in range(self._workers):
            task = _rank if alone or number else _rank_beside_master
            key = f"{name}-rank-{number}"
            self._futures.append(client.submit(task, self._part(number), number, key=key, **_OPTIONS))

    def _part(self, number: int) -> _Order:
        """Return what a rank is told: of arrays its own part alone."""
        if isinstance(self._rows, ArrayRows):
            return replace(self._order, rows=_ShippedRows(self._rows, number, self._workers))
        return self._order

    def _result(self) -> Trace:
        """Return the trace from the first task, which has the master, or raise the error that came first."""
        futures = self._futures
        while not futures[0].done():
            pending = [future for future in futures if not future.done()]
            with suppress(TimeoutError):
                _wait_for_one(pending)
            self._attend()
            self._check()
            self._replace_finished()
        self._check()
        ranks = futures[1:]
        with suppress(TimeoutError):  # they have been told to stop; one that was lost has counted nothing
            wait(ranks, timeout=self._patience.rejoin)
        self._attend()
        result: Any = futures[0].result()
        trace: Trace
        trace, counts = result if isinstance(result, tuple) else (result, {})
        for rank in ranks:
            if rank.status == "finished":
                counts |= rank.result()
        return replace(trace, counted={**(trace.counted or {}), **counts})

    def _replace_finished(self) -> None:
        """Start a rank again that was told to stop by a master that was lost before it had told all of them."""
        for place, future in enumerate(self._futures[1:], 1):
            if future.status != "finished":
                continue
            since = self._finished.setdefault(future.key, time.monotonic())
            if time.monotonic() - since > _LAST_SECONDS:
                number = place - (len(self._futures) > self._workers)
                key = f"{self._name}-rank-{number}-{uuid4().hex}"
                self._futures[place] = self._client.submit(_rank, self._part(number), number, key=key, **_OPTIONS)

    def _attend(self) -> None:
        """Pass on what the run says, and restart the workers of ranks, or of a master, that hang."""
        hung: list[str] = []
        with suppress(Empty):
            while True:
                kind, *what = self._events.get_nowait()
                self._alive = time.monotonic()
                if kind == "news" and self._progress:
                    self._progress(News(*what[0]))
                elif kind == "fault" and self._told:
                    self._told(str(what[0]))
                elif kind == "alive":
                    self._address = str(what[0])
                elif kind == "lost":
                    hung += what[0]
        if self._address and time.monotonic() - self._alive > self._patience.message + self._patience.rejoin:
            hung.append(self._address)
            self._alive = time.monotonic()
        known = self._client.sync(self._client.scheduler.identity, n_workers=-1)["workers"] if hung else {}
        for address in hung:
            if address in known:
                with suppress(Exception):  # without a nanny nobody restarts it; then the deadline of the run ends it
                    self._client.run(_kill_worker, workers=[address], nanny=True, on_error="ignore")

    def _check(self) -> None:
        """Raise the cause if a task has failed."""
        failed = [future for future in self._futures if future.done() and future.status != "finished"]
        if failed:
            time.sleep(0.2)
            self._attend()
            _raise_cause([future for future in self._futures if future.done() and future.status != "finished"])

    def _end(self) -> None:
        """Cancel what still runs, and wait until no worker has a task of this run."""
        client = self._client
        with suppress(Exception):  # the cluster may be gone
            client.unsubscribe_topic(self._name)
            client.cancel(self._futures, force=True)
            end = time.monotonic() + _ENDING_SECONDS
            while time.monotonic() < end and client.status == "running":
                with suppress(Exception):  # a worker that is just being started again
                    if not any(client.run(_count_here, self._name, on_error="ignore").values()):
                        break
                time.sleep(0.05)
            Variable(f"{self._name}-address", client=client).delete()

    def _forget(self) -> None:
        """Have Dask forget what this run has told, which its scheduler would keep for good."""
        with suppress(Exception):  # the cluster may be gone
            self._client.sync(
                self._client.run_on_scheduler, _forget_topic, self._name, callback_timeout=_FORGETTING_SECONDS
            )


def _forget_topic(topic: str, dask_scheduler: Any) -> None:  # noqa: ANN401 - Dask passes its scheduler by that name
    """Say that a client of that name has left: Dask empties its topic, after the time that is set for that."""
    dask_scheduler.remove_client(client=topic)


def _wait_for_one(pending: list[Future]) -> None:
    try:
        wait(pending, timeout=0.2, return_when="FIRST_COMPLETED")
    except CancelledError as error:
        raise ClusterError(
            "the scheduler is gone, or has dropped the run", where="cluster", remedy="see the log of the Dask scheduler"
        ) from error


def _raise_cause(failed: list[Future]) -> None:
    errors = [future.exception() for future in failed if future.status == "error"]
    errors.sort(key=lambda error: isinstance(error, TransportError))
    if errors and isinstance(errors[0], RelufitError):
        raise errors[0]
    if errors and isinstance(errors[0], KilledWorker):
        task, times = str(errors[0].task).split("-", 2)[-1], errors[0].allowed_failures + 1
        raise ClusterError(
            f"the process of {task} died {times} times", where="cluster", remedy="see the logs of the Dask workers"
        )
    told = f"{type(errors[0]).__name__}: {errors[0]}" if errors else "a task was cancelled"
    raise ClusterError(f"the run was lost ({told})", where="cluster", remedy="see the logs of the Dask workers")


def _slots(client: Client, needed: int) -> int:
    """Return the number of slots; give each worker of a cluster that knows none one."""
    # The scheduler is asked itself: the client's own copy is overwritten in the background, without the workers.
    known = client.sync(client.scheduler.identity, n_workers=-1)["workers"]
    slots = sum(int(worker["resources"].get(SLOT, 0)) for worker in known.values())
    if not slots:
        client.run(_add_slot)
        slots = len(known)
    if slots < needed:
        raise ClusterError(
            f"{slots} slots for {needed} ranks",
            where="cluster",
            remedy=f"start more workers, each with `--resources {SLOT}=1`, or ask for fewer ranks",
        )
    return slots


def _kill_worker(dask_worker: Any) -> None:  # noqa: ANN401 - here it is the nanny
    """Kill the process that this nanny keeps; it starts another."""
    os.kill(dask_worker.pid, signal.SIGKILL)


async def _add_slot(dask_worker: Any) -> None:  # noqa: ANN401 - Dask passes its worker by that name
    await dask_worker.set_resources(**{SLOT: 1})
