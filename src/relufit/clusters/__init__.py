"""Where ranks run. A new kind is a module here and a line in `KINDS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

from relufit.clusters import ec2, emulated, inprocess, local
from relufit.errors import ConfigError

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["KINDS", "Cluster", "open_cluster"]


class Cluster(Protocol):
    """An open cluster; closing it is the context manager's."""

    @property
    def client(self) -> Client | None:
        """The Dask client, or None where ranks run in this process."""

    def describe(self) -> dict[str, Any]:
        """Return what the cluster is, JSON-ready."""

    def counters(self) -> dict[str, dict[str, int]]:
        """Return the bytes that the interfaces of its hosts have sent and received, by host; empty if unknown."""


#: A kind is opened with its own part of the configuration, ``cluster.{kind}``, for a run of so many ranks.
KINDS: dict[str, Callable[[Mapping[str, Any], int], AbstractContextManager[Cluster]]] = {
    "inprocess": inprocess.open_inprocess,
    "local": local.open_local,
    "emulated": emulated.open_kind,
    "ec2": ec2.open_ec2,
}


def open_cluster(config: Mapping[str, Any], workers: int) -> AbstractContextManager[Cluster]:
    """Open the cluster that a configuration's section ``cluster`` describes, for a run of `workers` ranks.

    The section has the ``kind``, and under the kind's name what that kind needs.

    Raises
    ------
    ConfigError
        If the kind is unknown.
    """
    kind = config.get("kind")
    if kind not in KINDS:
        raise ConfigError(f"unknown kind {kind!r}", where="cluster.kind", remedy=f"choose one of {', '.join(KINDS)}")
    return KINDS[kind](config.get(kind) or {}, workers)
