"""The ends of the exchange with a master that sends the weights."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from relufit.compression.base import HEADER_BYTES, length_of
from relufit.training.exchanges.base import Endpoints, Gathering
from relufit.training.rank import EXACT, Rank
from relufit.training.run_context import state_limit, unpack_state
from relufit.training.spec import Plan
from relufit.transport.frames import Kind, body_digest
from relufit.transport.link import Link


class Gather(Gathering):
    """At a master that sends the weights."""

    def moments(self) -> Iterator[memoryview]:
        """Receive each rank's."""
        for rank in range(len(self._links)):
            yield self._receive(Kind.MOMENTS, rank, 0)[1]

    def broadcast(self, iteration: int, weights: np.ndarray, following: np.ndarray | None) -> int:
        """Send the weights; ranks have no others to compute with meanwhile."""
        self._clock.start()
        # The weights do not change before all ranks have answered, and so have them.
        # If they were not finite, neither would the error be, and the run would have ended.
        payload = EXACT.trusted(weights)
        digest = body_digest(payload)
        for link in self._links:
            link.post(Kind.WEIGHTS, payload, iteration=iteration, digest=digest)
        return length_of(payload) * len(self._links)


def answer(plan: Plan, rank: Rank, link: Link, iteration: int | None) -> None:
    """Serve a master that sends the weights, of that iteration and on, or None to send the moments first.

    Answers each set of weights with a gradient until told to stop. What is learnt of the compressor is learnt from
    them, as at the master, whose state of it comes first.
    """
    learner = plan.learner()
    if learner and iteration is not None:
        header, body = link.receive(Kind.STATE, limit=state_limit(plan), iteration=iteration)
        state, _ = unpack_state(header, body, plan)
        learner.restore(iteration, state.weights, state.learnt)
    if iteration is None:
        link.send(Kind.MOMENTS, rank.moments(), rank=rank.rank)
        iteration = 0
    while True:
        header, body = link.receive(Kind.WEIGHTS, Kind.STOP, limit=HEADER_BYTES + 8 * plan.d, iteration=iteration)
        if header.kind is Kind.STOP:
            return
        weights = EXACT.view(body, plan.d)
        if learner:
            learner.take(iteration, weights)
            rank.compressor = learner.compressor
        contribution = rank.step(iteration, weights)
        link.send(Kind.GRADIENT, contribution.payload, rank=rank.rank, iteration=iteration, notes=contribution[1:4])
        iteration += 1
        if plan.copies_at(iteration):
            link.send(Kind.RESIDUALS, rank.pack_residuals(iteration), rank=rank.rank, iteration=iteration)


ENDPOINTS = Endpoints(at_master=Gather, answer=answer)
