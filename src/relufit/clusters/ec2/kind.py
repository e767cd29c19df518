"""A Dask cluster on EC2: checked before anything starts, with TLS, ended and looked for afterwards."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from relufit.clusters.certificates import Pair, make
from relufit.clusters.ec2 import opening, preflight, teardown
from relufit.clusters.ec2.options import Options
from relufit.clusters.ec2.preflight import Passed
from relufit.clusters.versions import check_versions
from relufit.clusters.workers import ask_workers, close_within
from relufit.errors import ClusterError
from relufit.instance_types import CURRENCY

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["EC2", "Started", "open_ec2", "started"]
#: How long a worker that has joined may take to answer.
_ANSWER_SECONDS = 60.0
#: How long the client may take to close; instances are ended after that.
_CLOSING_SECONDS = 20.0


@dataclass(frozen=True)
class Started:
    """A cluster that runs."""

    address: str
    workers: int
    passed: Passed


@dataclass(frozen=True)
class EC2:
    """The cluster ``ec2``."""

    client: Client
    options: Options
    found: Started

    def describe(self) -> dict[str, Any]:
        """Return what the cluster is; nothing of the account."""
        options = self.options
        return {
            "kind": "ec2",
            "region": options.region,
            "ami": options.ami,
            "image": options.image,
            "instance_type": options.instance_type,
            "scheduler_instance_type": options.scheduler_instance_type,
            "instances": self.found.workers,
            "slots": options.slots,
            "spot": options.spot,
            **self.found.passed.describe(),
        }

    def counters(self) -> dict[str, dict[str, int]]:
        """Return the bytes that the interfaces of the workers' instances have sent and received."""
        answers = ask_workers(
            self.client,
            lambda which: self.client.run(_interfaces, workers=which, on_error="ignore"),
            seconds=_ANSWER_SECONDS,
            where="cluster.ec2",
        )
        return {str(host): counts for host, counts in answers.values()}


def _interfaces() -> tuple[str, dict[str, int]]:
    """Return the host and the bytes through its interfaces, without loopback."""
    import socket

    import psutil

    counts = [count for name, count in psutil.net_io_counters(pernic=True).items() if name != "lo"]
    sent, received = sum(count.bytes_sent for count in counts), sum(count.bytes_recv for count in counts)
    return socket.gethostname(), {"sent": sent, "received": received}


def say(what: str) -> None:
    """Tell the user something that must not be missed."""
    print(f"relufit: {what}", file=sys.stderr, flush=True)


@contextmanager
def started(options: Options, workers: int, name: str, pair: Pair) -> Iterator[Started]:
    """Start a cluster with `workers` worker instances, and end it if the block fails.

    Raises
    ------
    ConfigError
        If a check before the start fails; nothing has been started then.
    ClusterError
        If AWS refuses, or something does not answer in time; nothing is left then.
    """
    passed = preflight.check(options, workers, name, pair)
    say(
        f"{workers + 1} instances in {passed.zone} as {passed.identity}, {passed.cost.total:.3f} {CURRENCY} an "
        f"hour{' at most' if options.spot else ''} (ceiling {options.ceiling:g}); user data {passed.user_data_bytes} "
        f"bytes; {passed.quota}; tag {teardown.TAG}={name}"
    )
    known: list[str] = []
    start = opening.Opening(options, name, pair, passed.vpc)
    try:
        with start.entered():
            try:
                address = start.scheduler()
                start.workers(workers)
            finally:
                known = start.instances()
        yield Started(address, workers, passed)
    except BaseException:
        teardown.end(options.region, name, start.instances() or known)
        raise


def joined(options: Options, found: Started, pair: Pair) -> Client:
    """Return a client of a cluster that has all its workers, of the same versions as here.

    Raises
    ------
    ClusterError
        If they do not join in time, or have other versions.
    """
    from distributed import Client

    late = ClusterError(
        f"{found.workers} workers have not joined within {options.join_timeout:g} s",
        where="cluster.ec2.join_timeout",
        remedy="see that the image has Dask and relufit, and that the security group lets instances reach each other",
    )
    try:
        client = Client(found.address, security=pair.security(), timeout=options.join_timeout, set_as_default=True)
    except (OSError, TimeoutError) as error:
        raise late from error
    try:
        try:
            seconds = options.join_timeout
            client.sync(client.wait_for_workers, found.workers, timeout=seconds, callback_timeout=seconds)
        except TimeoutError as error:
            raise late from error
        check_versions(client, where="cluster.ec2.image", seconds=_ANSWER_SECONDS)
    except BaseException:
        close_within(_CLOSING_SECONDS, client.close)
        raise
    return client


@contextmanager
def open_ec2(options: Mapping[str, Any], workers: int) -> Iterator[EC2]:
    """Start a cluster for so many ranks, and end it whatever happens.

    Without ranks it has the instances that the options name, one if they name none.

    Raises
    ------
    ConfigError
        If a check before the start fails; nothing has been started then.
    ClusterError
        If AWS refuses, something does not answer in time, or an instance is left at the end.
    """
    checked = Options.read(options)
    name = f"relufit-{secrets.token_hex(6)}"
    pair = make(name)
    with started(checked, checked.workers(workers), name, pair) as cluster:
        client = joined(checked, cluster, pair)
        try:
            yield EC2(client, checked, cluster)
        finally:
            close_within(_CLOSING_SECONDS, client.close)
        count = teardown.end(checked.region, name)
        say(f"{count} instances ended, none is left with the tag {teardown.TAG}={name}")
