"""What endpoints of several exchanges share: receiving at a master, exchanging on a rank, and the seconds of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from relufit.compression.base import Compressor, payload_bound
from relufit.errors import TransportError
from relufit.training.loop import Endpoint
from relufit.training.rank import Contribution, Rank
from relufit.training.residuals import Residual, Residuals, unpack_residuals
from relufit.training.spec import Plan
from relufit.training.trace import Times
from relufit.transport.frames import Body, Header, Kind, body_digest
from relufit.transport.link import Link

#: Whole numbers below it are exact in single precision.
_SINGLE = 2**24


def payload_limit(plan: Plan) -> int:
    """Return the most bytes that a payload has."""
    return payload_bound(plan.d)


def sum_notes(squares: float, gradients: int) -> tuple[float, float, float]:
    """Return what goes with an encoded sum: squared residuals, and the payload bytes of its gradients in two numbers.

    The second and the third note are single precision, which is exact below 2^24.
    """
    high, low = divmod(gradients, _SINGLE)
    return squares, float(high), float(low)


def gradients_of(notes: tuple[float, float, float]) -> int:
    """Return the payload bytes of the gradients of a sum.

    Raises
    ------
    TransportError
        If the notes hold no count.
    """
    high, low = notes[1:]
    if not (0 <= high < _SINGLE and 0 <= low < _SINGLE and high.is_integer() and low.is_integer()):
        raise TransportError("a sum came without the bytes of its gradients")
    return int(high) * _SINGLE + int(low)


@dataclass(frozen=True)
class Endpoints:
    """The ends of an exchange over links.

    Parameters
    ----------
    at_master : callable, optional
        Made of the plan, the links by rank, and with error feedback the residual of the sum if the master encodes it,
        for a master that takes part.
    on_rank : callable, optional
        Made of the plan, the rank and the links by the ranks whose gradients they bring, for a rank with weights of its
        own.
    answer : callable, optional
        Serves a master that sends the weights, for a rank without: told the plan, the rank, the link, and the
        iteration from which it goes on, None to send the moments first. Returns when told to stop.
    """

    at_master: Callable[[Plan, list[Link], Residual | None], Endpoint] | None = None
    on_rank: Callable[[Plan, Rank, Mapping[int, Link]], Endpoint] | None = None
    answer: Callable[[Plan, Rank, Link, int | None], None] | None = None


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

    def times(self, talked: float, own: float = 0.0, ahead: float = 0.0) -> Times:
        """Return where the seconds since `start` went, in which the member `talked`, and had work of its `own`.

        Waiting during the slowest rank's work counts as that. Of its own work the seconds `ahead` were not in those in
        which it talked: it was done while the messages before travelled.
        """
        waited, (compute, encode) = sum(link.waited for link in self._links) - self._before, self._slowest
        exchange = talked - waited - (own - ahead)
        return Times(compute, encode, exchange, max(0.0, waited - max(0.0, compute + encode - own)))


def gather_residuals(layout: Residuals, links: list[Link], iteration: int, *, with_sums: bool) -> np.ndarray:
    """Receive the residuals of all ranks, `with_sums` those of the sums that they encode, and return all of the run."""
    values = np.zeros(layout.size)
    for rank, link in enumerate(links):
        places = layout.of_member(rank, with_sum=with_sums)
        sizes = [place.stop - place.start for place in places]
        _, body = link.receive(Kind.RESIDUALS, limit=8 * sum(sizes), iteration=iteration)
        for place, part in zip(
            places, np.split(unpack_residuals(body, sum(sizes)), np.cumsum(sizes)[:-1]), strict=True
        ):
            values[place] = part
    return values


class Gathering:
    """What a master does of an exchange: receive from each rank in turn, while the other links go on sending."""

    def __init__(self, plan: Plan, links: list[Link], residual: Residual | None = None) -> None:
        self._links, self._limit, self._clock = links, payload_limit(plan), Clock(links)
        self._layout, self._residual = Residuals(plan), residual
        self._gathered: tuple[int, np.ndarray] | None = None
        for link in links:
            link.beside = links

    def use(self, compressor: Compressor) -> None:
        """Change nothing: nothing is encoded here."""

    def collect(self, index: int, iteration: int) -> Contribution:
        """Receive a rank's gradient."""
        header, body = self._receive(Kind.GRADIENT, index, iteration)
        squares, compute, encode = header.notes
        self._clock.note(compute, encode)
        return Contribution(body, squares, compute, encode)

    def times(self, talked: float) -> Times:
        """Return the seconds of the iteration."""
        return self._clock.times(talked)

    def gather_residuals(self, iteration: int) -> None:
        """Receive each rank's, and put the master's own beside them."""
        values = gather_residuals(self._layout, self._links, iteration, with_sums=False)
        if self._residual:
            values[self._layout.of_sum(0)] = self._residual.before(iteration)
        self._gathered = iteration, values

    def residuals(self, iteration: int) -> np.ndarray | None:
        """Return those that were gathered."""
        return self._gathered[1] if self._gathered and self._gathered[0] == iteration else None

    def _receive(self, kind: Kind, rank: int, iteration: int) -> tuple[Header, memoryview]:
        header, body = self._links[rank].receive(kind, limit=self._limit, iteration=iteration)
        if header.rank != rank:
            raise TransportError(f"sent in the name of rank {header.rank}", where=f"rank {rank}")
        return header, body


