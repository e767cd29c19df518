"""A look at every host before anything is started there."""

from __future__ import annotations

import asyncio
import json
import shlex
from typing import Any

from relufit.clusters.ssh.options import KEY, Options
from relufit.clusters.versions import differences, refusal
from relufit.errors import ClusterError

#: A shell's exit status where there is no such program, or it cannot be run.
_NO_PROGRAM = (126, 127)


async def check_hosts(options: Options) -> None:
    """Look at all hosts at once, and raise the first error of any.

    Raises
    ------
    ClusterError
        If a host cannot be reached or lets nobody in, lacks Python, relufit or a file, or has other versions.
    """
    hosts = dict.fromkeys((options.scheduler, *options.hosts))
    answers = await asyncio.gather(*(_check(options, host) for host in hosts), return_exceptions=True)
    errors = [error for error in answers if isinstance(error, BaseException)]
    if errors:
        raise errors[0]
    table = differences({host: answer for host, answer in zip(hosts, answers, strict=True) if isinstance(answer, dict)})
    if table:
        raise refusal(table, f"{KEY}.hosts")


async def _check(options: Options, host: str) -> dict[str, str]:
    """Return the versions on a host."""
    import asyncssh

    where, command = f"{KEY}.hosts.{host}", [options.python, "-m", "relufit.clusters.versions", *options.files]
    port = options.connect.get("port", 22)
    limit = 0.9 * options.seconds
    try:
        async with asyncio.timeout(limit), asyncssh.connect(host, **options.connect) as connection:
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
    return _read_answer(options, where, done)


def _read_answer(options: Options, where: str, done: Any) -> dict[str, str]:  # noqa: ANN401 - asyncssh's
    if done.exit_status in _NO_PROGRAM:
        raise ClusterError(f"there is no {options.python}", where=where, remedy=f"give {KEY}.python")
    try:
        answer = json.loads(str(done.stdout).strip().splitlines()[-1])
        versions, unreadable = dict(answer["versions"]), list(answer["unreadable"])
    except (LookupError, ValueError, TypeError) as error:
        said = (str(done.stderr).strip().splitlines() or ["no output"])[-1]
        remedy = f"install the same relufit there for {options.python}, or give {KEY}.python"
        raise ClusterError(f"relufit does not run there ({said})", where=where, remedy=remedy) from error
    if unreadable:
        raise ClusterError(
            f"{unreadable[0]} cannot be read there", where=where, remedy="put the TLS files there under the same path"
        )
    return versions
