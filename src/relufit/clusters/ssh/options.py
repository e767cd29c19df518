"""What the configuration says of a cluster over SSH, checked as far as that needs no host's answer."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from relufit.clusters.tls_files import TlsFiles
from relufit.errors import ConfigError
from relufit.files import paths
from relufit.schema import Distinct, Integer, Positive, Section, Text, Whole

if TYPE_CHECKING:
    from distributed import Security

KEY = "cluster.ssh"
#: A host that is switched off is missed in half a minute.
_KEEPALIVE = {"keepalive_interval": 10, "keepalive_count_max": 3}


class Connect(Section):
    """How SSH connects; its own configuration files are read as well."""

    port: Annotated[Integer, Field(ge=1, le=65535)] = Field(default=22, description="port of SSH on all hosts")
    username: Text | None = Field(default=None, description="name of the user there")
    known_hosts: Text | None = Field(default=None, description="path of a file of known hosts")
    client_key: Text | None = Field(default=None, description="path of a private key")


class SshSection(Section):
    """Hosts on which Dask is started over SSH."""

    WHERE: ClassVar[str] = KEY

    hosts: Distinct[Text] = Field(min_length=1, description="names or addresses of the hosts where workers run")
    scheduler: Text | None = Field(default=None, description="where the scheduler runs; the first of the hosts")
    python: Text | None = Field(default=None, description="path of the interpreter there; that of this program")
    workers_per_host: Whole = Field(default=1, description="workers of a host")
    connect: Connect = Field(default_factory=Connect, description="how SSH connects; its own files are read as well")
    tls: TlsFiles | None = Field(default=None, description="needed unless all hosts are loopback")
    timeout: Positive = Field(
        default=60.0, description="seconds to look at the hosts, and again for Dask to start on all of them"
    )


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
    from relufit.clusters.tls import read_security
    from relufit.transport.connections import is_loopback

    try:
        import asyncssh  # noqa: F401 - only to know
    except ImportError as error:
        raise ConfigError("asyncssh is missing", where=KEY, remedy="install relufit[ssh]") from error
    section = SshSection.read(options)
    hosts, scheduler = section.hosts, section.scheduler or section.hosts[0]
    if not section.tls and not all(is_loopback(host) for host in (*hosts, scheduler)):
        raise ConfigError(
            "ranks on a network need TLS",
            where=f"{KEY}.tls",
            remedy="give ca_file, cert and key, PEM files under the same paths on every host",
        )
    # Absolute, for the hosts have another working folder.
    tls = {name: str(paths.absolute(path)) for name, path in section.tls or ()}
    asked = Options(
        hosts=hosts,
        scheduler=scheduler,
        python=section.python or sys.executable,
        workers_per_host=section.workers_per_host,
        connect=_connect_options(section.connect),
        security=read_security(tls, f"{KEY}.tls") if tls else None,
        files=tuple(tls[name] for name in ("ca_file", "cert", "key")) if tls else (),
        seconds=section.timeout,
    )
    if asked.workers < workers:
        raise ConfigError(
            f"{asked.workers} workers for {workers} ranks",
            where=f"{KEY}.hosts",
            remedy="name more hosts, raise workers_per_host, or ask for fewer ranks",
        )
    return asked


def _connect_options(connect: Connect) -> dict[str, Any]:
    """Return what asyncssh takes; hosts that nobody knows are never connected to."""
    given = connect.model_dump(exclude_unset=True, exclude_none=True)
    options: dict[str, Any] = {name: given[name] for name in ("port", "username") if name in given}
    for name, taken in (("known_hosts", "known_hosts"), ("client_key", "client_keys")):
        if name in given:
            path = paths.absolute(given[name])
            try:
                path.open("rb").close()
            except OSError as error:
                raise ConfigError(
                    f"{path} cannot be read ({error.strerror})",
                    where=f"{KEY}.connect.{name}",
                    remedy="give a file of OpenSSH",
                ) from error
            options[taken] = [str(path)] if name == "client_key" else str(path)
    return options | _KEEPALIVE
