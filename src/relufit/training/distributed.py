"""The same ranks as long-running Dask tasks, one `slot` each, that exchange frames over sockets.

Dask places the tasks, watches them and carries their errors; gradients and weights never pass through it. The
master is a task too: on a worker of its own where there is one more than there are ranks, else beside a rank.
"""

from __future__ import annotations

import hashlib
import secrets
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event
from typing import Any
from uuid import uuid4

import numpy as np
from distributed import Client, Future, Variable, get_worker, wait

from relufit.compression.base import HEADER_BYTES
from relufit.dataset import ArrayRows, RowSource, Shard
from relufit.errors import ClusterError, RelufitError, TransportError
from relufit.training import loop
from relufit.training.rank import EXACT, Contribution, Rank
from relufit.training.spec import Plan, Progress
from relufit.training.trace import Times, Trace
from relufit.transport.frames import Kind
from relufit.transport.link import TOKEN_BYTES, Link, Listener, connect

SLOT = "slot"
#: Seconds for all ranks to start, and for any single message.
START_SECONDS, MESSAGE_SECONDS = 120.0, 120.0
#: What a payload takes at most beside 16 bytes a coordinate: a table of frequencies, states of a coder.
_PAYLOAD_BOUND = 256


class _Sockets:
    """The master's side of the exchange: a link to every rank."""

    def __init__(self, plan: Plan, links: list[Link]) -> None:
        self._links = links
        # No payload is longer: a norm of 8 bytes for a bucket of one coordinate, and any code of its level.
        self._limit = HEADER_BYTES + _PAYLOAD_BOUND + 16 * plan.d
        self._slowest = (0.0, 0.0)
        self._before = (0.0, 0.0)
        self._times = Times(0.0, 0.0, 0.0, 0.0)

    def moments(self) -> Iterator[memoryview]:
        for link in self._links:
            yield link.receive(Kind.MOMENTS, self._limit)[1]
        self._before = self._spent()

    def broadcast(self, iteration: int, payload: bytes) -> None:
        self._slowest = (0.0, 0.0)
        for link in self._links:
            link.send(Kind.WEIGHTS, payload, iteration=iteration)

    def collect(self, rank: int, iteration: int) -> Contribution:
        header, body = self._links[rank].receive(Kind.GRADIENT, self._limit, iteration=iteration)
        if header.kind is Kind.STOP or header.rank != rank:
            raise TransportError("sent something else than its gradient", where=f"rank {rank}")
        squares, compute, encode = header.notes
        self._slowest = max(self._slowest, (compute, encode), key=sum)
        return Contribution(body, squares, compute, encode)

    def times(self) -> Times:
        waited, moved = (now - then for now, then in zip(self._spent(), self._before, strict=True))
        self._before = self._spent()
        return Times(*self._slowest, moved, max(0.0, waited - sum(self._slowest)))

    def received(self) -> dict[str, int]:
        return {
            "payload_bytes": sum(link.payload_bytes_received for link in self._links),
            "frame_bytes": sum(link.frame_bytes_received for link in self._links),
        }

    def stop(self) -> None:
        for link in self._links:
            link.send(Kind.STOP)

    def _spent(self) -> tuple[float, float]:
        return sum(link.waited for link in self._links), sum(link.moved for link in self._links)


class _ShippedRows:
    """A rank's own part of rows that were in the client's memory."""

    model = None

    def __init__(self, rows: RowSource, rank: int, workers: int) -> None:
        shard = rows.shard(rank, workers)
        self._shard = Shard(shard.x.copy(), shard.y.copy())
        self.n, self.d, self.w_star = rows.n, rows.d, rows.w_star

    def shard(self, rank: int, workers: int) -> Shard:
        return self._shard


def _wanted() -> Callable[[], bool]:
    """Return a function that tells whether Dask still wants the task that calls this."""
    worker, key = get_worker(), get_worker().get_current_task()

    def wanted() -> bool:
        task = worker.state.tasks.get(key)
        return task is not None and task.state in ("executing", "long-running")

    return wanted


def _tls(listening: bool) -> ssl.SSLContext | None:
    security = get_worker().security
    arguments = security.get_listen_args("worker") if listening else security.get_connection_args("worker")
    context = arguments.get("ssl_context")
    return context if get_worker().address.startswith("tls://") else None


def _host() -> str:
    address = get_worker().address.split("://", 1)[1]
    return str(address.rsplit(":", 1)[0].strip("[]"))


def _run_number(token: bytes) -> int:
    return int.from_bytes(hashlib.sha256(token).digest()[:8], "little")


def _master(plan: Plan, w_star: np.ndarray, token: bytes, name: str) -> Trace:
    """Run the master as a task: say where it listens, let the ranks in, run, tell them to stop."""
    worker, wanted = get_worker(), _wanted()
    listener = Listener(_host(), _tls(listening=True))
    Variable(f"{name}-address").set(listener.address)
    return _lead(plan, w_star, token, listener, wanted, lambda *news: worker.log_event(name, news))


