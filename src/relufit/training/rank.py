"""What one rank does: sample its rows, sum their gradients, encode the sum."""

from __future__ import annotations

import math
from time import perf_counter
from typing import NamedTuple

import numpy as np

from relufit import kernels, streams
from relufit.compression import Compressor
from relufit.compression.base import Pieces, Place, joined
from relufit.compression.cast import Float64
from relufit.dataset import RowSource
from relufit.errors import PayloadError
from relufit.kernels import Descent
from relufit.training.sampling import SAMPLINGS, Sampler
from relufit.training.spec import Plan

#: How the weights travel to the ranks, and the moments of the initial weights from them: exactly.
EXACT = Float64()
_WARM_UP_SIZE = 600


class Contribution(NamedTuple):
    """What a rank sends in an iteration.

    `payload` is the encoded partial gradient, perhaps in pieces, good until the rank's next step; `squares` the sum
    of squared residuals of its samples, which goes to the trace; `compute` and `encode` are seconds.
    """

    payload: Pieces
    squares: float
    compute: float
    encode: float


def warm_up(compressor: Compressor) -> None:
    """Load or compile every loop of a run, so that no iteration's clock includes that."""
    x, y, total = np.ones((4, 8), np.float32), np.ones(4), np.empty(8)
    kernels.moment_sum(x, y, total)
    kernels.gradient_sum(x, y, np.arange(4), y.repeat(2), 1.0, total)
    kernels.squared_distance(total, total)
    # A code may have one loop for vectors of which most are zero, and one for others.
    for vector in (np.arange(1.0, _WARM_UP_SIZE), np.arange(1.0, _WARM_UP_SIZE) // (_WARM_UP_SIZE - 1)):
        descent = Descent(np.zeros(vector.size), 1.0, vector)
        for its in (compressor, EXACT):
            payload = joined(its.pieces(vector, 0))
            for received in (payload, memoryview(bytearray(payload))):
                its.sum([received], np.zeros(vector.size), fresh=True, room=np.empty(vector.size), descent=descent)


class Rank:
    """One rank of a run; it holds its rows and two vectors, and nothing that changes between iterations.

    Parameters
    ----------
    plan : Plan
    rank : int
        From 0 to K - 1.
    rows : RowSource
        Only this rank's shard is opened.
    """

    def __init__(self, plan: Plan, rank: int, rows: RowSource) -> None:
        self._plan, self.rank = plan, rank
        self._compressor, self._seed, self._share = plan.compressor, plan.spec.seed, 1.0 / plan.spec.batch_size
        self._shard = rows.shard(rank, plan.spec.workers)
        self._sampler: Sampler = SAMPLINGS[plan.spec.sampling](
            plan.spec.seed,
            rank,
            plan.batch(rank),
            self._shard,
            rows.model,
            rows.w_star,
        )
        self._gradient, self._place = np.empty(plan.d), Place()
        warm_up(plan.compressor)

    def moments(self) -> bytes:
        """Return this rank's part of the initial weights, (2/n) sum y_i x_i over its rows, as a payload."""
        kernels.moment_sum(*self._shard, self._gradient)
        return EXACT.encode(self._gradient * (2.0 / self._plan.n), 0)

    def step(self, iteration: int, w: np.ndarray) -> Contribution:
        """Return this rank's part of the mini-batch gradient at `w`, divided by the whole batch, as a payload."""
        began = perf_counter()
        x, y, batch = self._sampler.draw(iteration)
        residuals, squares = kernels.gradient_sum(x, y, batch, w, self._share, self._gradient)
        if not residuals < math.inf:
            raise PayloadError("NaN or infinity in the weights, or near to it")
        computed = perf_counter()
        key = streams.key(self._seed, rank=self.rank, iteration=iteration)
        payload = self._compressor.pieces(self._gradient, key, self._place, squares)
        return Contribution(payload, residuals, computed - began, perf_counter() - computed)
