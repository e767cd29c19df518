"""The ways of passing gradients and weights over links: a master that gathers, one that relays, and all to all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from relufit.compression.base import HEADER_BYTES, length_of
from relufit.errors import TransportError
from relufit.training.rank import EXACT, Contribution, Rank
from relufit.training.spec import Plan
from relufit.training.trace import Times
from relufit.transport.frames import Body, Header, Kind, body_digest
from relufit.transport.link import Link

#: What a payload takes at most beside 16 bytes a coordinate: a table of frequencies, states of a coder.
_PAYLOAD_BOUND = 256


def payload_limit(plan: Plan) -> int:
    """Return the most bytes a payload has: a norm of 8 bytes for a bucket of one coordinate, any code of its level."""
    return HEADER_BYTES + _PAYLOAD_BOUND + 16 * plan.d


class Clock:
    """The seconds of an iteration, as one member sees them: its links' and the slowest rank's."""

    def __init__(self, links: list[Link]) -> None:
        self._links, self._slowest, self._before = links, (0.0, 0.0), 0.0

    def start(self) -> None:
        """Begin a new iteration."""
        self._slowest, self._before = (0.0, 0.0), sum(link.waited for link in self._links)

    def note(self, compute: float, encode: float) -> None:
        """Note what a rank spent."""
        if compute + encode > sum(self._slowest):
            self._slowest = compute, encode

    def times(self, talked: float, own: float = 0.0) -> Times:
        """Return where the seconds since `start` went, in which the member `talked`, and had work of its `own`.

        Waiting during the slowest rank's work counts as that.
        """
        waited, (compute, encode) = sum(link.waited for link in self._links) - self._before, self._slowest
        return Times(compute, encode, talked - waited - own, max(0.0, waited - max(0.0, compute + encode - own)))


class _Gathering:
    """What a master does of an exchange: receive from each rank in turn, while the other links go on sending."""

    def __init__(self, plan: Plan, links: list[Link]) -> None:
        self._links, self._limit, self._clock = links, payload_limit(plan), Clock(links)
        for link in links:
            link.beside = links

    def collect(self, rank: int, iteration: int) -> Contribution:
        header, body = self._receive(Kind.GRADIENT, rank, iteration)
        squares, compute, encode = header.notes
        self._clock.note(compute, encode)
        return Contribution(body, squares, compute, encode)

    def times(self, talked: float) -> Times:
        return self._clock.times(talked)

    def _receive(self, kind: Kind, rank: int, iteration: int) -> tuple[Header, memoryview]:
        header, body = self._links[rank].receive(kind, limit=self._limit, iteration=iteration)
        if header.rank != rank:
            raise TransportError(f"sent in the name of rank {header.rank}", where=f"rank {rank}")
        return header, body


class Gather(_Gathering):
    """At a master that sends the weights."""

    def moments(self) -> Iterator[memoryview]:
        """Receive each rank's."""
        for rank in range(len(self._links)):
            yield self._receive(Kind.MOMENTS, rank, 0)[1]

    def broadcast(self, iteration: int, weights: np.ndarray) -> int:
        """Send the weights."""
        self._clock.start()
        # The weights do not change before all ranks have answered, and so have them.
        # If they were not finite, neither would the error be, and the run would have ended.
        payload = EXACT.trusted(weights)
        digest = body_digest(payload)
        for link in self._links:
            link.post(Kind.WEIGHTS, payload, iteration=iteration, digest=digest)
        return length_of(payload) * len(self._links)


class Relay(_Gathering):
    """At a master that sends each rank what the others sent."""

    def __init__(self, plan: Plan, links: list[Link]) -> None:
        super().__init__(plan, links)
        # What a rank sent is passed on from where it was received. By the time a rank sends its next but one, the
        # others have answered its last, and so have it.
        for link in links:
            link.kept = 2

    def moments(self) -> Iterator[memoryview]:
        """Receive and pass on each rank's."""
        for rank in range(len(self._links)):
            yield self._pass_on(*self._receive(Kind.MOMENTS, rank, 0))

    def broadcast(self, iteration: int, weights: np.ndarray) -> int:
        """Send nothing: every rank has the weights."""
        self._clock.start()
        return 0

    def collect(self, rank: int, iteration: int) -> Contribution:
        """Receive and pass on a rank's gradient."""
        header, body = self._receive(Kind.GRADIENT, rank, iteration)
        squares, compute, encode = header.notes
        self._clock.note(compute, encode)
        return Contribution(self._pass_on(header, body), squares, compute, encode)

    def _pass_on(self, header: Header, body: memoryview) -> memoryview:
        digest = None
        for rank, link in enumerate(self._links):
            if rank != header.rank:
                digest = body_digest(body) if digest is None else digest
                link.post(
                    header.kind, body, rank=header.rank, iteration=header.iteration, notes=header.notes, digest=digest
                )
        return body


