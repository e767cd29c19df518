"""What the configuration says of a cluster over SSH, checked as far as that needs no host's answer."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relufit.clusters.tls import read_security
from relufit.errors import ConfigError
from relufit.transport.connections import is_loopback

if TYPE_CHECKING:
    from distributed import Security

KEY = "cluster.ssh"
_SECONDS = 60.0
#: A host that is switched off is missed in half a minute.
_KEEPALIVE = {"keepalive_interval": 10, "keepalive_count_max": 3}


@dataclass(frozen=True)
class Options:
    """A cluster over SSH.

    Parameters
    ----------
    hosts : tuple of str
        Where workers run.
    scheduler : str
        Where the scheduler runs.
    python : str
        The path of the interpreter on all of them.
    workers_per_host : int
    connect : dict
        What `asyncssh.connect` takes.
    security : Security or None
        Dask's settings for TLS.
    files : tuple of str
        Paths of the authority, the certificate and its key; empty without TLS.
    seconds : float
        In which the hosts must have been looked at, and again for Dask to have started.
    """

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


def read(options: Mapping[str, Any], workers: int) -> Options:
    """Return the options of the configuration's section ``cluster.ssh``.

    Raises
    ------
    ConfigError
        If one is impossible, there are too few workers for so many ranks, or asyncssh is missing.
    """
    try:
        import asyncssh  # noqa: F401 - only to know
    except ImportError as error:
        raise ConfigError("asyncssh is missing", where=KEY, remedy="install relufit[ssh]") from error
    hosts = tuple(options.get("hosts") or ())
    if not hosts:
        raise ConfigError("no hosts", where=f"{KEY}.hosts", remedy="name at least one")
    scheduler, tls = options.get("scheduler") or hosts[0], options.get("tls")
    if not tls and not all(is_loopback(host) for host in (*hosts, scheduler)):
        raise ConfigError(
            "ranks on a network need TLS",
            where=f"{KEY}.tls",
            remedy="give ca_file, cert and key, PEM files under the same paths on every host",
        )
    # Absolute, for the hosts have another working folder.
    tls = {name: str(Path(path).expanduser().absolute()) for name, path in tls.items()} if tls else {}
    asked = Options(
        hosts=hosts,
        scheduler=scheduler,
        python=options.get("python") or sys.executable,
        workers_per_host=int(options.get("workers_per_host") or 1),
        connect=_connect_options(options.get("connect") or {}),
        security=read_security(tls, f"{KEY}.tls") if tls else None,
        files=tuple(tls[name] for name in ("ca_file", "cert", "key")) if tls else (),
        seconds=float(options.get("timeout") or _SECONDS),
    )
    if asked.workers < workers:
        raise ConfigError(
            f"{asked.workers} workers for {workers} ranks",
            where=f"{KEY}.hosts",
            remedy="name more hosts, raise workers_per_host, or ask for fewer ranks",
        )
    return asked


def _connect_options(connect: Mapping[str, Any]) -> dict[str, Any]:
    """Return what asyncssh takes; hosts that nobody knows are never connected to."""
    options = {name: connect[name] for name in ("port", "username") if name in connect}
    for name, given in (("known_hosts", "known_hosts"), ("client_key", "client_keys")):
        if name in connect:
            path = Path(connect[name]).expanduser()
            try:
                path.open("rb").close()
            except OSError as error:
                raise ConfigError(
                    f"{path} cannot be read ({error.strerror})",
                    where=f"{KEY}.connect.{name}",
                    remedy="give a file of OpenSSH",
                ) from error
            options[given] = [str(path)] if name == "client_key" else str(path)
    return options | _KEEPALIVE
