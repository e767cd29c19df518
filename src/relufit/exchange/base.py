"""What an exchange says of itself: its messages, its members and links, its seconds, and its convergence."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import ClassVar, NamedTuple

from relufit.theory._checks import positive, whole
from relufit.theory.encodings import EXACT, Encoding
from relufit.theory.network import FRAME_BYTES, Iteration, Network, Work, weights_bytes


class Content(Enum):
    """What a message holds."""

    #: An encoded gradient, or a sum of gradients that is encoded again.
    GRADIENT = "gradient"
    #: The weights in fp64.
    WEIGHTS = "weights"


class Role(Enum):
    """Who sends or receives; all members of one role send the same."""

    RANK = "rank"
    MASTER = "master"


class Links(Enum):
    """Which members are connected. Each rank has a link to the master in any case: it leads or follows the run."""

    #: Nobody else.
    STAR = "star"
    #: Each rank has a link to every other rank.
    MESH = "mesh"

    def peers(self, rank: int, workers: int) -> tuple[int, ...]:
        """Return the ranks that `rank` has a link to, in ascending order."""
        return () if self is Links.STAR else tuple(other for other in range(workers) if other != rank)


@dataclass(frozen=True)
class Flow:
    """Messages of an iteration that are alike.

    Parameters
    ----------
    content : Content
    sender, receiver : Role
        Between ranks none receives what it has sent itself.
    copies : int
        Messages that each sender sends.
    share : float
        The part of a vector that a message holds: 1, or below 1 where vectors are cut into parts.
    """

    content: Content
    sender: Role
    receiver: Role
    copies: int
    share: float = 1


class Sent(NamedTuple):
    """What all members together send in an iteration, in whole vectors.

    `up` and `down` are encoded gradients that ranks send, and that a master does; `weights` the copies of the weights.
    """

    up: float
    down: float
    weights: float


#: Omega of a compressor, a function of the dimension; None where it has none.
Variance = Callable[[int], float | None]


class Variances(NamedTuple):
    """Relative variances of an exchange's encodings.

    `gradients` is the mean omega of what the ranks encode, None where there is none; `total` that of the encoding of
    their sum, 0 where the sum is not encoded.
    """

    gradients: float | None
    total: float


class Encodings(NamedTuple):
    """Moments of an exchange's encodings.

    `gradients` is that of what the ranks encode, a mean over parts, None where there is none; `total` that of their
    sum, exact where the sum is not encoded.
    """

    gradients: Encoding | None
    total: Encoding


class Exchange(ABC):
    """An exchange.

    Attributes
    ----------
    name : str
        As configurations and tables have it.
    label : str
        As figures and reports have it.
    has_master : bool
        Whether a master takes part: it sees the gradients and updates the weights. Without one the master keeps the
        list of the ranks and the trace.
    replicas : bool
        Whether each rank updates weights of its own, which are the same on all.
    links : Links
        The connections that it needs.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    has_master: ClassVar[bool]
    replicas: ClassVar[bool]
    links: ClassVar[Links]

    @abstractmethod
    def flows(self, workers: int) -> tuple[Flow, ...]:
        """Return the messages of an iteration of K ranks."""

    @abstractmethod
    def waiting_payloads(self, workers: int) -> int:
        """Return how many encoded gradients the member that has most of them holds at a time."""

    @abstractmethod
    def link_loads(self, ranks: int, remote: int) -> list[tuple[float, Content]]:
        """Return the loads of the busiest links that take turns: the whole messages that each carries, and of what.

        Stages that follow each other on the same link, as those of an all-reduce, are one load: they share what the
        link lets pass at once. `remote` ranks are on another host than the master.
        """

    @abstractmethod
    def seconds(
        self, ranks: int, remote: int, gradient: float, weights: float, latency: float, work: Work
    ) -> Iteration:
        """Return the seconds of an iteration over links without a burst, see `iteration`.

        Parameters
        ----------
        ranks, remote : int
            K, and how many of them are on another host than the master.
        gradient, weights : float
            Seconds of a whole encoded gradient, and of the weights, on a link.
        latency : float
            Seconds from one host to another.
        work : Work
        """

    def sent(self, workers: int) -> Sent:
        """Return what all members together send in an iteration of K ranks."""
        workers, counts = _ranks(workers), dict[tuple[Content, Role], float]()
        for flow in self.flows(workers):
            kind = flow.content, flow.sender
            counts[kind] = counts.get(kind, 0) + _members(flow.sender, workers) * flow.copies * flow.share
        return Sent(
            counts.get((Content.GRADIENT, Role.RANK), 0),
            counts.get((Content.GRADIENT, Role.MASTER), 0),
            sum(count for (content, _), count in counts.items() if content is Content.WEIGHTS),
        )

    def copies(self, workers: int) -> tuple[int, int]:
        """Return how often what a member with weights collects is sent, by ranks and by a master.

        It is an encoded gradient, or, in an exchange with `parts`, the encoded sum of one.
        """
        total = {Role.RANK: 0, Role.MASTER: 0}
        for flow in self.flows(_ranks(workers)):
            if flow.content is Content.GRADIENT:
                total[flow.sender] += _members(flow.sender, workers) * flow.copies
        return total[Role.RANK] // workers, total[Role.MASTER] // workers

    def moment_copies(self, workers: int) -> tuple[int, int]:
        """Return how often each rank's part of the initial weights is sent, by ranks and by a master."""
        return self.copies(workers)

    def parts(self, d: int, workers: int) -> list[tuple[int, int]] | None:
        """Return the first and the last-but-one coordinate of each part whose sum is encoded; None where none is."""
        return None

    def part_sizes(self, d: int, workers: int) -> dict[int, int]:
        """Return how many payloads of each number of coordinates a vector is encoded in."""
        return {d: 1}

    def vector_length(self, payload: Callable[[int], float], d: int, workers: int) -> float:
        """Return the length of an encoded vector, summed over its parts; `payload` gives that of a part by its size."""
        return sum(count * payload(size) for size, count in self.part_sizes(d, workers).items())

    def variances(self, variance: Variance, d: int, workers: int) -> Variances:
        """Return the relative variances of the encodings, given the compressor's in any dimension."""
        return Variances(variance(d), 0.0)

    def encodings(self, encoding: Callable[[int], Encoding | None], d: int, workers: int) -> Encodings:
        """Return the moments of the encodings, given the compressor's in any dimension."""
        gain = noise = 0.0
        for size, count in self.part_sizes(d, workers).items():
            moments = encoding(size)
            if moments is None:
                return Encodings(None, EXACT)
            gain, noise = gain + count * size / d * moments.gain, noise + count * size / d * moments.noise
        mean = Encoding(gain, noise)
        return Encodings(mean, EXACT if self.parts(d, workers) is None else mean)

    def member_bytes(self, role: Role, workers: int, gradient: float, weights: float) -> tuple[float, float]:
        """Return the payload bytes that one member sends and receives in an iteration.

        Parameters
        ----------
        role : Role
        workers : int
            K.
        gradient, weights : float
            Bytes of an encoded gradient, and of the weights.
        """
        size, sends, receives = {Content.GRADIENT: gradient, Content.WEIGHTS: weights}, 0.0, 0.0
        for flow in self.flows(_ranks(workers)):
            each = flow.copies * flow.share * size[flow.content]
            sends += each * (flow.sender is role)
            receives += each * _members(flow.sender, workers) / _members(role, workers) * (flow.receiver is role)
        return sends, receives

    def iteration(
        self,
        workers: int,
        payload: float,
        d: int,
        network: Network,
        work: Work,
        *,
        apart: bool = True,
        ahead: bool = False,
    ) -> Iteration:
        """Return the seconds of an iteration by the alpha-beta model, see `relufit.theory.network`.

        In the docstrings of the exchanges ``p = max(link, copies)`` is the seconds of a payload on a link, q those of
        the weights, c the work of a rank, t half a round trip and a message's own overhead, e the seconds to decode one
        payload, with K ranks and a master on a host of its own.

        Overhead of messages counts once for each way in the lower bound, for every message of the busiest member in
        the upper one. With a master on the host of rank 0, that rank's messages cross no link.

        Where links have a burst, each of those that take turns takes the time of a burst less; but no iteration takes
        less than the busiest link needs for all of its bytes, because a burst has to be saved up again.

        With delayed gradients a rank with weights of its own computes `ahead`: its gradient, and the encoding of it, c
        in all, while the messages before travel, for T. In place of ``c + T + rest`` an iteration takes at least c, and
        at least what it takes without c, which a second core of each rank comes near to; at most ``max(c, T) + rest``,
        where the rest, decoding and updating, waits for both.

        Parameters
        ----------
        workers : int
            K.
        payload : float
            Bytes of an encoded gradient, of all of its parts where it is sent in parts.
        d : int
            Dimension, for the weights.
        network, work
            What they say.
        apart : bool
            Whether the master has a host of its own.
        ahead : bool
            Whether gradients are delayed; nothing changes where ranks have no weights of their own.

        Raises
        ------
        ValueError
            If a number is out of its range.
        """
        ranks = _ranks(workers)
        # Each part has a frame and packets of its own.
        share = min(flow.share for flow in self.flows(ranks) if flow.content is Content.GRADIENT)
        sizes = positive("payload", payload) * share, weights_bytes(d)
        part, weights = (max(network.seconds(size), work.byte * (size + FRAME_BYTES)) for size in sizes)
        gradient = part / share
        remote = ranks if apart else ranks - 1
        plain = self.seconds(ranks, remote, gradient, weights, network.latency, work)
        each = {Content.GRADIENT: gradient, Content.WEIGHTS: weights}
        loads = [count * each[content] for count, content in self.link_loads(ranks, remote)]
        paused = _after_a_pause(plain, loads, network)
        return _computed_ahead(paused, work.compute + work.encode, max(loads)) if ahead and self.replicas else paused


def _ranks(workers: int) -> int:
    return whole("workers", workers)


def _members(role: Role, workers: int) -> int:
    return workers if role is Role.RANK else 1


def _after_a_pause(plain: Iteration, loads: list[float], network: Network) -> Iteration:
    """Return the iteration with a burst on each of the links that take turns, whose busy seconds are given."""
    if not network.burst:
        return plain
    saved = sum(min(8 * network.burst / network.rate, load) for load in loads)
    busiest = max(loads)
    link = max(plain.link - saved, plain.link - max(0.0, plain.upper - busiest))
    return replace(plain, lower=max(plain.lower - saved, min(plain.lower, busiest)), link=link)


def _computed_ahead(plain: Iteration, own: float, busiest: float) -> Iteration:
    """Return the iteration of ranks that spend their `own` seconds while messages travel; the `busiest` link's too."""
    travelling = plain.messages + plain.latency + plain.link
    overlap = max(0.0, min(own, travelling, plain.upper - busiest))
    return replace(plain, lower=max(own, plain.lower - own, min(plain.lower, busiest)), overlap=overlap)
