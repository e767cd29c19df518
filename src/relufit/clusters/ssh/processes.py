"""Dask on the hosts: started within a deadline, and ended whatever happens."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import shlex
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from relufit.clusters.settings import WITHOUT_HTTP, defaults_of_dask, defaults_while_open
from relufit.clusters.ssh.options import KEY, Options
from relufit.clusters.workers import close_within, reached
from relufit.errors import ClusterError
from relufit.transport.connections import is_loopback
from relufit.transport.slot import SLOT

if TYPE_CHECKING:
    from distributed import Client, SpecCluster
    from distributed.utils import LoopRunner

T = TypeVar("T")
_CLOSING_SECONDS = 20.0
#: What runs Dask there in a private folder.
_LAUNCH = "-P -m relufit.clusters.launch"
_TETHER = ["relufit.clusters.ssh.exit_with_ssh"]


def run_within(runner: LoopRunner, doing: Coroutine[Any, Any, T], seconds: float, failure: str) -> T:
    """Run a coroutine on a loop within a deadline.

    Raises
    ------
    ClusterError
        If it has not ended by then: `failure`.
    """

    async def limited() -> T:
        return await asyncio.wait_for(doing, seconds)

    try:
        result: T = runner.run_sync(limited)
        return result
    except TimeoutError as error:
        raise ClusterError(
            f"{failure} within {seconds:g} s", where=KEY, remedy="see what the hosts are busy with, or wait longer"
        ) from error


@contextmanager
def started(runner: LoopRunner, options: Options) -> Iterator[Client]:
    """Start Dask on the hosts, yield a client, and end all of it.

    Raises
    ------
    ClusterError
        If it does not start, or not in time.
    """
    from distributed import Client

    cluster: SpecCluster | None = None
    client: Client | None = None
    try:
        cluster = _start(runner, options)
        with defaults_while_open():
            with reached(KEY):
                client = Client(cluster.scheduler_address, security=options.security, timeout=options.seconds)
            yield client
    finally:
        if client is not None:
            close_within(_CLOSING_SECONDS, client.close)
        if cluster is not None:
            close_within(2 * _CLOSING_SECONDS, lambda: runner.run_sync(_end, cluster))


def _start(runner: LoopRunner, options: Options) -> SpecCluster:
    import dask

    # Processes there take Dask's configuration over, on their command lines, which anybody there can read: nothing of
    # this machine, and paths alone, no text of a key.
    with defaults_of_dask(), dask.config.set({**WITHOUT_HTTP, **_tls_config(options)}):
        cluster: SpecCluster = runner.run_sync(_make, options)
        try:
            run_within(runner, _begin(cluster), options.seconds, "Dask did not start on all hosts")
        except BaseException as error:
            close_within(2 * _CLOSING_SECONDS, lambda: runner.run_sync(_end, cluster))
            if isinstance(error, ClusterError) or not isinstance(error, Exception):
                raise
            # Dask raises whatever comes: of the connection, and mere exceptions of its own.
            raise ClusterError(
                f"Dask did not start ({error or type(error).__name__})",
                where=KEY,
                remedy="see that a worker can reach the scheduler's host, that ports are free, and that the hosts "
                "do not end its processes",
            ) from error
    return cluster


def _tls_config(options: Options) -> dict[str, Any]:
    if not options.files:
        return {}
    ca_file, cert, key = options.files
    roles = {
        f"distributed.comm.tls.{role}.{part}": path
        for role in ("client", "scheduler", "worker")
        for part, path in (("cert", cert), ("key", key))
    }
    return {"distributed.comm.require-encryption": True, "distributed.comm.tls.ca-file": ca_file, **roles}


async def _make(options: Options) -> SpecCluster:
    from distributed import SSHCluster

    return SSHCluster(
        [options.scheduler, *options.hosts],
        connect_options=options.connect,
        remote_python=f"{shlex.quote(options.python)} {_LAUNCH}",
        security=options.security,
        asynchronous=True,
        silence_logs=logging.CRITICAL,
        scheduler_options={
            "port": 0,
            "protocol": "tls" if options.security else "tcp",
            "dashboard_address": "127.0.0.1:0",
            "preload": _TETHER,
            **_listen_on(options.scheduler),
        },
        worker_options={
            "n_workers": options.workers_per_host,
            "nthreads": 1,
            "resources": {SLOT: 1},
            "dashboard_address": "127.0.0.1:0",
            "preload_nanny": _TETHER,
            "memory_limit": 0,  # a shard that is mapped is counted as memory, and is none
            # A worker that is not told where listens on every network of its host.
            **({"host": "127.0.0.1"} if all(map(is_loopback, options.hosts)) else {}),
        },
    )


def _listen_on(host: str) -> dict[str, str]:
    """Return where a scheduler listens: on the address that was given, else where Dask finds its network."""
    if is_loopback(host):
        return {"host": "127.0.0.1"}
    with suppress(ValueError):
        return {"host": str(ipaddress.ip_address(host))}
    return {}


async def _begin(cluster: SpecCluster) -> None:
    await cluster


async def _end(cluster: SpecCluster) -> None:
    """Close the cluster, and then the connections of what was still starting, which ends it; the loop ends next."""
    with suppress(Exception):
        await asyncio.wait_for(cluster.close(), _CLOSING_SECONDS)
    for process in (cluster.scheduler, *cluster._created):
        with suppress(Exception):
            if process.proc:
                process.proc.kill()
            if process.connection:
                process.connection.close()
                await asyncio.wait_for(process.connection.wait_closed(), 5)
