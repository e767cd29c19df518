"""The end of the exchange in which each rank adds a part of the coordinates."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter

import numpy as np

from relufit.compression.base import Compressor, Pieces, length_of
from relufit.training.exchanges.base import Endpoints, OnRank, gradients_of, sum_notes
from relufit.training.rank import Contribution, Rank
from relufit.training.reduction import Reduction
from relufit.training.spec import Plan
from relufit.training.trace import Times
from relufit.transport.frames import Kind
from relufit.transport.link import Link


class Reduce(OnRank):
    """On a rank that owns a part."""

    def __init__(self, plan: Plan, rank: Rank, links: Mapping[int, Link]) -> None:
        super().__init__(plan, rank, links)
        self._reduction, self._decode, self._work = Reduction(plan, rank.rank, rank.sum_residual), 0.0, 0.0
        # Each rank begins with the next one, so that not all send to the same.
        self._others = sorted(links, key=lambda other: (other - rank.rank) % plan.spec.workers)
        self._sum: Pieces = b""
        self._squares, self._gradients = [0.0] * plan.spec.workers, 0

    def use(self, compressor: Compressor) -> None:
        """Take another compressor."""
        super().use(compressor)
        self._reduction.compressor = compressor

    def broadcast(self, iteration: int, weights: np.ndarray, following: np.ndarray | None) -> int:
        """Send the parts of this rank's gradient, add up the part that it owns, and send the sum.

        The next gradient is begun, if it can be, when the parts are posted.
        """
        for link in self._out:
            link.flush()
        self._clock.start()
        mine = self._take(iteration, weights)
        _, squares, compute, encode, _ = mine[0]
        for other in self._others:
            self._links[other].post(
                Kind.GRADIENT,
                mine[other].payload,
                rank=self._rank.rank,
                iteration=iteration,
                notes=(squares, compute, encode),
            )
        self._begin(iteration + 1, following)
        self._decode, self._gradients = 0.0, 0
        self._reduction.start()
        for rank in range(self._ranks):
            payload = mine[rank].payload if rank == self._rank.rank else self._receive_part(rank, iteration)
            began = perf_counter()
            self._reduction.add(payload)
            self._decode += perf_counter() - began
        self._squares[self._rank.rank] = squares
        began = perf_counter()
        self._sum = self._reduction.encode(iteration)
        self._work = compute + encode + self._decode + perf_counter() - began
        for other in self._others:
            self._links[other].post(
                Kind.SUM,
                self._sum,
                rank=self._rank.rank,
                iteration=iteration,
                notes=sum_notes(0.0, self._gradients),
            )
        return 0

    def collect(self, index: int, iteration: int) -> Contribution:
        """Return the sum of this rank's part, or receive that of another's."""
        if index == self._rank.rank:
            return Contribution(self._sum, self._squares[index], 0.0, 0.0, self._gradients)
        header, body = self._receive(Kind.SUM, index, iteration)
        return Contribution(body, self._squares[index], 0.0, 0.0, gradients_of(header.notes))

    def times(self, talked: float) -> Times:
        """Return the seconds of the iteration."""
        return self._clock.times(talked, self._work, self._before)._replace(decode=self._decode)

    def _step(self, iteration: int, weights: np.ndarray) -> list[Contribution]:
        return self._rank.step_in_parts(iteration, weights)

    def _receive_part(self, rank: int, iteration: int) -> memoryview:
        header, body = self._receive(Kind.GRADIENT, rank, iteration)
        self._squares[rank], compute, encode = header.notes
        self._clock.note(compute, encode)
        self._gradients += length_of(body)
        return body


ENDPOINTS = Endpoints(on_rank=Reduce)
