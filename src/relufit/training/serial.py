"""All ranks in this process, one after the other: the oracle that the distributed engine must equal."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from relufit.compression.base import length_of
from relufit.dataset import RowSource
from relufit.training.checkpoint import Keeper, Observer
from relufit.training.loop import Progress, Reporter, Run
from relufit.training.rank import EXACT, Contribution, Rank
from relufit.training.spec import Plan
from relufit.training.trace import Times, Trace


class _InProcess:
    """The ranks themselves: a message is handed over as it is."""

    def __init__(self, plan: Plan, rows: RowSource) -> None:
        self._ranks = [Rank(plan, rank, rows) for rank in range(plan.spec.workers)]
        self._weights, self._sends_weights = np.empty(plan.d), plan.spec.exchange == "master"
        self._compute = self._encode = 0.0

    def moments(self) -> Iterator[bytes]:
        for rank in self._ranks:
            yield rank.moments()

    def broadcast(self, iteration: int, weights: np.ndarray) -> int:
        self._compute = self._encode = 0.0
        # They do not change before all ranks have answered.
        self._weights = weights
        return length_of(EXACT.trusted(weights)) * len(self._ranks) if self._sends_weights else 0

    def collect(self, rank: int, iteration: int) -> Contribution:
        contribution = self._ranks[rank].step(iteration, self._weights)
        self._compute += contribution.compute
        self._encode += contribution.encode
        return contribution

    def times(self, talked: float) -> Times:
        return Times(self._compute, self._encode, 0.0, 0.0)


def train(plan: Plan, rows: RowSource, progress: Progress | None = None, keeper: Keeper | None = None) -> Trace:
    """Run `plan` on `rows` in this process."""
    run = Run(plan, rows.w_star, keeper.load() if keeper else None)
    try:
        run.advance(_InProcess(plan, rows), Observer(Reporter(progress) if progress else None, keeper))
    except BaseException:
        if keeper and run.whole:
            keeper.write(run.snapshot())
        raise
    if keeper:
        keeper.remove()
    return run.trace()
