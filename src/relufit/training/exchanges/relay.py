"""The ends of the exchange with a master that passes on what the ranks send."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from relufit.training.exchanges.base import Endpoints, Gathering, OnRank
from relufit.training.rank import Contribution, Rank
from relufit.training.residuals import Residual
from relufit.training.spec import Plan
from relufit.transport.frames import Header, Kind, body_digest
from relufit.transport.link import Link


class Relay(Gathering):
    """At a master that sends each rank what the others sent."""

    def __init__(self, plan: Plan, links: list[Link], residual: Residual | None = None) -> None:
        super().__init__(plan, links, residual)
        # What a rank sent is passed on from where it was received. By the time a rank sends its next but one, the
        # others have answered its last, and so have it.
        for link in links:
            link.kept = 2

    def moments(self) -> Iterator[memoryview]:
        """Receive and pass on each rank's."""
        for rank in range(len(self._links)):
            yield self._pass_on(*self._receive(Kind.MOMENTS, rank, 0))

    def broadcast(self, iteration: int, weights: np.ndarray, following: np.ndarray | None) -> int:
        """Send nothing: every rank has the weights."""
        self._clock.start()
        return 0

    def collect(self, index: int, iteration: int) -> Contribution:
        """Receive and pass on a rank's gradient."""
        header, body = self._receive(Kind.GRADIENT, index, iteration)
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


class Relayed(OnRank):
    """On a rank whose master passes on what the others send: one link carries all of it."""

    def __init__(self, plan: Plan, rank: Rank, links: Mapping[int, Link]) -> None:
        super().__init__(plan, rank, links)
        # As many as are decoded in one pass, while the next one comes.
        fused = plan.compressor.max_fused_payloads(plan.d)
        for link in links.values():
            link.kept = max(1, min(plan.spec.workers - 1, fused + 1)) if fused > 1 else 1


ENDPOINTS = Endpoints(at_master=Relay, on_rank=Relayed)
