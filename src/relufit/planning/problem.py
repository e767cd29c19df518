"""What a plan is made for: the problem, and the hosts and links that it runs on."""

from __future__ import annotations

import math
from dataclasses import dataclass

from relufit.errors import ConfigError
from relufit.instance_types import Instance
from relufit.theory.network import Network

#: Bytes of a packet with jumbo frames, which are the default within a VPC.
_VPC_MTU = 9001


@dataclass(frozen=True)
class Problem:
    """What is to be fitted, and how well.

    Parameters
    ----------
    dimension : int
        d.
    ratio : float
        n / d, above 2.
    tolerance : float
        Relative error at the end.

    Raises
    ------
    ConfigError
        If a value is impossible.
    """

    dimension: int
    ratio: float = 10.0
    tolerance: float = 1e-6

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        if not 1 <= self.dimension < 2**32:
            raise ConfigError(f"{self.dimension}", where="dimension", remedy="give 1 to 2^32 - 1")
        if not 2 < self.ratio < math.inf:
            raise ConfigError(
                f"{self.ratio:g} rows a dimension determine no weights",
                where="ratio",
                remedy="give more than 2",
            )
        if not 0 < self.tolerance < 1:
            raise ConfigError(f"{self.tolerance:g}", where="tolerance", remedy="give a number between 0 and 1")

    @property
    def rows(self) -> int:
        """N."""
        return round(self.ratio * self.dimension)


@dataclass(frozen=True)
class Host:
    """A host, its link, and what it costs; every rank has one, and so has a master.

    Parameters
    ----------
    network : Network
    memory : float, optional
        Bytes, if known.
    price : float, optional
        US dollars an hour, if known.
    """

    network: Network
    memory: float | None = None
    price: float | None = None

    @classmethod
    def of(cls, instance: Instance, round_trip: float) -> Host:
        """Return the host that an instance is, in a network with that round trip in seconds."""
        return cls(Network(instance.rate, round_trip / 2, _VPC_MTU), instance.memory, instance.price)
