"""A Dask cluster that is started on hosts over SSH, and ends with the run."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relufit.clusters.tls import read_security
from relufit.clusters.versions import check_versions, differences, refusal
from relufit.clusters.workers import SLOT, DaskCluster, close_within, wait_for_slots
from relufit.errors import ClusterError, ConfigError
from relufit.transport.connections import is_loopback

if TYPE_CHECKING:
    from distributed import Client, Security, SpecCluster
    from distributed.utils import LoopRunner

_KEY = "cluster.ssh"
_SECONDS = 60.0
_CLOSING_SECONDS = 20.0
_TETHER = ["relufit.clusters.tether"]
#: A shell's exit status where there is no such program, or it cannot be run.
_NO_PROGRAM = (126, 127)


@dataclass(frozen=True)
class _Plan:
    """What the options ask for, checked."""

    hosts: tuple[str, ...]
    scheduler: str
    python: str
    workers_per_host: int
    connect: dict[str, Any]
    security: Security | None
    files: tuple[str, ...]
    seconds: float

    @property
    def workers(self) -> int:
        """The number of workers, each with a slot."""
        return len(self.hosts) * self.workers_per_host


@contextmanager
def open_ssh(options: Mapping[str, Any], workers: int) -> Iterator[DaskCluster]:
    """Start a scheduler and workers on some hosts, and stop them whatever happens.

    Parameters
    ----------
    options : dict
        ``hosts``, names or addresses, with ``workers_per_host`` workers (1) each; ``scheduler``, the host that has the
        scheduler (the first one); ``python``, the path of the interpreter on all of them (this one's); ``connect``,
        with ``port``, ``username``, and the paths ``known_hosts`` and ``client_key``; ``tls`` with ``ca_file``,
        ``cert`` and ``key``, paths that are the same on every host, needed unless all of them are loopback;
        ``timeout``, seconds in which the hosts must have been looked at, and again for everything to be there (60).
    workers : int
        Ranks of the run; a worker more has the master.

    Raises
    ------
    ConfigError
        If the options are impossible, or asyncssh is missing.
    ClusterError
        If a host cannot be reached or lets nobody in, lacks Python, relufit or a file, has other versions, or
        something does not start in time.
    """
    from distributed.utils import LoopRunner

    plan = _plan(options, workers)
    runner = LoopRunner()
    runner.start()
    try:
        _run(runner, _check_hosts(plan), plan.seconds, "the hosts were not all looked at")
        with _started(runner, plan) as client:
            count = plan.workers
            wait_for_slots(client, enough=count, wanted=count, seconds=plan.seconds, where=_KEY)
            check_versions(client, where=_KEY, seconds=plan.seconds)
            tls = plan.security is not None
            yield DaskCluster(client, {"kind": "ssh", "hosts": len(plan.hosts), "workers": count, "tls": tls})
    finally:
        with suppress(Exception):
            runner.stop()


def _plan(options: Mapping[str, Any], workers: int) -> _Plan:
    try:
        import asyncssh  # noqa: F401 - only to know
    except ImportError as error:
        raise ConfigError("asyncssh is missing", where=_KEY, remedy="install relufit[ssh]") from error
    hosts = tuple(options.get("hosts") or ())
    if not hosts:
        raise ConfigError("no hosts", where=f"{_KEY}.hosts", remedy="name at least one")
    scheduler, tls = options.get("scheduler") or hosts[0], options.get("tls")
    if not tls and not all(is_loopback(host) for host in (*hosts, scheduler)):
        raise ConfigError(
            "ranks on a network need TLS",
            where=f"{_KEY}.tls",
            remedy="give ca_file, cert and key, PEM files under the same paths on every host",
        )
    # Absolute, for the hosts have another working folder.
    tls = {name: str(Path(path).expanduser().absolute()) for name, path in tls.items()} if tls else {}
    plan = _Plan(
        hosts=hosts,
        scheduler=scheduler,
        python=options.get("python") or sys.executable,
        workers_per_host=int(options.get("workers_per_host") or 1),
        connect=_connect_options(options.get("connect") or {}),
        security=read_security(tls, f"{_KEY}.tls") if tls else None,
        files=tuple(tls.values()),
        seconds=float(options.get("timeout") or _SECONDS),
    )
    if plan.workers < workers:
        raise ConfigError(
            f"{plan.workers} workers for {workers} ranks",
            where=f"{_KEY}.hosts",
            remedy="name more hosts, raise workers_per_host, or ask for fewer ranks",
        )
    return plan


def _connect_options(connect: Mapping[str, Any]) -> dict[str, Any]:
    """Return what asyncssh takes; hosts that nobody knows are never connected to."""
    options = {name: connect[name] for name in ("port", "username") if name in connect}
    for name, given in (("known_hosts", "known_hosts"), ("client_key", "client_keys")):
        if name in connect:
            path = Path(connect[name]).expanduser()
            try:
                path.open("rb").close()
            except OSError as error:
                where = f"{_KEY}.connect.{name}"
                raise ConfigError(
                    f"{path} cannot be read ({error.strerror})", where=where, remedy="give a file of OpenSSH"
                ) from error
            options[given] = [str(path)] if name == "client_key" else str(path)
    # A host that is switched off is missed in half a minute.
    return {**options, "keepalive_interval": 10, "keepalive_count_max": 3}


def _run(runner: LoopRunner, doing: Any, seconds: float, failure: str) -> Any:  # noqa: ANN401 - a coroutine's result
    """Run a coroutine on the loop within a deadline."""

    async def limited() -> Any:  # noqa: ANN401
        return await asyncio.wait_for(doing, seconds)

    try:
        return runner.run_sync(limited)
    except TimeoutError as error:
        raise ClusterError(
            f"{failure} within {seconds:g} s", where=_KEY, remedy="see what the hosts are busy with, or wait longer"
        ) from error


async def _check_hosts(plan: _Plan) -> None:
    """Look at all hosts at once, and raise the first error of any."""
    hosts = dict.fromkeys((plan.scheduler, *plan.hosts))
    found = await asyncio.gather(*(_check_host(plan, host) for host in hosts), return_exceptions=True)
    errors = [error for error in found if isinstance(error, BaseException)]
    if errors:
        raise errors[0]
    table = differences({host: told for host, told in zip(hosts, found, strict=True) if isinstance(told, dict)})
    if table:
        raise refusal(table, f"{_KEY}.hosts")


async def _check_host(plan: _Plan, host: str) -> dict[str, str]:
    """Return the versions on a host."""
    import asyncssh

    where, command = f"{_KEY}.hosts.{host}", [plan.python, "-m", "relufit.clusters.versions", *plan.files]
    port = plan.connect.get("port", 22)
    limit = 0.9 * plan.seconds
    try:
        async with asyncio.timeout(limit), asyncssh.connect(host, **plan.connect) as connection:
            done = await connection.run(shlex.join(command))
    except TimeoutError as error:
        remedy = "check its address, port and firewall"
        raise ClusterError(f"no answer at port {port} within {limit:g} s", where=where, remedy=remedy) from error
    except asyncssh.HostKeyNotVerifiable as error:
        raise ClusterError(
            f"its key is not among the known hosts ({error})",
            where=where,
            remedy="connect once by `ssh`, or give connect.known_hosts",
        ) from error
    except asyncssh.PermissionDenied as error:
        raise ClusterError(
            "it lets nobody in with that user and key",
            where=where,
            remedy="check connect.username and connect.client_key, and authorized_keys on the host",
        ) from error
    except (OSError, ValueError, asyncssh.Error) as error:
        raise ClusterError(
            f"no SSH connection to port {port} ({error})", where=where, remedy="check its address, port and firewall"
        ) from error
    return _read_answer(plan, where, done)


def _read_answer(plan: _Plan, where: str, done: Any) -> dict[str, str]:  # noqa: ANN401 - asyncssh's
    if done.exit_status in _NO_PROGRAM:
        raise ClusterError(f"there is no {plan.python}", where=where, remedy=f"give {_KEY}.python")
    try:
        answer = json.loads(str(done.stdout).strip().splitlines()[-1])
        versions, unreadable = dict(answer["versions"]), list(answer["unreadable"])
    except (LookupError, ValueError, TypeError) as error:
        said = (str(done.stderr).strip().splitlines() or ["no output"])[-1]
        remedy = f"install the same relufit there for {plan.python}, or give {_KEY}.python"
        raise ClusterError(f"relufit does not run there ({said})", where=where, remedy=remedy) from error
    if unreadable:
        raise ClusterError(
            f"{unreadable[0]} cannot be read there", where=where, remedy="put the TLS files there under the same path"
        )
    return versions


@contextmanager
def _started(runner: LoopRunner, plan: _Plan) -> Iterator[Client]:
    """Start Dask on the hosts, yield a client, and end all of it."""
    import dask
    from distributed import Client

    cluster: SpecCluster | None = None
    client: Client | None = None
    try:
        # Processes there take this over: paths alone, no text of a key.
        with dask.config.set(_tls_config(plan)):
            cluster = runner.run_sync(_make, plan)
            try:
                _run(runner, _begin(cluster), plan.seconds, "Dask did not start on all hosts")
            except (OSError, RuntimeError) as error:
                remedy = "see that a worker can reach the scheduler's host and that ports are free"
                raise ClusterError(f"Dask did not start ({error})", where=_KEY, remedy=remedy) from error
        client = Client(cluster.scheduler_address, security=plan.security, timeout=plan.seconds)
        yield client
    finally:
        if client is not None:
            close_within(_CLOSING_SECONDS, client.close)
        if cluster is not None:
            close_within(2 * _CLOSING_SECONDS, lambda: runner.run_sync(_end, cluster))


def _tls_config(plan: _Plan) -> dict[str, Any]:
    if not plan.files:
        return {}
    ca_file, cert, key = plan.files
    roles = {
        f"distributed.comm.tls.{role}.{part}": path
        for role in ("client", "scheduler", "worker")
        for part, path in (("cert", cert), ("key", key))
    }
    return {"distributed.comm.require-encryption": True, "distributed.comm.tls.ca-file": ca_file, **roles}


async def _make(plan: _Plan) -> SpecCluster:
    from distributed import SSHCluster

    return SSHCluster(
        [plan.scheduler, *plan.hosts],
        connect_options=plan.connect,
        remote_python=shlex.quote(plan.python),
        security=plan.security,
        asynchronous=True,
        silence_logs=logging.CRITICAL,
        scheduler_options={
            "port": 0,
            "protocol": "tls" if plan.security else "tcp",
            "dashboard_address": "127.0.0.1:0",
            "preload": _TETHER,
            **_listen_on(plan.scheduler),
        },
        worker_options={
            "n_workers": plan.workers_per_host,
            "nthreads": 1,
            "resources": {SLOT: 1},
            "dashboard_address": "127.0.0.1:0",
            "preload_nanny": _TETHER,
            "memory_limit": 0,  # a shard that is mapped is counted as memory, and is none
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
