"""The cluster kind ``emulated``: what the rest of the project sees of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from relufit.clusters.emulated.findings import Findings, probe
from relufit.clusters.emulated.network import MOST_HOSTS, data_address
from relufit.clusters.emulated.session import Session
from relufit.clusters.emulated.shaping import MTU, Link
from relufit.errors import ClusterError, ConfigError

if TYPE_CHECKING:
    from distributed import Client
    from distributed.security import Security

_ASK_SECONDS, _BUILD_SECONDS, _GAUGE_SECONDS = 30.0, 120.0, 90.0
_START_SECONDS, _START_SECONDS_A_HOST = 60.0, 3.0


@dataclass(frozen=True)
class Options:
    """The section ``cluster.emulated``.

    Parameters
    ----------
    rate, round_trip, loss : float
        See `Link`.
    hosts : int, optional
        How many; one for each rank and one for the master if not given.
    tls : bool
        Whether all connections, those of Dask and those of ranks, are encrypted.
    required : bool
        Whether it is an error if this machine refuses; otherwise there is `Refused` in place of hosts.
    """

    rate: float = Link.rate
    round_trip: float = Link.round_trip
    loss: float = Link.loss
    hosts: int | None = None
    tls: bool = False
    required: bool = True

    @property
    def link(self) -> Link:
        """The link of each host."""
        return Link(self.rate, self.round_trip, self.loss)

    def count(self, workers: int) -> int:
        """Return the number of hosts for so many ranks.

        Raises
        ------
        ConfigError
            If there are too few for the ranks, or more than can be had.
        """
        count = workers + 1 if self.hosts is None else self.hosts
        if isinstance(count, bool) or not isinstance(count, int) or not max(2, workers) <= count <= MOST_HOSTS:
            raise ConfigError(
                f"{count!r} hosts for {workers} ranks",
                where="cluster.emulated.hosts",
                remedy=f"give one for each rank, at least 2 and at most {MOST_HOSTS}",
            )
        return count

    @classmethod
    def read(cls, section: Mapping[str, Any]) -> Options:
        """Return the section, checked.

        Raises
        ------
        ConfigError
            If a key is unknown.
        """
        known = [part.name for part in fields(cls)]
        for key in section:
            if key not in known:
                raise ConfigError(
                    "unknown key", where=f"cluster.emulated.{key}", remedy=f"the keys here are {', '.join(known)}"
                )
        return cls(**section)


class Emulated:
    """The cluster ``emulated``.

    Parameters
    ----------
    client : distributed.Client
        Connected to the scheduler inside.
    hosts : list of str
        Names of the hosts, ``host-0`` and so on, which the workers have too.
    """

    def __init__(
        self,
        session: Session,
        client: Client,
        hosts: list[str],
        options: Options,
        findings: Findings,
        measured: dict[str, float],
    ) -> None:
        self._session, self._options, self._findings, self._measured = session, options, findings, measured
        self._link = options.link
        self.client, self.hosts = client, hosts

    def describe(self) -> dict[str, Any]:
        """Return what is emulated, how, and what was measured of one link when the cluster was opened."""
        return {
            "kind": "emulated",
            "hosts": {host: data_address(host) for host in self.hosts},
            **asdict(self._link),
            "tls": self._options.tls,
            "mtu": MTU,
            "burst_bytes": self._link.burst,
            "how": {"rate": "tbf", "delay": self._findings.delay, "loss": self._findings.loss},
            "measured": self._measured,
        }

    def counters(self) -> dict[str, dict[str, int]]:
        """Return what the kernel has counted at the interface of each host since the cluster was opened.

        See `relufit.clusters.emulated.network.Network.counters`.
        """
        counted: dict[str, dict[str, int]] = self._session.ask("counters", _ASK_SECONDS)
        return counted

    def reshape(self, *, rate: float | None = None, round_trip: float | None = None, loss: float | None = None) -> None:
        """Give all links another rate, round trip or loss, also during a run.

        Raises
        ------
        ConfigError
            If that is no link.
        ClusterError
            If this machine cannot emulate it.
        """
        changes = {"rate": rate, "round_trip": round_trip, "loss": loss}
        link = self._link.changed(changes)
        self._findings.require(delay=link.round_trip > 0, loss=link.loss > 0)
        self._session.ask("reshape", _ASK_SECONDS, **changes)
        self._link = link

    def cut(self, host: str) -> None:
        """Cut a host off: what it sends, and what it is sent, is lost without a word, Dask's messages too."""
        self._session.ask("cut", _ASK_SECONDS, host=self._known(host))

    def heal(self, host: str) -> None:
        """Put a host back on the network; if its processes were killed they are started again."""
        self._session.ask("heal", _ASK_SECONDS, host=self._known(host))

    def kill(self, host: str) -> None:
        """Kill all processes of a host; nothing starts them again but `heal`."""
        self._session.ask("kill", _ASK_SECONDS, host=self._known(host))

    def measure(self, source: str, target: str, seconds: float = 0.2) -> dict[str, float]:
        """Send bytes over TCP from one host to another, beside whatever else is sent.

        Returns the median ``round_trip`` of one byte in seconds and, if `seconds` is not 0, the ``rate`` in bits a
        second of so many seconds, by the bytes that the interface has received.
        """
        arguments = {"source": self._known(source), "target": self._known(target), "seconds": seconds}
        found: dict[str, float] = self._session.ask("measure", _GAUGE_SECONDS + seconds, **arguments)
        return found

    def _known(self, host: str) -> str:
        if host not in self.hosts:
            raise ClusterError(
                f"no host {host!r}", where="cluster.emulated", remedy=f"choose one of {', '.join(self.hosts)}"
            )
        return host