class _OnRank:
    """What a rank that updates weights of its own does of an exchange."""

    def __init__(self, plan: Plan, rank: Rank, links: Mapping[int, Link]) -> None:
        distinct = list(dict.fromkeys(links.values()))
        self._rank, self._ranks, self._links = rank, plan.spec.workers, links
        self._limit, self._clock, self._out = payload_limit(plan), Clock(distinct), self._receivers(distinct)
        self._own = Contribution(b"", 0.0, 0.0, 0.0)
        for link in distinct:
            link.beside = distinct

    def moments(self) -> Iterator[bytes | memoryview]:
        """Send this rank's, receive the others'."""
        own = self._rank.moments()
        self._send(Kind.MOMENTS, 0, own, (0.0, 0.0, 0.0))
        for rank in range(self._ranks):
            yield own if rank == self._rank.rank else self._receive(Kind.MOMENTS, rank, 0)[1]

    def broadcast(self, iteration: int, weights: np.ndarray) -> int:
        """Compute and send this rank's gradient."""
        for link in self._out:
            link.flush()
        self._clock.start()
        self._own = self._rank.step(iteration, weights)
        self._clock.note(self._own.compute, self._own.encode)
        self._send(Kind.GRADIENT, iteration, self._own.payload, self._own[1:])
        return 0

    def collect(self, rank: int, iteration: int) -> Contribution:
        """Return this rank's gradient, or receive another's."""
        if rank == self._rank.rank:
            return self._own
        header, body = self._receive(Kind.GRADIENT, rank, iteration)
        squares, compute, encode = header.notes
        self._clock.note(compute, encode)
        return Contribution(body, squares, compute, encode)

    def times(self, talked: float) -> Times:
        """Return the seconds of the iteration."""
        return self._clock.times(talked, self._own.compute + self._own.encode)

    def _receivers(self, links: list[Link]) -> list[Link]:
        # Each rank begins with the next one, so that not all send to the same.
        return sorted(links, key=self._position)

    def _position(self, link: Link) -> int:
        at = next(rank for rank, other in self._links.items() if other is link)
        return (at - self._rank.rank) % self._ranks

    def _send(self, kind: Kind, iteration: int, body: Body, notes: tuple[float, float, float]) -> None:
        digest = body_digest(body)
        for link in self._out:
            link.post(kind, body, rank=self._rank.rank, iteration=iteration, notes=notes, digest=digest)

    def _receive(self, kind: Kind, rank: int, iteration: int) -> tuple[Header, memoryview]:
        header, body = self._links[rank].receive(kind, limit=self._limit, iteration=iteration)
        if header.rank != rank:
            raise TransportError(f"sent in the name of rank {header.rank}, not {rank}", where=self._links[rank].peer)
        return header, body


class Relayed(_OnRank):
    """On a rank whose master passes on what the others send: one link carries all of it."""

    def __init__(self, plan: Plan, rank: Rank, link: Link) -> None:
        super().__init__(plan, rank, dict.fromkeys(range(plan.spec.workers), link))
        # As many as are decoded together, while the next one comes.
        together = plan.compressor.together(plan.d)
        link.kept = max(1, min(plan.spec.workers - 1, together + 1)) if together > 1 else 1


class AllToAll(_OnRank):
    """On a rank that has a link to every other."""


def answer(plan: Plan, rank: Rank, link: Link, iteration: int | None) -> None:
    """Serve a master that sends the weights, of that iteration and on, or None to send the moments first.

    Answers each set of weights with a gradient until told to stop.
    """
    if iteration is None:
        link.send(Kind.MOMENTS, rank.moments(), rank=rank.rank)
        iteration = 0
    while True:
        header, body = link.receive(Kind.WEIGHTS, Kind.STOP, limit=HEADER_BYTES + 8 * plan.d, iteration=iteration)
        if header.kind is Kind.STOP:
            return
        its = rank.step(iteration, EXACT.view(body, plan.d))
        link.send(Kind.GRADIENT, its.payload, rank=rank.rank, iteration=iteration, notes=its[1:])
        iteration += 1
