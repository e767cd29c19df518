"""The slots of a Dask cluster: how many there are, who has them, and whose turn it is to take them."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from distributed import Client, Lock

from relufit.errors import ClusterError
from relufit.transport.slot import SLOT

#: What the keys of the tasks that take a slot begin with, those of ranks and masters, and of no others.
PREFIX = "relufit-run-"
_ANSWER_SECONDS, _LOOK_SECONDS = 10.0, 0.1


def ask(
    client: Client,
    function: Callable[..., Any],
    *arguments: object,
    workers: list[str] | None = None,
    nanny: bool = False,
    seconds: float = _ANSWER_SECONDS,
) -> dict[str, Any]:
    """Return what a function returns on workers, or on their nannies; who fails or is silent for so long is left out.

    A process that is stopped never answers, and `Client.run` waits for it.
    """

    async def ask_one(address: str) -> dict[str, Any]:
        try:
            asking = client.run(function, *arguments, workers=[address], nanny=nanny, on_error="ignore")
            return dict(await asyncio.wait_for(asking, seconds))
        except Exception:  # it is silent, or has just gone
            return {}

    async def ask_all(addresses: list[str]) -> list[dict[str, Any]]:
        return await asyncio.gather(*map(ask_one, addresses))

    answers: dict[str, Any] = {}
    for answer in client.sync(ask_all, known_workers(client) if workers is None else workers):
        answers |= answer
    return answers


def known_workers(client: Client) -> list[str]:
    """Return the addresses of the workers."""
    return list(_identities(client))


def _identities(client: Client) -> dict[str, Any]:
    # The scheduler is asked itself: the client's own copy is overwritten in the background, without the workers.
    return dict(client.sync(client.scheduler.identity, n_workers=-1)["workers"])


def tasks_of(client: Client, name: str = PREFIX) -> dict[str, str]:
    """Return the keys of tasks that begin with a name and have been given to workers, with the workers' addresses."""
    given = client.sync(client.scheduler.processing, workers=None)
    return {str(key): address for address, keys in given.items() for key in keys if str(key).startswith(name)}


def count_slots(client: Client, needed: int) -> int:
    """Return the number of slots; give each worker of a cluster that knows none one.

    Raises
    ------
    ClusterError
        If there are fewer than `needed`.
    """
    known = _identities(client)
    slots = sum(int(worker["resources"].get(SLOT, 0)) for worker in known.values())
    if not slots:
        ask(client, _add_slot)
        slots = len(known)
    if slots < needed:
        raise ClusterError(
            f"{slots} slots for {needed} ranks",
            where="cluster",
            remedy=f"start more workers, each with `--resources {SLOT}=1`, or ask for fewer ranks",
        )
    return slots


@contextmanager
def admission(client: Client, needed: int, seconds: float, told: Callable[[str], None] | None = None) -> Iterator[int]:
    """Wait until `needed` slots are free and yield how many are; within the block no other run takes any.

    Two runs that took slots one by one could end up with some each, and wait for each other.

    Parameters
    ----------
    client : distributed.Client
    needed : int
    seconds : float
        How long to wait for other runs.
    told : callable, optional
        Told once, in words, that the run waits.

    Raises
    ------
    ClusterError
        If the cluster has fewer slots at all, or they are not free in time.
    """
    count_slots(client, needed)
    end = time.monotonic() + seconds
    turn = Lock(f"{PREFIX}turn", scheduler_rpc=client.scheduler, loop=client.loop)
    try:
        while not turn.acquire(timeout=0):
            _wait("other runs wait for slots too", seconds, end)
        try:
            yield _await_slots(client, needed, seconds, end, told)
        finally:
            turn.release()
    finally:
        if hasattr(turn, "refresh_callback"):
            client.loop.add_callback(turn.refresh_callback.stop)


def _await_slots(client: Client, needed: int, seconds: float, end: float, told: Callable[[str], None] | None) -> int:
    while True:
        slots = count_slots(client, needed)
        free = slots - len(tasks_of(client))
        if free >= needed:
            return free
        said = f"{max(0, free)} of {slots} slots are free, and {needed} needed: other runs have the rest"
        if told:
            told(f"{said}; this one waits")
            told = None
        _wait(said, seconds, end)


def _wait(what: str, seconds: float, end: float) -> None:
    """Wait a moment, or raise that time is up."""
    if time.monotonic() > end:
        raise ClusterError(
            f"{what}, since {seconds:g} s",
            where="cluster.timeouts.queue",
            remedy="wait for them to end, start more workers, or allow for more seconds",
        )
    time.sleep(_LOOK_SECONDS)


def kill_worker(address: str, pid: int | None, dask_worker: Any = None) -> bool:  # noqa: ANN401 - it is the nanny
    """Kill the process that a nanny keeps, which starts another; but only that one, not one that has replaced it.

    Parameters
    ----------
    address : str
        Of the worker.
    pid : int or None
        Of its process; None for the one that has the address.
    dask_worker : distributed.Nanny
        Dask gives its nanny by that name.

    Returns
    -------
    killed : bool
    """
    if dask_worker.worker_address != address or dask_worker.pid is None or pid not in (None, dask_worker.pid):
        return False
    os.kill(dask_worker.pid, signal.SIGKILL)
    return True


async def _add_slot(dask_worker: Any) -> None:  # noqa: ANN401 - Dask passes its worker by that name
    await dask_worker.set_resources(**{SLOT: 1})
