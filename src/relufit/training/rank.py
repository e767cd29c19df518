"""What one rank does: sample its rows, sum their gradients, over local steps too, and encode the sum."""

from __future__ import annotations

import math
from collections.abc import Callable
from time import perf_counter
from typing import NamedTuple

import numpy as np

from relufit.compression import Compressor
from relufit.compression.base import Pieces, ScratchBuffer, joined
from relufit.compression.cast import Float64
from relufit.errors import PayloadError
from relufit.exchange import find_exchange
from relufit.files.mapped import Guard
from relufit.numerics import kernels
from relufit.planted.dataset import RowSource
from relufit.planted.starts import needs_moments
from relufit.training.ahead import Ahead
from relufit.training.dither import dither_key
from relufit.training.fused_sums import Descent, step_in_part, sum_and_step
from relufit.training.gradients import GRADIENTS
from relufit.training.residuals import Residual, sum_residual
from relufit.training.sampling import SAMPLINGS, Sampler
from relufit.training.spec import Plan

#: How the weights travel to the ranks, and the moments of the initial weights from them: exactly.
EXACT = Float64()
_WARM_UP_SIZE = 600
#: The loops that have run in this process.
_warm = set[tuple[type[Compressor], str, str]]()


class Contribution(NamedTuple):
    """What a rank sends in an iteration.

    `payload` is the encoded partial gradient, perhaps in pieces, good until the rank's next step, or, where ranks
    compute ahead, the next but one; `squares` the sum of squared residuals of its samples, which goes to the trace;
    `compute` and `encode` are seconds. Of an encoded sum `gradients` are the payload bytes that were sent for it.
    """

    payload: Pieces
    squares: float
    compute: float
    encode: float
    gradients: int = 0


def _kernel(gradient: str) -> Callable[..., tuple[float, float]]:
    """Return the loop that adds up the gradients of rows."""
    return getattr(kernels, GRADIENTS[gradient].kernel)  # type: ignore[no-any-return]


def warm_up(compressor: Compressor, gradient: str) -> None:
    """Load or compile every loop of a run, once in a process, so that no iteration's clock includes that."""
    loops = (type(compressor), repr(compressor.parameters), gradient)
    if loops not in _warm:
        _run_loops(compressor, gradient)
        _warm.add(loops)


