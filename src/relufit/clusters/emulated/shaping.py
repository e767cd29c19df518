"""What a link is: its rate, its round trip and its loss; and the rules that make it so without an emulator."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

#: Bytes of a packet without its Ethernet header, as between instances of a cloud.
MTU = 9001
_LEAST_BURST_BYTES, _BURST_SECONDS = 18100, 256e-6


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
    """

    rate: float = 1e9
    round_trip: float = 0.0
    loss: float = 0.0

    #: Bytes, and packets, that wait at the end of a link before one is dropped: more than TCP ever sends ahead.
    queue_bytes: ClassVar[int] = 1 << 28
    queue_packets: ClassVar[int] = 1_000_000

    @property
    def burst(self) -> int:
        """Bytes that pass at once after a pause: two packets, or 256 us of the rate."""
        return max(_LEAST_BURST_BYTES, math.ceil(self.rate / 8 * _BURST_SECONDS))

    def changed(self, changes: Mapping[str, Any]) -> Link:
        """Return the link with some values changed; those that are None stay."""
        return replace(self, **{name: value for name, value in changes.items() if value is not None})

    def rules(self, *, queue: bool) -> str:
        """Return what `iptables-restore` makes the loss, and with `queue` the delay, of packets that arrive."""
        lines = ["*raw", ":PREROUTING ACCEPT [0:0]", ":OUTPUT ACCEPT [0:0]"]
        if self.loss:
            lines.append(f"-A PREROUTING -i eth0 -m statistic --mode random --probability {self.loss:.10f} -j DROP")
        if queue:
            lines.append("-A PREROUTING -i eth0 -j NFQUEUE --queue-num 0")
        return "\n".join([*lines, "COMMIT", ""])
