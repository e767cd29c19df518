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
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from relufit.theory._checks import nonnegative, positive, whole

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
    """

    lower: float
    compute: float
    encode: float
    decode: float
    update: float
    messages: float
    latency: float
    link: float

    @property
    def upper(self) -> float:
        """The sum of the parts."""
        return self.compute + self.encode + self.decode + self.update + self.messages + self.latency + self.link


def wire_bytes(payload: float, mtu: int = 1500) -> float:
    """Return the bytes that a message takes on Ethernet: payload, frame, and headers and gaps of full segments.

    Acknowledgements, which go the other way, are not counted: about 3% of it at an MTU of 1500 bytes, .5% at 9001.
    """
    body = nonnegative("payload", payload) + FRAME_BYTES
    return body + math.ceil(body / (mtu - _SEGMENT_BYTES)) * (_SEGMENT_BYTES + _ETHERNET_BYTES)


def weights_bytes(d: int) -> int:
    """Return the bytes of the weights in fp64, with the header of their payload."""
    return 8 * whole("d", d) + 4


def messages_sent(exchange: str, workers: int) -> tuple[int, int]:
    """Return how many encoded gradients travel in an iteration, and how many copies of the weights."""
    workers = whole("workers", workers)
    _check(exchange)
    return {"master": (workers, workers), "relay": (workers**2, 0), "all_to_all": (workers * (workers - 1), 0)}[
        exchange
    ]


def iteration(
    exchange: str,
    workers: int,
    payload: float,
    d: int,
    network: Network,
    work: Work,
    *,
    apart: bool = True,
) -> Iteration:
    """Return the seconds of an iteration.

    With ``p = max(link, copies)`` the seconds of a payload on a link, q those of the weights, c the work of a rank,
    t half a round trip and a message's own overhead, e the seconds to decode one payload, K ranks and a master on a
    host of its own:

    ``"master"``
        The weights go to K ranks, gradients come back, and are decoded at the master.
        ``c + 2 t + q + p + e + (K - 1) max(q, p, e)`` at least, because the link out of the master is over with the
        weights only after K q, the link into it takes K p from the first gradient on, and decoding K e; at most
        ``c + 2 t + K (q + p + e)``. Where q = p and nothing else counts that is (K + 1) p to 2 K p.
    ``"relay"``
        Gradients go to the master, and to K - 1 ranks each from there; everybody decodes all. Each rank waits for
        K - 1 gradients of others: ``c + 2 t + K p + e`` at least, and never less than the master's link out is
        busy, ``K (K - 1) p``, since the copies of one iteration can overlap with the work of the next. At most
        ``c + 2 t + K p + K (K - 1) p + 2 e + (K - 2) max(0, e - p)``: whatever the master decodes, its copies follow
        each other on the link; a rank has them over one connection, the last one p after that before it, so that
        with p above e all but the last are decoded when it comes, and perhaps the rank's own.
    ``"all_to_all"``
        Each rank sends to K - 1 others and receives as many at the same time: ``c + t + (K - 1) p + e`` and
        ``c + K e`` at least, ``c + t + (K - 1) p + K e`` at most.

    Overhead of messages counts once for each way in the lower bound, for every message of the busiest member in the
    upper one. With a master on the host of rank 0, that rank's messages cross no link.

    Where links have a burst, each stage in which one is busy takes the time of a burst less; but no iteration takes
    less than the busiest link needs for all of its bytes, because a burst has to be saved up again.

    Parameters
    ----------
    exchange : str
        ``"master"``, which sends the weights in fp64, ``"relay"`` or ``"all_to_all"``.
    workers : int
        K.
    payload : float
        Bytes of an encoded gradient.
    d : int
        Dimension, for the weights.
    network, work
        What they say.
    apart : bool
        Whether the master has a host of its own.

    Raises
    ------
    ValueError
        If the exchange is unknown, or a number out of its range.
    """
    _check(exchange)
    ranks = whole("workers", workers)
    sizes = positive("payload", payload), weights_bytes(d)
    gradient, weights = (max(network.seconds(size), work.byte * (size + FRAME_BYTES)) for size in sizes)
    remote = ranks if apart else ranks - 1
    found = _EXCHANGES[exchange](ranks, remote, gradient, weights, network.latency, work)
    stages = _busy(exchange, ranks, remote)
    return _after_a_pause(found, [count * (gradient if its else weights) for count, its in stages], network)


def _busy(exchange: str, ranks: int, remote: int) -> list[tuple[int, bool]]:
    """Return how many messages the busiest link has in each stage, and whether they are gradients."""
    return {
        "master": [(remote, False), (remote, True)],
        "relay": [(remote, True), (remote * (ranks - 1), True)],
        "all_to_all": [(ranks - 1, True)],
    }[exchange]


def _after_a_pause(found: Iteration, stages: list[float], network: Network) -> Iteration:
    """Return the iteration with a burst at the beginning of each of the stages, whose seconds on a link are given."""
    saved = sum(min(8 * network.burst / network.rate, stage) for stage in stages)
    busiest = max(stages)
    link = max(found.link - saved, found.link - max(0.0, found.upper - busiest))
    return replace(found, lower=max(found.lower - saved, min(found.lower, busiest)), link=link)


def _master(ranks: int, remote: int, gradient: float, weights: float, latency: float, work: Work) -> Iteration:
    own = work.compute + work.encode + work.update + 2 * work.weights
    ways = 2 if remote else 0
    stages = (weights, gradient, work.decode)
    flow = sum(stages) + (remote - 1) * max(stages) if remote else 0.0
    return Iteration(
        own + max(ways * (latency + work.message) + flow, ranks * work.decode),
        work.compute,
        work.encode,
        ranks * work.decode,
        work.update + 2 * work.weights,
        2 * remote * work.message,
        ways * latency,
        remote * (weights + gradient),
    )


def _relay(ranks: int, remote: int, gradient: float, weights: float, latency: float, work: Work) -> Iteration:
    own = work.compute + work.encode + work.update
    copies = remote * (ranks - 1)
    # The rank that has all first is the one beside the master, where there is one.
    nearest = (2 if remote == ranks else 1) * (latency + work.message) if copies else 0.0
    first = (ranks if remote == ranks else ranks - 1) * gradient if copies else 0.0
    decode = ranks * work.decode
    if copies and remote == ranks:
        decode = min(decode, 2 * work.decode + (ranks - 2) * max(0.0, work.decode - gradient))
    return Iteration(
        max(own + max(nearest + first + work.decode, ranks * work.decode), copies * gradient),
        work.compute,
        work.encode,
        decode,
        work.update,
        (remote + copies) * work.message if copies else 0.0,
        2 * latency if copies else 0.0,
        (remote + copies) * gradient if copies else 0.0,
    )


def _all_to_all(ranks: int, remote: int, gradient: float, weights: float, latency: float, work: Work) -> Iteration:
    own, others = work.compute + work.encode + work.update, ranks - 1
    way = latency + work.message if others else 0.0
    return Iteration(
        own + max(way + others * gradient + work.decode, ranks * work.decode),
        work.compute,
        work.encode,
        ranks * work.decode,
        work.update,
        others * work.message,
        latency if others else 0.0,
        others * gradient,
    )


_EXCHANGES: dict[str, Callable[[int, int, float, float, float, Work], Iteration]] = {
    "master": _master,
    "relay": _relay,
    "all_to_all": _all_to_all,
}
#: Ways to exchange gradients and weights.
EXCHANGES = tuple(_EXCHANGES)


def _check(exchange: str) -> None:
    if exchange not in _EXCHANGES:
        raise ValueError(f"exchange must be one of {', '.join(_EXCHANGES)}, not {exchange!r}")
