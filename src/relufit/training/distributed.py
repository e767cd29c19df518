"""The same ranks as long-running Dask tasks, one `slot` each, that exchange frames over sockets.

Dask places the tasks, restarts them when a worker dies, and carries their errors; gradients and weights never pass
through it. The master is a task too: on a worker of its own where there is one more than there are ranks, else
beside a rank. This is the client's part; `tasks` is that of the workers.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from concurrent.futures import Future as Answer
from contextlib import suppress
from dataclasses import replace
from queue import Empty
from typing import Any
from uuid import uuid4

from distributed import Client, Future, KilledWorker, wait

from relufit.errors import ClusterError, RelufitError, TransportError
from relufit.planted.dataset import ArrayRows, RowSource
from relufit.training.checkpoint import discard, identity
from relufit.training.clients import check_client
from relufit.training.hearing import Events, forget, heard, topic_of
from relufit.training.loop import Progress, ProgressCallback
from relufit.training.slots import PREFIX, admission, ask, kill_worker, known_workers, tasks_of
from relufit.training.spec import Plan
from relufit.training.tasks import (
    NoRows,
    ProcessLocation,
    ShippedRows,
    TaskSpec,
    count_here,
    lead,
    serve,
    serve_and_lead,
)
from relufit.training.trace import Trace
from relufit.transport.greeting import TOKEN_BYTES
from relufit.transport.slot import SLOT
from relufit.transport.timeouts import Timeouts

_OPTIONS: dict[str, Any] = {"pure": False, "retries": 0, "resources": {SLOT: 1}}
#: Seconds for a master to end after it has told the ranks to, for all tasks to end when the run has, for tasks to be
#: given to workers, and for a result to be brought.
_LAST_SECONDS, _ENDING_SECONDS, _PLACING_SECONDS, _BRINGING_SECONDS = 3.0, 30.0, 10.0, 2.0
MASTER = "master"


def train(
    plan: Plan,
    rows: RowSource,
    client: Client,
    progress: ProgressCallback | None = None,
    *,
    timeouts: Timeouts | None = None,
    checkpoint: str | None = None,
    checkpoint_seconds: float = 10.0,
    told: Callable[[str], None] | None = None,
    save: Callable[[Trace], None] | None = None,
) -> Trace:
    """Run `plan` on a Dask cluster, see `relufit.train`."""
    check_client(client)
    plan, name = replace(plan, spec=plan.spec.without_data()), f"{PREFIX}{uuid4().hex}"
    token, topic = secrets.token_bytes(TOKEN_BYTES), topic_of(client)
    order = TaskSpec(plan, rows, token, name, topic, timeouts or Timeouts(), checkpoint, checkpoint_seconds)
    made_by = identity(plan, rows.digest) if checkpoint else {}  # the code may be edited while the run goes on
    with heard(client, name) as events:
        trace = _Supervisor(order, client, events, progress, told).run()
    if save:
        save(trace)
    if checkpoint:
        _discard(client, checkpoint, made_by, told)
    return trace


def _discard(client: Client, checkpoint: str, made_by: dict[str, Any], told: Callable[[str], None] | None) -> None:
    """Have the workers remove the checkpoint of a run that has ended: the client may not see it."""
    answers = ask(client, discard, checkpoint, made_by)
    troubles = sorted({trouble for trouble in answers.values() if trouble})
    if not answers or troubles:
        what = troubles[0] if troubles else f"{checkpoint}: no worker has answered"
        if told:
            told(f"the checkpoint of the run, which has ended, could not be removed ({what})")


class _Supervisor:
    """The client's part in a run: submit the tasks, restart workers that hang, and leave nothing behind."""

    def __init__(
        self,
        order: TaskSpec,
        client: Client,
        events: Events,
        progress: ProgressCallback | None,
        told: Callable[[str], None] | None,
    ) -> None:
        self._order, self._client, self._progress, self._told = order, client, progress, told
        self._name, self._timeouts, self._workers = order.name, order.timeouts, order.plan.spec.workers
        self._events = events
        self._futures: list[Future] = []
        self._members: dict[str, str] = {}  # by the keys of their tasks
        self._finished: dict[str, float] = {}
        self._said: list[str] = []
        # Where members have begun last, and when the master was heard of, from where.
        self._begun: dict[str, ProcessLocation] = {}
        self._led_again = False
        self._heard: tuple[float, ProcessLocation | None] = (time.monotonic(), None)
        # Those who have been asked whether they are there, by the workers' addresses.
        self._asked: dict[str, tuple[str, Answer[dict[str, int]]]] = {}

    def run(self) -> Trace:
        """Run to the end."""
        try:
            with admission(self._client, self._workers, self._timeouts.queue, self._told) as slots:
                self._submit(slots)
                self._await_places()
            trace = self._result()
        finally:
            self._end()
            forget(self._client, self._name)
        return replace(trace, faults=tuple(self._said))

    def _submit(self, slots: int) -> None:
        alone = slots > self._workers
        if alone:
            order = replace(self._order, rows=NoRows(self._order.rows))
            self._add(MASTER, lead, order)
        for number in range(self._workers):
            self._add(f"rank-{number}", serve if alone or number else serve_and_lead, self._part(number), number)
        self._heard = (time.monotonic(), None)

    def _add(self, member: str, task: Callable[..., Any], *arguments: object, again: str = "") -> None:
        key = f"{self._name}-{member}{again}"
        self._members[key] = member
        self._futures.append(self._client.submit(task, *arguments, key=key, **_OPTIONS))

    def _part(self, number: int) -> TaskSpec:
        """Return what a rank is told: of arrays its own part alone."""
        rows = self._order.rows
        if isinstance(rows, ArrayRows):
            return replace(self._order, rows=ShippedRows(rows, number, self._workers))
        return self._order

    def _await_places(self) -> None:
        """Wait until other runs can see that the slots are taken."""
        end = time.monotonic() + _PLACING_SECONDS
        while time.monotonic() < end:
            placed = tasks_of(self._client, self._name)
            if all(future.key in placed or future.done() for future in self._futures):
                return
            time.sleep(0.005)

    def _result(self) -> Trace:
        """Return the trace from the first task, which has the master, or raise the error that came first."""
        while True:
            _wait_for_one([future for future in self._futures if not future.done()])
            self._attend()
            if self._futures[0].status == "finished":
                # A result is lost with the process that has it, and then Dask runs the task again.
                with suppress(TimeoutError, CancelledError, KilledWorker):
                    result: Any = self._futures[0].result(timeout=_BRINGING_SECONDS)
                    break
            self._check()
            self._replace_finished()
        trace: Trace
        trace, counts = result if isinstance(result, tuple) else (result, {})
        ranks = self._futures[1:]
        with suppress(TimeoutError, CancelledError):  # they have been told to stop
            wait(ranks, timeout=self._timeouts.rejoin)
        for rank in ranks:
            if rank.status == "finished":
                with suppress(Exception):  # it is lost with the process; then the counts are not there
                    counts |= rank.result(timeout=_BRINGING_SECONDS)
        self._attend()
        for fault in trace.faults:
            if fault not in self._said:
                self._say(fault)
        return replace(trace, counted={**(trace.counted or {}), **counts})

    def _replace_finished(self) -> None:
        """Start a rank again that was told to stop by a master that was lost before it had told all of them."""
        for index, future in enumerate(self._futures[1:], 1):
            if not self._led_again or future.status != "finished":
                continue
            since = self._finished.setdefault(future.key, time.monotonic())
            if time.monotonic() - since > _LAST_SECONDS:
                number = index - (len(self._futures) > self._workers)
                self._add(f"rank-{number}", serve, self._part(number), number, again=f"-{uuid4().hex}")
                self._futures[index] = self._futures.pop()

    def _say(self, said: str) -> None:
        self._said.append(said)
        if self._told:
            self._told(said)

    def _attend(self) -> None:
        """Pass on what the run says, and restart the workers of ranks, or of a master, that hang."""
        with suppress(Empty):
            while True:
                kind, *what = self._events.get_nowait()
                if kind == "begun":
                    self._note_begun(*what)
                    continue
                self._heard = (time.monotonic(), self._begun.get(self._leader))
                if kind == "news" and self._progress:
                    self._progress(Progress(*what[0]))
                elif kind == "fault":
                    self._say(str(what[0]))
                elif kind == "lost":
                    self._look_after({f"rank-{rank}": worker for rank, worker in what[0]})
        since, location = self._heard
        timeouts = self._timeouts
        if time.monotonic() - since > (timeouts.message + timeouts.rejoin if location else timeouts.start / 4):
            self._look_after({self._leader: ""})  # it may only be at the end, and tell no more
            self._heard = (time.monotonic(), location)
        self._kill_silent()

    @property
    def _leader(self) -> str:
        return MASTER if len(self._futures) > self._workers else "rank-0"

    def _note_begun(self, member: str, address: str, pid: int) -> None:
        if member in self._begun:
            self._say(f"{_called(member)} was started again")
            self._led_again = self._led_again or member == self._leader
        self._begun[member] = ProcessLocation(address, pid)

    def _look_after(self, lost: dict[str, str]) -> None:
        """Kill the processes of members that are where they were lost; ask the others whether they are there."""
        client, given = self._client, tasks_of(self._client, self._name)
        for key, address in given.items():
            member, begun = self._members[key], self._begun.get(self._members[key])
            if member not in lost:
                continue
            if begun and begun.address == address and str(begun) == lost[member]:
                self._kill(member, *begun)
            elif address not in self._asked:
                asking = _ask_pid(client, address, self._timeouts.start / 4)
                self._asked[address] = (member, asyncio.run_coroutine_threadsafe(asking, client.loop.asyncio_loop))

    def _kill_silent(self) -> None:
        """Kill the processes that have not answered."""
        for address, (member, answer) in list(self._asked.items()):
            if answer.done():
                del self._asked[address]
                if isinstance(answer.exception(), TimeoutError):
                    self._kill(member, address, None)

    def _kill(self, member: str, address: str, pid: int | None) -> None:
        """Have a nanny kill a process; without a nanny nobody restarts it, and the deadline of the run ends it."""
        if any(ask(self._client, kill_worker, address, pid, workers=[address], nanny=True).values()):
            self._say(f"{_called(member)} did not come back, and its process was killed")

    def _check(self) -> None:
        """Raise the cause if a task has failed."""
        failed = [future for future in self._futures if future.done() and future.status != "finished"]
        if failed:
            time.sleep(0.2)
            with suppress(TimeoutError, CancelledError):  # the master knows better why ranks have lost it
                wait(self._futures[:1], timeout=_LAST_SECONDS)
            self._attend()
            _raise_cause([future for future in self._futures if future.done() and future.status != "finished"])

    def _end(self) -> None:
        """Cancel what still runs, and wait until no worker has a task of this run; kill a process that is silent."""
        client = self._client
        for _, answer in self._asked.values():
            answer.cancel()
        with suppress(Exception):  # the cluster may be gone
            held = {address: self._members[key] for key, address in tasks_of(client, self._name).items()}
            client.cancel(self._futures, force=True)
            began = time.monotonic()
            while (waited := time.monotonic() - began) < _ENDING_SECONDS and client.status == "running":
                known = set(known_workers(client))
                answers = ask(client, count_here, self._name, workers=list(known), seconds=1.0)
                silent = {address: held[address] for address in (held.keys() & known) - answers.keys()}
                if not silent and not any(answers.values()):
                    break
                if waited > self._timeouts.rejoin:
                    for address, member in silent.items():
                        self._kill(member, address, None)
                time.sleep(0.05)


async def _ask_pid(client: Client, address: str, seconds: float) -> dict[str, int]:
    """Ask a worker for the number of its process, which it knows without having imported anything.

    Raises
    ------
    TimeoutError
        If it is silent for so long.
    """
    asking: Any = client.run(os.getpid, workers=[address], on_error="ignore")
    return dict(await asyncio.wait_for(asking, seconds))


def _called(member: str) -> str:
    """Return what messages call a member."""
    return f"the {member}" if member == MASTER else member.replace("-", " ")


def _wait_for_one(pending: list[Future]) -> None:
    """Wait a moment, or less if one is done in it."""
    if not pending:
        return
    try:
        wait(pending, timeout=0.2, return_when="FIRST_COMPLETED")
    except TimeoutError:
        return
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
        task, times = str(errors[0].task).removeprefix(PREFIX).partition("-")[2], errors[0].allowed_failures + 1
        raise ClusterError(
            f"the process of {task} died {times} times", where="cluster", remedy="see the logs of the Dask workers"
        )
    cause = f"{type(errors[0]).__name__}: {errors[0]}" if errors else "a task was cancelled"
    raise ClusterError(f"the run was lost ({cause})", where="cluster", remedy="see the logs of the Dask workers")
