"""All ranks in this process, one after the other: the oracle that the distributed engine must equal."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from relufit.dataset import RowSource
from relufit.training import loop
from relufit.training.rank import EXACT, Contribution, Rank
from relufit.training.spec import Plan, Progress
from relufit.training.trace import Times, Trace


class _InProcess:
    """The ranks themselves: a message is handed over as it is."""

    def __init__(self, plan: Plan, rows: RowSource) -> None:
        self._ranks = [Rank(plan, rank, rows) for rank in range(plan.spec.workers)]
        self._weights = np.empty(plan.d)
        self._compute = self._encode = 0.0

    def moments(self) -> Iterator[bytes]:
        for rank in self._ranks:
            yield rank.moments()

    def broadcast(self, iteration: int, payload: bytes) -> None:
        self._weights = EXACT.decode(payload, self._weights.size)
        self._compute = self._encode = 0.0

    def collect(self, rank: int, iteration: int) -> Contribution:
        contribution = self._ranks[rank].step(iteration, self._weights)
        self._compute += contribution.compute
        self._encode += contribution.encode
        return contribution

    def times(self) -> Times:
        return Times(self._compute, self._encode, 0.0, 0.0)

    def received(self) -> None:
        return None


def train(plan: Plan, rows: RowSource, progress: Progress | None = None) -> Trace:
    """Run `plan` on `rows` in this process."""
    return loop.run(plan, rows.w_star, _InProcess(plan, rows), progress)
