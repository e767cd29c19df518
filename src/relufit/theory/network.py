"""Seconds of an iteration over a network: the alpha-beta model, with bounds where overlap decides.

Every host has one link, full duplex, of the same rate to a switch that never blocks, and there is half a round trip
between any two. Bytes pass the sender's link and the receiver's at the same time, packet by packet, so that a message
alone on both takes the time of one link. A host holds one rank; processors are not shared. Nothing is lost, and no
connection is slowed by its window: messages are long, or the network is near.

Neither bound depends on what order a link sends waiting messages in. The lower one follows from three facts: nothing is
sent, computed or decoded before what it needs; a link carries its bytes one after the other; a member decodes one
payload after the other. The upper one is the sum of the stages as if each began when the one before it is over for
all. Connections of TCP that wait on one link share it about evenly, so that all that is gathered arrives at the end:
short messages come near the upper bound. The bounds meet where one stage dominates.

Here is what all exchanges of gradients share; the seconds of each one follow from its messages, see
`relufit.exchange.Exchange.iteration`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from relufit.theory._checks import nonnegative, whole

#: Bytes of a frame before its body.
FRAME_BYTES = 56
#: Bytes of a segment: IPv4 and TCP with its time stamps, which the MTU includes; and what Ethernet adds to a packet:
#: header, checksum, preamble and gap.
_SEGMENT_BYTES, _ETHERNET_BYTES = 20 + 20 + 12, 14 + 4 + 8 + 12


@dataclass(frozen=True)
class Network:
    """What connects the hosts.

    Parameters
    ----------
    rate : float
        Bit/s of a host's link in each direction; infinite for none, as on the loopback of one machine.
    latency : float
        Seconds from one host to another: half a round trip.
    mtu : int
        Bytes of an IP packet at most.
    burst : float
        Bytes that a link, or what shapes it, lets pass at once after a pause; they take no time.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """

    rate: float
    latency: float = 0.0
    mtu: int = 1500
    burst: float = 0.0

    def __post_init__(self) -> None:
        """Refuse impossible numbers."""
        if not self.rate > 0:
            raise ValueError(f"rate must be above 0, not {self.rate!r}")
        nonnegative("latency", self.latency)
        nonnegative("burst", self.burst)
        whole("mtu", self.mtu, least=_SEGMENT_BYTES + 1)

    def seconds(self, payload: float) -> float:
        """Return the seconds for which a message with that payload occupies a link."""
        return 8 * wire_bytes(payload, self.mtu) / self.rate


@dataclass(frozen=True)
class Work:
    """Seconds of processors: measured, not predicted; 0 where they are not given.

    Parameters
    ----------
    compute, encode : float
        A rank's gradient of its share of the mini-batch, and the encoding of it.
    decode : float
        The decoding of one gradient, and adding it.
    update : float
        The update of the weights from the sum.
    weights : float
        The weights to an fp64 payload, or back.
    message : float
        A message without a body from one process to another where there is no network between them.
    byte : float
        What every byte of a message adds to that: copies and checksums. It overlaps with the link.
    """

    compute: float = 0.0
    encode: float = 0.0
    decode: float = 0.0
    update: float = 0.0
    weights: float = 0.0
    message: float = 0.0
    byte: float = 0.0

    def __post_init__(self) -> None:
        """Refuse impossible numbers."""
        for name, value in vars(self).items():
            nonnegative(name, value)


@dataclass(frozen=True)
class Iteration:
    """The seconds of an iteration, from one update of the weights to the next.

    Parameters
    ----------
    lower, upper : float
        Bounds; see the module.
    compute, encode, decode, update, messages, latency, link : float
        What the upper bound is the sum of; `update` has the casts of the weights, `link` the time in which links, or
        the copies that feed them, are busy.
    overlap : float
        What of this sum passes twice at once: computing and encoding while the messages before travel.
    """

    lower: float
    compute: float
    encode: float
    decode: float
    update: float
    messages: float
    latency: float
    link: float
    overlap: float = 0.0

    @property
    def upper(self) -> float:
        """The sum of the parts, less the overlap."""
        work = self.compute + self.encode + self.decode + self.update
        return work + self.messages + self.latency + self.link - self.overlap


def wire_bytes(payload: float, mtu: int = 1500) -> float:
    """Return the bytes that a message takes on Ethernet: payload, frame, and headers and gaps of full segments.

    Acknowledgements, which go the other way, are not counted: about 3% of it at an MTU of 1500 bytes, .5% at 9001.
    """
    body = nonnegative("payload", payload) + FRAME_BYTES
    return body + math.ceil(body / (mtu - _SEGMENT_BYTES)) * (_SEGMENT_BYTES + _ETHERNET_BYTES)


def weights_bytes(d: int) -> int:
    """Return the bytes of the weights in fp64, with the header of their payload."""
    return 8 * whole("d", d) + 4