class OnRank:
    """What a rank that updates weights of its own does of an exchange.

    Where it knows the weights of its next gradient, because gradients are delayed, it computes that one as soon as it
    has posted the present one, see `relufit.training.ahead`. It is sent in its turn, so that messages are the same.
    """

    def __init__(self, plan: Plan, rank: Rank, links: Mapping[int, Link]) -> None:
        distinct = list(dict.fromkeys(links.values()))
        self._rank, self._ranks, self._links = rank, plan.spec.workers, links
        self._limit, self._clock, self._out = payload_limit(plan), Clock(distinct), self._receivers(distinct)
        self._own, self._before = Contribution(b"", 0.0, 0.0, 0.0), 0.0
        for link in distinct:
            link.beside = distinct

    def moments(self) -> Iterator[bytes | memoryview]:
        """Send this rank's, receive the others'."""
        own = self._rank.moments()
        self._send(Kind.MOMENTS, 0, own, (0.0, 0.0, 0.0))
        for rank in range(self._ranks):
            yield own if rank == self._rank.rank else self._receive(Kind.MOMENTS, rank, 0)[1]

    def use(self, compressor: Compressor) -> None:
        """Take another compressor."""
        self._rank.compressor = compressor

    def broadcast(self, iteration: int, weights: np.ndarray, following: np.ndarray | None) -> int:
        """Compute and send this rank's gradient, and begin with the next one if it can be."""
        for link in self._out:
            link.flush()
        self._clock.start()
        (self._own,) = self._take(iteration, weights)
        self._send(Kind.GRADIENT, iteration, self._own.payload, self._own[1:4])
        self._begin(iteration + 1, following)
        return 0

    def collect(self, index: int, iteration: int) -> Contribution:
        """Return this rank's gradient, or receive another's."""
        if index == self._rank.rank:
            return self._own
        header, body = self._receive(Kind.GRADIENT, index, iteration)
        squares, compute, encode = header.notes
        self._clock.note(compute, encode)
        return Contribution(body, squares, compute, encode)

    def gather_residuals(self, iteration: int) -> None:
        """Leave that to the member of the run, which has the link to the master."""

    def residuals(self, iteration: int) -> np.ndarray | None:
        """Return None: a rank has only its own."""
        return None

    def times(self, talked: float) -> Times:
        """Return the seconds of the iteration."""
        return self._clock.times(talked, self._own.compute + self._own.encode, self._before)

    def _step(self, iteration: int, weights: np.ndarray) -> list[Contribution]:
        """Compute and encode this rank's gradient, in as many parts as it is sent."""
        return [self._rank.step(iteration, weights)]

    def _take(self, iteration: int, weights: np.ndarray) -> list[Contribution]:
        """Return this rank's gradient, computed now or before, and note its seconds."""
        began = perf_counter()
        parts = self._rank.ahead.take(iteration, lambda: self._step(iteration, weights))
        compute, encode = parts[0][2:4]
        self._before = max(0.0, compute + encode - (perf_counter() - began))
        self._clock.note(compute, encode)
        return parts

    def _begin(self, iteration: int, weights: np.ndarray | None) -> None:
        """Begin with the gradient of the next iteration where its weights are known."""
        if weights is not None:
            self._rank.ahead.start(iteration, lambda: self._step(iteration, weights))

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
