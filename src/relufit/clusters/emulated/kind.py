"""The cluster kind ``emulated``: what the rest of the project sees of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from relufit.clusters.certificates import Pair, make
from relufit.clusters.emulated.findings import Findings, probe
from relufit.clusters.emulated.namespaces import CONGESTION_CONTROL
from relufit.clusters.emulated.network import data_address
from relufit.clusters.emulated.options import Options
from relufit.clusters.emulated.session import Session
from relufit.clusters.emulated.shaping import MTU
from relufit.clusters.versions import check_versions
from relufit.errors import ClusterError

if TYPE_CHECKING:
    from distributed import Client
    from distributed.security import Security

_ASK_SECONDS, _BUILD_SECONDS, _GAUGE_SECONDS = 30.0, 120.0, 90.0
_START_SECONDS, _START_SECONDS_A_HOST = 60.0, 3.0


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
            "congestion_control": CONGESTION_CONTROL,
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
        Options.read({name: value for name, value in changes.items() if value is not None})
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
        measurement: dict[str, float] = self._session.ask("measure", _GAUGE_SECONDS + seconds, **arguments)
        return measurement

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
    asked.count(workers)  # mistakes before trials
    findings = probe()
    if not asked.required and (obstacle := asked.obstacle(findings)):
        yield Refused("; ".join(obstacle.sentences()))
        return
    with _opened(asked, workers, findings) as cluster:
        yield cluster


def open_emulated(options: Mapping[str, Any], workers: int) -> AbstractContextManager[Emulated]:
    """Build the network, start Dask on it, and leave nothing behind.

    Raises
    ------
    ConfigError
        If the options are impossible.
    ClusterError
        If this machine cannot emulate what is asked for, or the processes do not start.
    """
    return _opened(Options.read(options), workers, None)


@contextmanager
def _opened(asked: Options, workers: int, findings: Findings | None) -> Iterator[Emulated]:
    link, count = asked.link, asked.count(workers)
    findings = findings or probe()
    if obstacle := asked.obstacle(findings):
        raise obstacle.error()
    hosts = [f"host-{number}" for number in range(count)]
    session = Session()
    try:
        delays = _delays(findings)
        measured = session.ask(
            "build", _BUILD_SECONDS, count=count, link=asdict(link), delays=delays, tables=findings.tables
        )
        pair = make("relufit emulated")
        session.ask("start", _ASK_SECONDS, secrets=_secrets(pair), clear=not asked.tls)
        with _client(session, pair.security(), count) as client:
            yield Emulated(session, client, hosts, asked, findings, measured)
    finally:
        session.close()


def _delays(findings: Findings) -> str:
    return "netem" if findings.delay == "netem" else "rules"


@contextmanager
def _client(session: Session, security: Security, count: int) -> Iterator[Client]:
    from distributed import Client

    seconds = _START_SECONDS + _START_SECONDS_A_HOST * count
    # What ends last is the scheduler, and the client need not say so.
    logger = logging.getLogger("distributed.client")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    address = f"tls://127.0.0.1:{session.port}"
    try:
        client = Client(address, security=security, timeout=seconds, set_as_default=True)
    except OSError as error:
        raise _not_started(session, "scheduler", seconds) from error
    try:
        try:
            client.sync(client.wait_for_workers, count, timeout=seconds, callback_timeout=seconds)
        except TimeoutError as error:
            raise _not_started(session, "host-0", seconds) from error
        check_versions(client, where="cluster.emulated", seconds=seconds)
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


def _secrets(pair: Pair) -> dict[str, str]:
    """Return certificate and key, made for this cluster alone, by Dask's names for them."""
    return {"tls-ca-file": pair.certificate, "tls-cert": pair.certificate + pair.key}
