"""What a kind of cluster must offer to outlive the command that started it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from relufit.clusters.certificates import Pair
from relufit.clusters.persistent.state import Folder


@dataclass(frozen=True)
class Member:
    """A machine or a process of a cluster.

    Parameters
    ----------
    id, cluster, role, type, state : str
        What it is called, the name of its cluster, ``scheduler`` or ``worker``, and what its kind says of it.
    since : float
        When it was started, in seconds since 1970.
    """

    id: str
    cluster: str
    role: str
    type: str
    state: str
    since: float


@dataclass(frozen=True)
class Up:
    """A cluster that has just been started: the scheduler's address, the workers, USD an hour by type of member."""

    address: str
    workers: int
    prices: Mapping[str, float] = field(default_factory=dict)


class Lasting(Protocol):
    """A kind of cluster that can outlive the command that started it. Its members are found by the cluster's name."""

    def place(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return where members will be found, from the kind's part of the configuration or the command line.

        Raises
        ------
        ConfigError
            If that does not say it.
        """

    def up(self, options: Mapping[str, Any], ranks: int, name: str, pair: Pair, folder: Folder) -> Up:
        """Start a cluster for so many ranks, and return when it has all its workers; leave nothing if that fails."""

    def members(self, name: str | None, place: Mapping[str, Any]) -> list[Member]:
        """Return the members that live, of the cluster of that name or of all, without any state on disk."""

    def down(self, name: str, place: Mapping[str, Any]) -> int:
        """End all members, make sure that none is left, and return how many there were.

        Raises
        ------
        ClusterError
            If one is left.
        """

    def price(self, member_type: str, place: Mapping[str, Any]) -> float | None:
        """Return the price of a member in USD an hour, None if it is not known."""
