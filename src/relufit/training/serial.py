"""All ranks in this process, one after the other: the oracle that the distributed engine must equal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import reduce
from operator import add
from time import perf_counter

import numpy as np

from relufit.compression.base import Compressor, length_of
from relufit.exchange import find_exchange
from relufit.planted.dataset import RowSource
from relufit.training.checkpoint import CheckpointManager, Observer
from relufit.training.loop import ProgressCallback, Reporter, Run
from relufit.training.master import Master
from relufit.training.rank import EXACT, Contribution, Rank
from relufit.training.reduction import Reduction
from relufit.training.residuals import Residual, Residuals, sum_residual
from relufit.training.spec import Plan
from relufit.training.trace import Times, Trace


class _InProcess:
    """The ranks themselves: a message is handed over as it is."""

    def __init__(self, plan: Plan, rows: RowSource) -> None:
        self._layout = Residuals(plan)
        self._ranks = [Rank(plan, rank, rows) for rank in range(plan.spec.workers)]
        exchange = find_exchange(plan.spec.exchange)
        self._weights, self._sends_weights = np.empty(plan.d), not exchange.replicas
        parts = exchange.parts(plan.d, plan.spec.workers) or []
        #: Where sums are encoded: at a master, or at the rank that owns the part.
        self._residuals = [sum_residual(plan, owner) for owner in range(len(parts))]
        self._sums = [Reduction(plan, owner, residual) for owner, residual in enumerate(self._residuals)]
        self._at_master = exchange.has_master
        self._squares, self._gradients, self._decode = list[float](), [0] * len(parts), 0.0
        self._compute = self._encode = 0.0
        #: How many payloads there are to collect in an iteration.
        self.payloads = len(parts) or len(self._ranks)

    def moments(self) -> Iterator[bytes]:
        for rank in self._ranks:
            yield rank.moments()

    def use(self, compressor: Compressor) -> None:
        for rank in self._ranks:
            rank.compressor = compressor
        for reduction in self._sums:
            reduction.compressor = compressor

    def broadcast(self, iteration: int, weights: np.ndarray, following: np.ndarray | None = None) -> int:
        self._compute = self._encode = self._decode = 0.0
        # They do not change before all ranks have answered.
        self._weights = weights
        return length_of(EXACT.trusted(weights)) * len(self._ranks) if self._sends_weights else 0

    def collect(self, index: int, iteration: int) -> Contribution:
        if not self._sums:
            return self._note(self._ranks[index].step(iteration, self._weights))
        if index == 0:
            self._reduce(iteration)
        began = perf_counter()
        payload = self._sums[index].encode(iteration)
        self._encode += perf_counter() - began
        # One after the other, as a master adds them: the built-in sum compensates for rounding from Python 3.12 on.
        squares = reduce(add, self._squares) if self._at_master else self._squares[index]
        return Contribution(payload, squares, 0.0, 0.0, self._gradients[index])

    def _reduce(self, iteration: int) -> None:
        """Have each rank's gradient added to the sums."""
        self._squares, self._gradients = [], [0] * len(self._sums)
        for reduction in self._sums:
            reduction.start()
        for rank in self._ranks:
            whole = [rank.step(iteration, self._weights)] if self._at_master else None
            parts = whole or rank.step_in_parts(iteration, self._weights)
            self._squares.append(self._note(parts[0]).squares)
            began = perf_counter()
            for owner, (reduction, part) in enumerate(zip(self._sums, parts, strict=True)):
                reduction.add(part.payload)
                if self._at_master or owner != rank.rank:
                    self._gradients[owner] += length_of(part.payload)
            self._decode += perf_counter() - began

    def _note(self, contribution: Contribution) -> Contribution:
        self._compute += contribution.compute
        self._encode += contribution.encode
        return contribution

    def times(self, talked: float) -> Times:
        return Times(self._compute, self._encode, 0.0, 0.0, self._decode)

    def gather_residuals(self, iteration: int) -> None:
        pass

    def residuals(self, iteration: int) -> np.ndarray | None:
        if not self._layout.size:
            return None
        values = np.empty(self._layout.size)
        for residual, place in self._places():
            values[place] = residual.before(iteration)
        return values

    def restore(self, iteration: int, values: np.ndarray) -> None:
        for residual, place in self._places():
            residual.restore(iteration, values[place])

    def _places(self) -> Iterator[tuple[Residual, slice]]:
        """Yield each residual with its place among all."""
        for rank in self._ranks:
            if rank.residual:
                yield rank.residual, self._layout.of_rank(rank.rank)
        for owner, residual in enumerate(self._residuals):
            if residual:
                yield residual, self._layout.of_sum(owner)


class SingleSteps:
    """Steps of a run that each begin at given weights, by its ranks, its exchange and its master.

    Parameters
    ----------
    plan : Plan
    rows : RowSource
    """

    def __init__(self, plan: Plan, rows: RowSource) -> None:
        self._endpoint, self._master = _InProcess(plan, rows), Master(plan, rows.w_star)

    def step(self, iteration: int, weights: np.ndarray) -> float:
        """Return the relative error after one step from `weights`, (d,) float64, with the draws of an iteration."""
        self._master.weights[:] = weights
        if self._master.learner:
            self._endpoint.use(self._master.compressor)
        self._endpoint.broadcast(iteration, weights)
        for index in range(self._endpoint.payloads):
            self._master.add(self._endpoint.collect(index, iteration).payload)
        self._master.update()
        return self._master.error


def train(
    plan: Plan,
    rows: RowSource,
    progress: ProgressCallback | None = None,
    manager: CheckpointManager | None = None,
    *,
    told: Callable[[str], None] | None = None,
    save: Callable[[Trace], None] | None = None,
) -> Trace:
    """Run `plan` on `rows` in this process, see `relufit.train`."""
    snapshot = manager.load() if manager else None
    run = Run(plan, rows.w_star, snapshot)
    observer = Observer(Reporter(progress) if progress else None, manager, told)
    if run.outcome is None:
        try:
            endpoint = _InProcess(plan, rows)
            if snapshot:
                endpoint.restore(snapshot.iteration, snapshot.residuals)
            run.advance(endpoint, observer)
            observer.keep(run)
        except BaseException:
            if manager and run.whole:
                manager.keep(run)
            raise
    trace = run.trace()
    if save:
        save(trace)
    if manager:
        manager.remove()
        observer.complain()
    return trace
