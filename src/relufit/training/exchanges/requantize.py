"""The ends of the exchange with a master that encodes the sum of the gradients once."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter

import numpy as np

from relufit.compression.base import Compressor, length_of
from relufit.training.exchanges.base import Endpoints, OnRank, gradients_of, sum_notes
from relufit.training.exchanges.relay import Relay
from relufit.training.rank import Contribution, Rank
from relufit.training.reduction import Reduction
from relufit.training.residuals import Residual
from relufit.training.spec import Plan
from relufit.training.trace import Times
from relufit.transport.frames import Kind, body_digest
from relufit.transport.link import Link


class Requantize(Relay):
    """At the master; it passes the moments on, and sends every rank the encoded sum of the gradients."""

    def __init__(self, plan: Plan, links: list[Link], residual: Residual | None = None) -> None:
        super().__init__(plan, links, residual)
        self._reduction, self._decode, self._work = Reduction(plan, 0, residual), 0.0, 0.0

    def use(self, compressor: Compressor) -> None:
        """Take another compressor."""
        self._reduction.compressor = compressor

    def broadcast(self, iteration: int, weights: np.ndarray, following: np.ndarray | None) -> int:
        """Send nothing: every rank has the weights, and by its next gradient it has shown that it has the last sum."""
        for link in self._links:
            link.flush()
        return super().broadcast(iteration, weights, following)

    def collect(self, index: int, iteration: int) -> Contribution:
        """Receive the gradients, and send their sum."""
        total, gradients, self._decode = 0.0, 0, 0.0
        self._reduction.start()
        for rank in range(len(self._links)):
            header, body = self._receive(Kind.GRADIENT, rank, iteration)
            squares, compute, encode = header.notes
            self._clock.note(compute, encode)
            total += squares
            gradients += length_of(body)
            began = perf_counter()
            self._reduction.add(body)
            self._decode += perf_counter() - began
        began = perf_counter()
        payload = self._reduction.encode(iteration)
        digest = body_digest(payload)
        self._work = self._decode + perf_counter() - began
        for link in self._links:
            link.post(Kind.SUM, payload, iteration=iteration, notes=sum_notes(total, gradients), digest=digest)
        return Contribution(payload, total, 0.0, 0.0, gradients)

    def times(self, talked: float) -> Times:
        """Return the seconds of the iteration."""
        return self._clock.times(talked, self._work)._replace(decode=self._decode)


class Requantized(OnRank):
    """On a rank, whose link to the master brings the sum."""

    def __init__(self, plan: Plan, rank: Rank, links: Mapping[int, Link]) -> None:
        super().__init__(plan, rank, links)
        self._master = links[0]

    def collect(self, index: int, iteration: int) -> Contribution:
        """Receive the sum."""
        header, body = self._master.receive(Kind.SUM, limit=self._limit, iteration=iteration)
        return Contribution(body, header.notes[0], 0.0, 0.0, gradients_of(header.notes))


ENDPOINTS = Endpoints(at_master=Requantize, on_rank=Requantized)
