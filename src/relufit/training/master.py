"""What the master does: decode the partial gradients, sum them in the order of the ranks, update the weights."""

from __future__ import annotations

import math

import numpy as np

from relufit import streams
from relufit.compression.base import Pieces
from relufit.errors import PayloadError
from relufit.exchange import find_exchange
from relufit.numerics import kernels
from relufit.planted import relative_error
from relufit.planted.starts import STARTS, needs_moments
from relufit.training.averaging import Average
from relufit.training.delay import Delay
from relufit.training.fused_sums import Descent, step_in_part, sum_and_step
from relufit.training.rank import EXACT, warm_up
from relufit.training.spec import Plan

#: A run whose relative error exceeds this many times the larger of 1 and its first has diverged.
DIVERGENCE = 1e3
#: How a run can end.
CONVERGED, DIVERGED, SPENT = OUTCOMES = ("converged", "diverged", "budget spent")


class Master:
    """The state of a run: the weights and the number of updates.

    Parameters
    ----------
    plan : Plan
    w_star : (d,) float64
        The planted weights, for the relative error.
    """

    def __init__(self, plan: Plan, w_star: np.ndarray) -> None:
        self._plan, self._w_star = plan, w_star
        #: What payloads of the next step are read by.
        self.compressor = plan.compressor
        self.weights, self._sum, self._scratch = np.zeros(plan.d), np.zeros(plan.d), np.empty(plan.d)
        #: Payloads that are not in the sum yet; whether nothing is in it; and the squared distance after the next step.
        self._held, self._fresh, self._next = list[Pieces](), True, math.nan
        self._max_held = plan.compressor.max_fused_payloads(plan.d)
        #: The parts whose sums come in place of gradients, and how many have come.
        parts = find_exchange(plan.spec.exchange).parts(plan.d, plan.spec.workers)
        self._parts, self._added = parts or [], 0
        self.iteration, self.error, self.first_error, self._limit = 0, math.nan, math.nan, math.inf
        self._squares = kernels.squared_norm(w_star)
        #: One of `OUTCOMES`; None while there is more to do.
        self.outcome: str | None = None
        #: The mean of the weights, None where there is none.
        self.average = Average(plan.spec.average_from, plan.d) if plan.spec.average_from is not None else None
        #: What is learnt of the compressor, None where nothing is.
        self.learner = plan.learner()
        #: The weights of the iterations before, None where no gradient is delayed.
        self.delay = Delay(plan.spec.delay, plan.d) if plan.spec.delay else None
        warm_up(plan.compressor, plan.spec.gradient)

    def add_moments(self, payload: bytes | memoryview) -> None:
        """Add a rank's part of the moment estimate, see `Rank.moments`; call in the order of the ranks."""
        if needs_moments(self._plan.spec.initial_weights):
            EXACT.add(payload, self.weights, self._scratch)
        elif len(payload):
            raise PayloadError("moments of which the initial weights are no function")

    def begin(self) -> None:
        """Take the moments as complete, and the initial weights that follow from them."""
        spec = self._plan.spec
        draw = streams.generator(streams.key(spec.seed, purpose="start"))
        self.weights[:] = STARTS[spec.initial_weights](self.weights, self._w_star, draw)
        self.error = self.first_error = relative_error(self.weights, self._w_star)
        self._limit = DIVERGENCE * max(1.0, self.first_error)
        if self.average:
            self.average.take(0, self.weights)
        if self.delay:
            self.delay.begin(self.weights)
        self._decide()
        self._learn()

    def restore(
        self,
        iteration: int,
        weights: np.ndarray,
        first_error: float,
        outcome: str | None = None,
        mean: np.ndarray | None = None,
        past: np.ndarray | None = None,
        learnt: np.ndarray | None = None,
    ) -> None:
        """Take up the state of a run between two iterations, or of one that has ended with that outcome.

        The `mean` of the weights is part of it where they are averaged, the `past` ones where there is a delay, and
        what is `learnt` where the compressor is.
        """
        self.weights[:] = weights
        if self.delay:
            assert past is not None
            self.delay.past[:] = past
        if self.average:
            assert mean is not None
            self.average.mean[:] = mean
        self.iteration, self.first_error = iteration, first_error
        if self.learner:
            assert learnt is not None
            self.learner.restore(iteration, weights, learnt)
        self.error = relative_error(self.weights, self._w_star)
        self._limit = DIVERGENCE * max(1.0, first_error)
        self._decide()
        self.outcome = outcome or self.outcome
        self._learn()

    def drop(self, *, weights: bool) -> None:
        """Forget what was added since the last update, and the `weights` too where they are not complete yet."""
        self._held, self._fresh, self._added = [], True, 0
        if weights:
            self.weights[:] = 0.0

    def add(self, payload: Pieces) -> None:
        """Add a rank's partial gradient; call in the order of the ranks.

        It must not change before the update: where that takes less time, some are decoded together. In an exchange with
        parts it is the sum of the next part.
        """
        if self._parts:
            self._step_along(payload)
            return
        if len(self._held) == self._max_held:
            self._add_held()
        self._held.append(payload)
        if self._max_held == 1:
            self._add_held()

    def update(self) -> None:
        """Take one step along the summed gradient."""
        self.prepare()
        self.commit()

    def prepare(self) -> None:
        """Compute the next weights beside the present ones."""
        if not self._parts:
            self._next = sum_and_step(
                self.compressor, self._held, self._sum, self._descent, fresh=self._fresh, scratch=self._scratch
            )
        self._held, self._fresh, self._added = [], False, 0

    @property
    def _descent(self) -> Descent:
        return Descent(self.weights, self._step, self._w_star)

    @property
    def _step(self) -> float:
        every = self._plan.spec.halve_every
        return math.ldexp(self._plan.step, -(self.iteration // every)) if every else self._plan.step

    def commit(self) -> None:
        """Take the next weights in place of the present ones."""
        if self.delay:
            self.delay.keep(self.iteration, self.weights)
        self.weights, self._sum, self._fresh = self._sum, self.weights, True
        self.iteration += 1
        self.error = math.sqrt(self._next / self._squares)
        if self.average:
            self.average.take(self.iteration, self.weights)
        self._decide()
        self._learn()

    @property
    def gradient_weights(self) -> np.ndarray:
        """The weights that the gradient of the next step is taken at; good until that step."""
        return self.delay.at(self.iteration) if self.delay else self.weights

    @property
    def following_weights(self) -> np.ndarray | None:
        """The weights that the gradient of the step after the next one is taken at; good until that step.

        None where they are not known before the next step, which is where no gradient is delayed, and where the next
        step is the last of the budget.
        """
        if not self.delay or self.iteration + 1 >= self._plan.spec.iterations:
            return None
        return self.delay.following(self.iteration, self.weights)

    @property
    def average_error(self) -> tuple[float, ...]:
        """The relative error of the mean of the weights, NaN before it begins; nothing where there is no mean."""
        return (self.average.error(self.iteration, self._w_star),) if self.average else ()

    def _step_along(self, payload: Pieces) -> None:
        """Compute the next weights in the next part, of whose sum it is the payload."""
        start, stop = self._parts[self._added]
        squares = self._next if self._added else 0.0
        if stop > start:
            squares = step_in_part(self.compressor, payload, (start, stop), self._sum, self._descent, squares)
        self._next, self._added = squares, self._added + 1

    def _add_held(self) -> None:
        self.compressor.sum(self._held, self._sum, fresh=self._fresh, scratch=self._scratch)
        self._held, self._fresh = [], False

    def _learn(self) -> None:
        """Take the compressor of the next iteration where it is learnt; weights that have diverged teach nothing."""
        if self.learner and self.outcome is None:
            self.learner.take(self.iteration, self.weights)
            self.compressor = self.learner.compressor

    def _decide(self) -> None:
        spec, outcome = self._plan.spec, None
        if spec.tolerance is not None and self.error <= spec.tolerance:
            outcome = CONVERGED
        elif not self.error <= self._limit:
            outcome = DIVERGED
        elif self.iteration >= spec.iterations:
            outcome = SPENT
        self.outcome = outcome
