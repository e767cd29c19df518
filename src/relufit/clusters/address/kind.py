"""A Dask scheduler that runs already, by its address or its scheduler file. Closing leaves it as it was."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relufit.clusters import own_tcp
from relufit.clusters.address.options import AddressSection
from relufit.clusters.tls import read_security
from relufit.clusters.versions import check_versions
from relufit.clusters.workers import DaskCluster, close_within, wait_for_slots, workers_of
from relufit.errors import ClusterError, ConfigError
from relufit.files import paths
from relufit.transport import owners
from relufit.transport.connections import is_loopback

if TYPE_CHECKING:
    from distributed import Client, Security

_KEY = AddressSection.WHERE
_CLOSING_SECONDS = 20.0
_POLLING_SECONDS = 0.1


@contextmanager
def open_address(options: Mapping[str, Any], workers: int) -> Iterator[DaskCluster]:
    """Connect to the scheduler, and disconnect whatever happens.

    Parameters
    ----------
    options : dict
        What `AddressSection` describes.
    workers : int
        Ranks of the run, 0 where there is none. A worker more is used if it is there within seconds.

    Raises
    ------
    ConfigError
        If the options are impossible.
    ClusterError
        If the scheduler cannot be reached, is none, runs other versions, or has too few slots in time.
    """
    asked = AddressSection.read(options)
    seconds = asked.timeout
    security = read_security(dict(asked.tls), f"{_KEY}.tls") if asked.tls else None
    address = _checked(_address(asked), security)
    client = _connect(address, security, seconds)
    try:
        slots = wait_for_slots(client, enough=max(workers, 1), wanted=workers + 1, seconds=seconds, where=_KEY)
        if security is None:  # before the first question to them
            _check_workers(client, seconds)
        check_versions(client, where=_KEY, seconds=seconds)
        yield DaskCluster(client, {"kind": "address", "slots": slots, "tls": security is not None})
    finally:
        close_within(_CLOSING_SECONDS, client.close)


def _address(asked: AddressSection) -> str:
    if asked.scheduler_file:
        return _read_scheduler_file(paths.absolute(asked.scheduler_file), asked.timeout)
    return str(asked.address)


def _read_scheduler_file(path: Path, seconds: float) -> str:
    """Return the address in a scheduler file, as soon as it is there.

    Whoever can write the file decides who is trusted with the run, so that this must be the user alone, or root.
    """
    end, where = time.monotonic() + seconds, f"{_KEY}.scheduler_file"
    while True:
        try:
            # A pipe by that name is not waited for.
            with open(path, encoding="utf-8", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
                about, content = os.fstat(file.fileno()), file.read()
            address = json.loads(content)["address"]
            break
        except FileNotFoundError:
            reason, remedy = f"{path} is not there after {seconds:g} s", "start `dask scheduler --scheduler-file`"
        except OSError as error:
            raise ConfigError(
                f"{path} cannot be read ({error.strerror})", where=where, remedy="give a file of your own"
            ) from error
        except (ValueError, KeyError, TypeError):  # it may be half-written
            reason, remedy = f"{path} is no scheduler file", "give the one that `dask scheduler --scheduler-file` wrote"
        if time.monotonic() >= end:
            raise ClusterError(reason, where=where, remedy=remedy)
        time.sleep(_POLLING_SECONDS)
    _check_owner(path, about, where)
    return str(address)


def _check_owner(path: Path, about: os.stat_result, where: str) -> None:
    if about.st_uid not in {os.getuid(), 0}:
        raise ConfigError(
            f"{path} belongs to another user, who decides by it which scheduler is trusted",
            where=where,
            remedy="let your own scheduler write it into a folder of yours",
        )
    if about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigError(
            f"others than you may write {path}, and decide by it which scheduler is trusted",
            where=where,
            remedy=f"see that it is what your scheduler wrote, then `chmod go-w {path}`; `umask 022` before the "
            "scheduler starts keeps it from being so",
        )


def _checked(address: str, security: Security | None) -> str:
    """Return the address if nothing would travel unprotected to it."""
    scheme, _, rest = address.partition("://")
    host, _, port = rest.rpartition(":")
    if scheme not in {"tcp", "tls"} or not host or not port.isdigit():
        raise ConfigError(
            f"{address!r} is no address of a scheduler", where=_KEY, remedy="it is like tls://10.0.0.1:8786"
        )
    if security and scheme == "tcp":
        raise ConfigError(
            f"{address} is without TLS, and tls is given",
            where=f"{_KEY}.tls",
            remedy="start the scheduler with --tls-ca-file, --tls-cert and --tls-key and use its tls:// address, "
            "or leave tls out",
        )
    if scheme == "tls" and not security:
        raise ConfigError(f"{address} needs TLS files", where=f"{_KEY}.tls", remedy="give ca_file, cert and key")
    if not security and not is_loopback(host.strip("[]")):
        raise ConfigError(f"{address} is on a network and without TLS", where=_KEY, remedy=own_tcp.WITH_TLS)
    return address


def _connect(address: str, security: Security | None, seconds: float) -> Client:
    """Return a client of the scheduler at an address, after a look at who answers there."""
    from distributed import Client
    from distributed.comm import connect
    from distributed.core import send_recv
    from distributed.utils import LoopRunner

    if security is None:
        own_tcp.register()
    at = address if security else f"{own_tcp.SCHEME}://{address.partition('://')[2]}"

    async def ask() -> Any:  # noqa: ANN401 - what the other side says it is
        arguments = security.get_connection_args("client") if security else {}
        comm = await connect(at, timeout=seconds, **arguments)
        try:
            return await send_recv(comm, close=True, op="identity")
        finally:
            comm.abort()

    remedy = "check that it runs, its address, and what lies between"
    try:
        answer = LoopRunner().run_sync(ask, callback_timeout=seconds + 1)
        kind = answer.get("type") if isinstance(answer, dict) else None
        if kind == "Scheduler":
            return Client(at, security=security, timeout=seconds)
        raise ClusterError(
            f"{address} is a {kind or 'stranger'}, not a scheduler", where=_KEY, remedy="give the scheduler's address"
        )
    except own_tcp.StrangerError as error:
        reason = f"{address} is not to be trusted: {error.what}"
        raise ClusterError(reason, where=_KEY, remedy=error.remedy) from error
    except TimeoutError as error:
        reason = f"no scheduler answers at {address} within {seconds:g} s"
        raise ClusterError(reason, where=_KEY, remedy=remedy) from error
    except (OSError, ValueError, RuntimeError, TypeError) as error:
        cause = str(error.__cause__ or error)
        if "SSL" in cause or "TLS" in cause or "certificate" in cause.lower():
            raise ClusterError(
                f"no TLS with {address} ({cause})",
                where=f"{_KEY}.tls",
                remedy="use certificates of the authority that the scheduler trusts",
            ) from error
        reason = f"no scheduler answers at {address} within {seconds:g} s ({cause})"
        raise ClusterError(reason, where=_KEY, remedy=remedy) from error


def _check_workers(client: Client, seconds: float) -> None:
    """Check that a cluster without TLS is all on this machine, and of this user or root; what they answer runs here."""
    workers = workers_of(client, seconds=seconds, where=_KEY)
    lines = owners.tables()
    for address in workers:
        host, _, port = address.partition("://")[2].rpartition(":")
        host = host.strip("[]")
        if not is_loopback(host):
            raise ConfigError(f"worker {address} is on a network and without TLS", where=_KEY, remedy=own_tcp.WITH_TLS)
        users = owners.owners_of_listener(lines, (host, int(port)))
        if not users or users - own_tcp.trusted():
            raise ClusterError(f"worker {address} is not one of this user", where=_KEY, remedy=own_tcp.WITH_TLS)
