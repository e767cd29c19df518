"""The process that starts and keeps those of a local cluster: Dask's scheduler, nannies, and the server of workers.

It is apart from the program that opens the cluster, so that nothing of that program reaches the workers: neither its
script, which they would import again, nor its configuration of Dask, nor a long path of its temporary folder. It ends
with the program, however that ends, and takes all workers with it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import multiprocessing
import os
import select
import sys
import tempfile
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from multiprocessing import forkserver
from pathlib import Path
from threading import Thread
from typing import Any

from relufit.clusters.limits import raise_descriptors
from relufit.clusters.scratch import check_private, remove_private_folder

_LOOPBACK, _ANY_PORT = "127.0.0.1", "127.0.0.1:0"
_CLOSING_SECONDS, _PARENT_SECONDS = 20.0, 1.0
_SETTINGS: dict[str, Any] = {
    # Processes that come from one have their code at the same addresses: a processor that they share has learnt from
    # one what it can use for the other. Where vectors are short, that is a third of an iteration.
    "distributed.worker.multiprocessing-method": "forkserver",
}


def main(order: Mapping[str, Any]) -> None:
    """Start everything, tell the address or what went wrong, and end with the program that has asked for it.

    Parameters
    ----------
    order : dict
        ``folder``, which is private; ``count``, the number of workers; ``certificate`` and ``key``, of the cluster;
        ``answers``, the descriptor of a pipe for the answer, a line of JSON; ``parent``, the process that asks.
    """
    folder = Path(order["folder"])
    check_private(folder)
    raise_descriptors()
    # For the sockets of `multiprocessing`, which must have short paths; the variables stay as they are.
    tempfile.tempdir = str(folder)
    # It imports what workers need, once for all of them, while this process imports Dask for itself.
    multiprocessing.set_forkserver_preload(["relufit.training.preload"])
    forkserver.ensure_running()
    try:
        asyncio.run(_run(order, folder))
    finally:
        remove_private_folder(folder)
    sys.stdout.flush()
    os._exit(0)  # whatever thread of Dask still waits for something


async def _run(order: Mapping[str, Any], folder: Path) -> None:
    from relufit.clusters.settings import WITHOUT_HTTP, use_defaults

    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    Thread(target=_watch, args=(order["parent"], loop, ended), daemon=True).start()
    use_defaults({**_SETTINGS, **WITHOUT_HTTP, "temporary-directory": str(folder)})
    servers: list[Any] = []
    try:
        starting = asyncio.ensure_future(_start(order, folder, servers))
        waiting = asyncio.ensure_future(ended.wait())
        await asyncio.wait([starting, waiting], return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            _answer(order["answers"], _told(starting))
            await waiting
        starting.cancel()
    finally:
        for server in reversed(servers):
            with suppress(Exception):
                await asyncio.wait_for(_close(server), _CLOSING_SECONDS)


async def _start(order: Mapping[str, Any], folder: Path, servers: list[Any]) -> str:
    """Start the scheduler and the workers, put what is started into `servers`, and return the scheduler's address."""
    from distributed import Nanny, Scheduler

    from relufit.clusters.certificates import Pair
    from relufit.transport.slot import SLOT

    security = Pair(order["certificate"], order["key"]).security()
    # The error of a task reaches the caller; the worker need not print it too.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    scheduler = Scheduler(
        host=_LOOPBACK, port=0, protocol="tls", security=security, dashboard=False, dashboard_address=_ANY_PORT
    )
    servers.append(scheduler)
    await scheduler
    nannies = [
        Nanny(
            scheduler.address,
            name=number,
            nthreads=1,
            resources={SLOT: 1},
            host=_LOOPBACK,
            protocol="tls",
            security=security,
            dashboard=False,
            dashboard_address=_ANY_PORT,
            local_directory=str(folder),
            memory_limit=0,  # a shard that is mapped is counted as memory, and is none
            silence_logs=logging.CRITICAL,
            env=dict(os.environ),
        )
        for number in range(order["count"])
    ]
    servers.append(nannies)
    await asyncio.gather(*nannies)
    return str(scheduler.address)


async def _close(server: Any) -> None:  # noqa: ANN401 - a Dask server, or several
    closing: list[Awaitable[Any]] = [one.close() for one in (server if isinstance(server, list) else [server])]
    await asyncio.gather(*closing, return_exceptions=True)


def _told(starting: asyncio.Future[str]) -> dict[str, str]:
    error = starting.exception()
    return {"error": _cause(error)} if error else {"address": starting.result()}


def _cause(error: BaseException) -> str:
    """Return the error that came first, in one line: Dask wraps what a worker says into errors of its own."""
    while (first := error.__cause__ or error.__context__) is not None:
        error = first
    return " ".join(f"{type(error).__name__}: {error}".split())


def _answer(descriptor: int, message: Mapping[str, str]) -> None:
    with suppress(OSError):  # nobody waits for it any more
        os.write(descriptor, json.dumps(message).encode() + b"\n")
    os.close(descriptor)


def _watch(parent: int, loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    """Wait until the program says that it ends, or is gone."""
    poll = select.poll()
    poll.register(0, select.POLLIN | select.POLLHUP)
    while not poll.poll(1000 * _PARENT_SECONDS) and os.getppid() == parent:
        pass
    with suppress(RuntimeError):  # it has ended already
        loop.call_soon_threadsafe(ended.set)