def _run_loops(compressor: Compressor, gradient: str) -> None:
    x, y, total = np.ones((4, 8), np.float32), np.ones(4), np.empty(8)
    kernels.moment_sum(x, y, total)
    _kernel(gradient)(x, y, np.arange(4), y.repeat(2), 1.0, total)
    kernels.squared_distance(total, total)
    # A code may have one loop for vectors of which most are zero, and one for others.
    for vector in (np.arange(1.0, _WARM_UP_SIZE), np.arange(1.0, _WARM_UP_SIZE) // (_WARM_UP_SIZE - 1)):
        descent = Descent(np.zeros(vector.size), 1.0, vector)
        total, scratch = np.zeros(vector.size), np.empty(vector.size)
        kinds = [compressor, EXACT]
        if learner := compressor.learner([(0, vector.size)]):
            for iteration in range(2):
                learner.take(iteration, (1 + iteration) * vector)
                kinds.append(learner.compressor)
        for kind in kinds:
            payload = joined(kind.pieces(vector, 0))
            for received in (payload, memoryview(bytearray(payload))):
                kind.decode(received, vector.size, out=scratch)
                kind.sum([received], total, fresh=True, scratch=scratch)
                sum_and_step(kind, [received], total, descent, fresh=True, scratch=scratch)
                step_in_part(kind, received, (0, vector.size), total, descent, 0.0)


class _Buffers:
    """The memory of a gradient and its payloads."""

    def __init__(self, d: int, parts: int) -> None:
        self.gradient, self.whole = np.empty(d), ScratchBuffer()
        self.parts = [ScratchBuffer() for _ in range(parts)]


class Rank:
    """One rank of a run; it holds its rows and some vectors, and with error feedback what it has not sent yet.

    A step may be taken in another thread than the one before it, but one at a time.

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
        self._seed, self._share = plan.spec.seed, 1.0 / plan.spec.batch_size
        #: What its next step is encoded by.
        self.compressor = plan.compressor
        self._shard = rows.shard(rank, plan.spec.workers)
        self._guard = Guard(*self._shard)
        self._sampler: Sampler = SAMPLINGS[plan.spec.sampling](
            plan.spec.seed,
            rank,
            plan.batch(rank),
            self._shard,
            rows.model,
            rows.w_star,
        )
        self._add_up = _kernel(plan.spec.gradient)
        self._local_steps, self._own_step = plan.spec.local_steps, plan.step * plan.spec.batch_size / plan.batch(rank)
        #: Computes what is sent; returns the sum of squared residuals, and the energy of what is sent if that is known.
        self._compute = self._compute_local_steps if self._local_steps > 1 else self._compute_gradient
        #: The rank's own weights, the gradient there, and the step along it.
        self._local = np.empty((3, plan.d)) if self._local_steps > 1 else np.empty((3, 0))
        exchange = find_exchange(plan.spec.exchange)
        self._parts = [slice(start, stop) for start, stop in exchange.parts(plan.d, plan.spec.workers) or []]
        overlaps = bool(plan.spec.delay) and exchange.replicas
        #: What is on its way while the next step is computed stays where it is: even and odd iterations take turns.
        self._buffers = [_Buffers(plan.d, len(self._parts)) for _ in range(1 + overlaps)]
        #: The step of the next iteration, while the payloads of this one are on their way.
        self.ahead = Ahead[list[Contribution]]()
        #: What its encodings have left out, and those of the sum that it owns; None without error feedback.
        self.residual = Residual(plan.d, ahead=overlaps) if plan.spec.error_feedback else None
        self.sum_residual = None if exchange.has_master else sum_residual(plan, rank)
        warm_up(plan.compressor, plan.spec.gradient)

    def moments(self) -> bytes:
        """Return this rank's part of the moment estimate, (2/n) sum y_i x_i over its rows, as a payload.

        It is empty where the initial weights do not depend on it.
        """
        if not needs_moments(self._plan.spec.initial_weights):
            return b""
        total = self._buffers[0].gradient
        kernels.moment_sum(*self._shard, total)
        self._guard.check()
        return EXACT.encode(total * (2.0 / self._plan.n), 0)

    @property
    def residuals_known(self) -> list[int]:
        """The iterations before which its residuals are known."""
        known = [set(residual.iterations) for residual in (self.residual, self.sum_residual) if residual]
        return sorted(set[int].intersection(*known)) if known else []

    def pack_residuals(self, iteration: int) -> bytes:
        """Return its residuals before an iteration as a message."""
        parts = [residual.before(iteration) for residual in (self.residual, self.sum_residual) if residual]
        return b"".join(part.astype("<f8").tobytes() for part in parts)

    def restore_residuals(self, iteration: int, values: np.ndarray) -> None:
        """Take up its residuals before an iteration, in the order of `pack_residuals`."""
        assert self.residual
        self.residual.restore(iteration, values[: self._plan.d])
        if self.sum_residual:
            self.sum_residual.restore(iteration, values[self._plan.d :])

    def step(self, iteration: int, w: np.ndarray) -> Contribution:
        """Return this rank's part of the mini-batch gradient at `w`, divided by the whole batch, as a payload."""
        began, buffers = perf_counter(), self._buffers[iteration % len(self._buffers)]
        residuals, squares = self._compute(iteration, w, buffers.gradient)
        computed = perf_counter()
        key = dither_key(self.compressor, self._seed, self.rank, iteration)
        if self.residual:
            payload = self.residual.encode(self.compressor, buffers.gradient, key, iteration, buffers.whole)
        else:
            payload = self.compressor.pieces(buffers.gradient, key, buffers.whole, squares)
        return Contribution(payload, residuals, computed - began, perf_counter() - computed)

    def step_in_parts(self, iteration: int, w: np.ndarray) -> list[Contribution]:
        """Return the same gradient as a payload for each part of the exchange; that of an empty part has no bytes.

        Seconds are those of all parts together.
        """
        began, buffers = perf_counter(), self._buffers[iteration % len(self._buffers)]
        residuals, _ = self._compute(iteration, w, buffers.gradient)
        computed, payloads = perf_counter(), list[Pieces]()
        for owner, (part, scratch) in enumerate(zip(self._parts, buffers.parts, strict=True)):
            key = dither_key(self.compressor, self._seed, self.rank, iteration, f"dither of part {owner}")
            vector = buffers.gradient[part]
            if not vector.size:
                payloads.append(b"")
            elif self.residual:
                payloads.append(self.residual.encode(self.compressor, vector, key, iteration, scratch, part))
            else:
                payloads.append(self.compressor.pieces(vector, key, scratch))
        encoded = perf_counter()
        return [Contribution(payload, residuals, computed - began, encoded - computed) for payload in payloads]

    def _compute_local_steps(self, iteration: int, w: np.ndarray, out: np.ndarray) -> tuple[float, float]:
        """Compute the sum of the gradients on the way from `w`; return the sum of squared residuals at `w`, and NaN.

        Gradients are divided by the whole batch: the rank's own steps, which are along means over its part, are that
        much longer.
        """
        first = iteration * self._local_steps
        residuals, _ = self._compute_gradient(first, w, out)
        local, gradient, step = self._local
        np.copyto(local, w)
        np.copyto(gradient, out)
        for draw in range(first + 1, first + self._local_steps):
            local -= np.multiply(gradient, self._own_step, out=step)
            self._compute_gradient(draw, local, gradient)
            out += gradient
        return residuals, math.nan

    def _compute_gradient(self, draw: int, w: np.ndarray, out: np.ndarray) -> tuple[float, float]:
        """Compute the gradient of a draw; return the sum of squared residuals and the energy of the gradient."""
        residuals, energy = self._add_up(*self._sampler.draw(draw), w, self._share, out)
        self._guard.check()
        if not residuals < math.inf:
            remedy = "; take a shorter step, or fewer local steps" if self._local_steps > 1 else ""
            raise PayloadError(f"NaN or infinity in the weights, or near to it{remedy}")
        return residuals, energy
