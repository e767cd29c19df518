"""What the master does: decode the partial gradients, sum them in the order of the ranks, update the weights."""

from __future__ import annotations

import math

import numpy as np

from relufit import kernels
from relufit.compression.base import Pieces
from relufit.kernels import Descent
from relufit.planted import relative_error
from relufit.training.rank import EXACT, warm_up
from relufit.training.spec import Plan

#: A run whose relative error exceeds this many times the larger of 1 and its first has diverged.
DIVERGENCE = 1e3


class Master:
    """The state of a run: the weights and the number of updates.

    Parameters
    ----------
    plan : Plan
    w_star : (d,) float64
        The planted weights, for the relative error.
    """

    def __init__(self, plan: Plan, w_star: np.ndarray) -> None:
        self._plan, self._compressor, self._w_star = plan, plan.compressor, w_star
        self.weights, self._sum, self._room = np.zeros(plan.d), np.zeros(plan.d), np.empty(plan.d)
        #: Payloads that are not in the sum yet; whether nothing is in it; and the squared distance after the next step.
        self._held, self._fresh, self._next = list[Pieces](), True, math.nan
        self._together = plan.compressor.together(plan.d)
        self.iteration, self.error, self.first_error, self._limit = 0, math.nan, math.nan, math.inf
        self._squares = kernels.squared_norm(w_star)
        #: ``"converged"``, ``"diverged"`` or ``"budget spent"``; None while there is more to do.
        self.outcome: str | None = None
        warm_up(plan.compressor)

    def add_moments(self, payload: bytes | memoryview) -> None:
        """Add a rank's part of the initial weights; call in the order of the ranks."""
        EXACT.add(payload, self.weights, self._room)

    def begin(self) -> None:
        """Take the initial weights as complete."""
        self.error = self.first_error = relative_error(self.weights, self._w_star)
        self._limit = DIVERGENCE * max(1.0, self.first_error)
        self._decide()

    def restore(self, iteration: int, weights: np.ndarray, first_error: float) -> None:
        """Take up the state of a run between two iterations."""
        self.weights[:] = weights
        self.iteration, self.first_error = iteration, first_error
        self.error = relative_error(self.weights, self._w_star)
        self._limit = DIVERGENCE * max(1.0, first_error)
        self._decide()

    def drop(self, *, weights: bool) -> None:
        """Forget what was added since the last update, and the `weights` too where they are not complete yet."""
        self._held, self._fresh = [], True
        if weights:
            self.weights[:] = 0.0

    def add(self, payload: Pieces) -> None:
        """Add a rank's partial gradient; call in the order of the ranks.

        It must not change before the update: where that takes less time, some are decoded together.
        """
        if len(self._held) == self._together:
            self._add_held()
        self._held.append(payload)
        if self._together == 1:
            self._add_held()

    def update(self) -> None:
        """Take one step along the summed gradient."""
        self.prepare()
        self.commit()

    def prepare(self) -> None:
        """Compute the next weights beside the present ones."""
        self._next = self._add_held(Descent(self.weights, self._plan.step, self._w_star))

    def commit(self) -> None:
        """Take the next weights in place of the present ones."""
        self.weights, self._sum, self._fresh = self._sum, self.weights, True
        self.iteration += 1
        self.error = math.sqrt(self._next / self._squares)
        self._decide()

    def _add_held(self, descent: Descent | None = None) -> float:
        squares = self._compressor.sum(self._held, self._sum, fresh=self._fresh, room=self._room, descent=descent)
        self._held, self._fresh = [], False
        return squares

    def _decide(self) -> None:
        spec, outcome = self._plan.spec, None
        if spec.tolerance is not None and self.error <= spec.tolerance:
            outcome = "converged"
        elif not self.error <= self._limit:
            outcome = "diverged"
        elif self.iteration >= spec.iterations:
            outcome = "budget spent"
        self.outcome = outcome