@dataclass(frozen=True)
class Refused:
    """What there is in place of hosts where this machine refuses them; ranks can run in this process."""

    why: str
    client: None = None

    def describe(self) -> dict[str, Any]:
        """Return why there are no hosts."""
        return {"kind": "emulated", "refused": self.why}

    def counters(self) -> dict[str, dict[str, int]]:
        """Return nothing: no interface is used."""
        return {}


@contextmanager
def open_kind(options: Mapping[str, Any], workers: int) -> Iterator[Emulated | Refused]:
    """Open the hosts as `open_emulated` does, or yield why there are none where they are not required."""
    asked = Options.read(options)
    if not asked.required:
        try:
            probe().require(delay=asked.link.round_trip > 0, loss=asked.link.loss > 0)
        except ClusterError as refusal:
            yield Refused(str(refusal))
            return
    with open_emulated(options, workers) as cluster:
        yield cluster


@contextmanager
def open_emulated(options: Mapping[str, Any], workers: int) -> Iterator[Emulated]:
    """Build the network, start Dask on it, and leave nothing behind.

    Raises
    ------
    ConfigError
        If the options are impossible.
    ClusterError
        If this machine cannot emulate what is asked for, or the processes do not start.
    """
    asked = Options.read(options)
    link, count = asked.link, asked.count(workers)
    security = _security() if asked.tls else None
    findings = probe()
    findings.require(delay=link.round_trip > 0, loss=link.loss > 0)
    hosts = [f"host-{number}" for number in range(count)]
    session = Session()
    try:
        delays = _delays(findings)
        measured = session.ask(
            "build", _BUILD_SECONDS, count=count, link=asdict(link), delays=delays, tables=findings.tables
        )
        session.ask("start", _ASK_SECONDS, secrets=_secrets(security) if security else {})
        with _client(session, security, count, asked.tls) as client:
            yield Emulated(session, client, hosts, asked, findings, measured)
    finally:
        session.close()


def _delays(findings: Findings) -> str:
    return "netem" if findings.delay == "netem" else "rules"


@contextmanager
def _client(session: Session, security: Security | None, count: int, tls: bool) -> Iterator[Client]:
    from distributed import Client

    seconds = _START_SECONDS + _START_SECONDS_A_HOST * count
    # What ends last is the scheduler, and the client need not say so.
    logger = logging.getLogger("distributed.client")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    address = f"{'tls' if tls else 'tcp'}://127.0.0.1:{session.port}"
    try:
        client = Client(address, security=security, timeout=seconds, set_as_default=True)
    except OSError as error:
        raise _not_started(session, "scheduler", seconds) from error
    try:
        try:
            client.wait_for_workers(count, timeout=seconds)
        except TimeoutError as error:
            raise _not_started(session, "host-0", seconds) from error
        yield client
    finally:
        with suppress(Exception):  # the scheduler may be gone
            client.close(timeout=5)
        logger.setLevel(level)


def _not_started(session: Session, name: str, seconds: float) -> ClusterError:
    return ClusterError(
        f"Dask does not start on all hosts, or not within {seconds:g} s ({session.ask('logs', 10, name=name)})",
        where="cluster.emulated",
        remedy="use fewer hosts, or see what it says",
    )


def _security() -> Security:
    """Return certificates made for this cluster alone."""
    from distributed.security import Security

    try:
        return Security.temporary()
    except ImportError as error:
        raise ClusterError(
            "certificates cannot be made without cryptography",
            where="cluster.emulated.tls",
            remedy="`pip install cryptography`, or ask for `tls: false`",
        ) from error


def _secrets(security: Security) -> dict[str, str]:
    return {
        "tls-ca-file": security.tls_ca_file,
        "tls-cert": security.tls_worker_cert + security.tls_worker_key,
    }
