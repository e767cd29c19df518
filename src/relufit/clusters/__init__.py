"""Where ranks run. A new kind is a module here and a line in `KINDS`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from relufit.clusters.settings import import_dask
from relufit.errors import ConfigError
from relufit.interrupts import delivered

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["ELSEWHERE", "KINDS", "Cluster", "open_cluster"]


class Cluster(Protocol):
    """An open cluster; closing it is the context manager's."""

    @property
    def client(self) -> Client | None:
        """The Dask client, or None where ranks run in this process."""

    def describe(self) -> dict[str, Any]:
        """Return what the cluster is, JSON-ready."""

    def counters(self) -> dict[str, dict[str, int]]:
        """Return the bytes that the interfaces of its hosts have sent and received, by host; empty if unknown."""


def _opened_by(module: str, function: str) -> Callable[[Mapping[str, Any], int], AbstractContextManager[Cluster]]:
    """Return what opens a kind and imports its module only then: the processes of a cluster start more quickly."""

    def opened(options: Mapping[str, Any], workers: int) -> AbstractContextManager[Cluster]:
        opener = getattr(importlib.import_module(f"{__name__}.{module}"), function)
        return opener(options, workers)  # type: ignore[no-any-return]

    return opened


#: A kind is opened with its own part of the configuration, ``cluster.{kind}``, for a run of so many ranks.
KINDS = {
    "inprocess": _opened_by("inprocess", "open_inprocess"),
    "local": _opened_by("local", "open_local"),
    "address": _opened_by("address.kind", "open_address"),
    "ssh": _opened_by("ssh.kind", "open_ssh"),
    "emulated": _opened_by("emulated.kind", "open_kind"),
    "ec2": _opened_by("ec2.kind", "open_ec2"),
}

#: Kinds whose workers have processors of their own, so that trials without real ranks are spread over them.
ELSEWHERE = frozenset({"address", "ssh", "ec2"})


def open_cluster(config: Mapping[str, Any], workers: int) -> AbstractContextManager[Cluster]:
    """Open the cluster that a configuration's section ``cluster`` describes, for a run of `workers` ranks.

    The section has the ``kind``, and under the kind's name what that kind needs. With 0 ranks a single worker is
    enough.

    Raises
    ------
    ConfigError
        If the kind is unknown.
    ClusterError
        If Dask cannot be imported.
    """
    kind = config.get("kind")
    if kind not in KINDS:
        raise ConfigError(f"unknown kind {kind!r}", where="cluster.kind", remedy=f"choose one of {', '.join(KINDS)}")
    if kind != "inprocess":
        import_dask()
    return _open(KINDS[kind](config.get(kind) or {}, workers))


@contextmanager
def _open(opened: AbstractContextManager[Cluster]) -> Iterator[Cluster]:
    with delivered(), opened as cluster:  # Dask watches the garbage collector of a process that has its scheduler
        yield cluster
