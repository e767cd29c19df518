"""What a link is: its rate, its round trip and its loss; and the commands that make it so."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from relufit.errors import ConfigError

#: Bytes of a packet without its Ethernet header, as between instances of a cloud.
MTU = 9001
_LEAST_BURST_BYTES, _BURST_SECONDS = 18100, 256e-6
#: Bytes that wait at the end of a link before one is dropped: more than TCP ever sends ahead.
_QUEUE_BYTES = 1 << 28
_QUEUE_PACKETS = 1_000_000


@dataclass(frozen=True)
class Link:
    """The link of a host: the same for all.

    Parameters
    ----------
    rate : float
        Bits a second in each direction, headers included.
    round_trip : float
        Seconds that are added between a packet and its answer, half of them each way.
    loss : float
        Part of the packets that do not arrive, in each direction.

    Raises
    ------
    ConfigError
        If that is no link.
    """

    rate: float = 1e9
    round_trip: float = 0.0
    loss: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is no link."""
        for name, value in asdict(self).items():
            number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
            if not number or value < 0:
                raise ConfigError(f"{value!r}", where=f"cluster.emulated.{name}", remedy="give a number of at least 0")
        if not 1e4 <= self.rate <= 1e11:
            raise ConfigError(
                f"{self.rate:g} bits a second", where="cluster.emulated.rate", remedy="give a number from 1e4 to 1e11"
            )
        if self.round_trip > 10:
            raise ConfigError(
                f"{self.round_trip:g} seconds", where="cluster.emulated.round_trip", remedy="give at most 10"
            )
        if self.loss >= 1:
            raise ConfigError(
                f"{self.loss:g}: nothing would arrive", where="cluster.emulated.loss", remedy="give less than 1"
            )

    @property
    def burst(self) -> int:
        """Bytes that pass at once after a pause: two packets, or 256 us of the rate."""
        return max(_LEAST_BURST_BYTES, math.ceil(self.rate / 8 * _BURST_SECONDS))

    def changed(self, changes: Mapping[str, Any]) -> Link:
        """Return the link with some values changed; those that are None stay."""
        return replace(self, **{name: value for name, value in changes.items() if value is not None})

    def shape(self, device: str) -> str:
        """Return the line for `tc` that gives a device the rate, whether it had one or not."""
        return (
            f"qdisc replace dev {device} root handle 1: tbf rate {self.rate:.0f}bit burst {self.burst} "
            f"limit {_QUEUE_BYTES}"
        )

    def netem(self, device: str) -> str:
        """Return the line for `tc` that gives a device that has a rate half of the round trip, and the loss."""
        return (
            f"qdisc replace dev {device} parent 1:1 handle 10: netem limit {_QUEUE_PACKETS} "
            f"delay {self.round_trip / 2 * 1e6:.0f}us loss {100 * self.loss:.6f}%"
        )

    def rules(self, *, queue: bool) -> str:
        """Return what `iptables-restore` makes the loss, and with `queue` the delay, of packets that arrive."""
        lines = ["*raw", ":PREROUTING ACCEPT [0:0]", ":OUTPUT ACCEPT [0:0]"]
        if self.loss:
            lines.append(f"-A PREROUTING -i eth0 -m statistic --mode random --probability {self.loss:.10f} -j DROP")
        if queue:
            lines.append("-A PREROUTING -i eth0 -j NFQUEUE --queue-num 0")
        return "\n".join([*lines, "COMMIT", ""])