def _lead(
    plan: Plan,
    w_star: np.ndarray,
    token: bytes,
    listener: Listener,
    wanted: Callable[[], bool],
    progress: Progress,
) -> Trace:
    links: list[Link] = []
    try:
        links = listener.accept_ranks(
            plan.spec.workers, _run_number(token), token, deadline=START_SECONDS, wanted=wanted
        )
        exchange = _Sockets(plan, links)
        trace = loop.run(plan, w_star, exchange, progress)
        exchange.stop()
        return trace
    finally:
        listener.close()
        for link in links:
            link.close()


def _find_master(name: str, wanted: Callable[[], bool]) -> tuple[str, int]:
    """Return where the master listens; a task that nobody wants any more must not wait and hold its slot."""
    end = time.monotonic() + START_SECONDS
    while wanted() and time.monotonic() < end:
        try:
            host, port = Variable(f"{name}-address").get(timeout=1)
        except TimeoutError:
            continue
        return host, port
    raise TransportError("the master did not say where it listens")


def _rank(plan: Plan, number: int, rows: RowSource, token: bytes, name: str) -> None:
    """Run one rank as a task: answer every set of weights with a gradient until told to stop."""
    wanted = _wanted()
    rank = Rank(plan, number, rows)
    moments = rank.moments()
    link = connect(
        _find_master(name, wanted),
        number,
        _run_number(token),
        token,
        context=_tls(listening=False),
        deadline=MESSAGE_SECONDS,
        wanted=wanted,
    )
    try:
        link.send(Kind.MOMENTS, moments, rank=number)
        for iteration in range(plan.spec.iterations + 1):
            header, body = link.receive(Kind.WEIGHTS, HEADER_BYTES + 8 * plan.d, iteration=iteration)
            if header.kind is Kind.STOP:
                return
            answer = rank.step(iteration, EXACT.decode(body, plan.d))
            notes = (answer.squares, answer.compute, answer.encode)
            link.send(Kind.GRADIENT, bytes(answer.payload), rank=number, iteration=iteration, notes=notes)
    finally:
        link.close()


def _rank_beside_master(plan: Plan, number: int, rows: RowSource, token: bytes, name: str) -> Trace:
    """Run a rank as a task and the master in a thread beside it, for clusters with no worker to spare."""
    worker, asked, failed = get_worker(), _wanted(), Event()
    listener = Listener(_host(), _tls(listening=True))
    Variable(f"{name}-address").set(listener.address)

    def wanted() -> bool:
        return asked() and not failed.is_set()

    with ThreadPoolExecutor(1, thread_name_prefix="relufit-master") as thread:
        master = thread.submit(
            _lead, plan, rows.w_star, token, listener, wanted, lambda *news: worker.log_event(name, news)
        )
        try:
            _rank(plan, number, rows, token, name)
        except TransportError:
            # The master closed the connection, and knows better why.
            master.result()
            raise
        except BaseException:
            failed.set()  # or the master would wait for this rank until its deadline
            raise
        return master.result()


def train(plan: Plan, rows: RowSource, client: Client, progress: Progress | None = None) -> Trace:
    """Run `plan` on a Dask cluster.

    Raises
    ------
    ClusterError
        If the cluster has fewer slots than there are ranks, or lost a task.
    TransportError
        If a rank or the master went away.
    """
    workers, slots = plan.spec.workers, _slots(client, plan.spec.workers)
    name, token = f"relufit-{uuid4().hex}", secrets.token_bytes(TOKEN_BYTES)
    if progress:
        client.subscribe_topic(name, lambda event: progress(*event[1]))
    options: dict[str, Any] = {"pure": False, "retries": 0, "resources": {SLOT: 1}}
    futures: list[Future] = []
    # Arrays in the specification would travel whole to every rank; the ranks get their own parts with `rows`.
    plan = replace(plan, spec=replace(plan.spec, dataset=""))
    try:
        if slots > workers:
            futures.append(client.submit(_master, plan, rows.w_star, token, name, key=f"{name}-master", **options))
        for number in range(workers):
            own = _ShippedRows(rows, number, workers) if isinstance(rows, ArrayRows) else rows
            task = _rank if futures else _rank_beside_master
            key = f"{name}-rank-{number}"
            futures.append(client.submit(task, plan, number, own, token, name, key=key, **options))
        return _result(futures)
    finally:
        client.cancel(futures, force=True)
        if progress:
            client.unsubscribe_topic(name)
        Variable(f"{name}-address", client=client).delete()


def _result(futures: list[Future]) -> Trace:
    """Return the trace of the first task, which has the master, or raise the error that came first."""
    pending = list(futures)
    while pending:
        done, pending = (list(part) for part in wait(pending, return_when="FIRST_COMPLETED"))
        failed = [future for future in done if future.status != "finished"]
        if failed:
            time.sleep(0.2)
            _raise_cause([future for future in futures if future.done() and future.status != "finished"])
    trace: Trace = futures[0].result()
    return trace


def _raise_cause(failed: list[Future]) -> None:
    errors = [future.exception() for future in failed if future.status == "error"]
    errors.sort(key=lambda error: isinstance(error, TransportError))
    if errors and isinstance(errors[0], RelufitError):
        raise errors[0]
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


async def _add_slot(dask_worker: Any) -> None:  # noqa: ANN401 - Dask passes its worker by that name
    await dask_worker.set_resources(**{SLOT: 1})
