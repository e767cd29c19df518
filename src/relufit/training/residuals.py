"""Error feedback: what an encoding has left out is added to what is encoded next.

Sources: F. Seide, H. Fu, J. Droppo, G. Li, D. Yu, *1-Bit Stochastic Gradient Descent and its Application to
Data-Parallel Distributed Training of Speech DNNs*, 2014; S. U. Stich, J.-B. Cordonnier, M. Jaggi, *Sparsified SGD with
Memory*, 2018, arXiv:1809.07599; S. P. Karimireddy, Q. Rebjock, S. U. Stich, M. Jaggi, *Error Feedback Fixes SignSGD and
other Gradient Compression Schemes*, 2019, arXiv:1901.09847; for sums that are encoded again H. Tang, C. Yu, X. Lian,
T. Zhang, J. Liu, *DoubleSqueeze*, 2019, arXiv:1905.05957.
"""

from __future__ import annotations

import numpy as np

from relufit.compression.base import Compressor, Pieces, ScratchBuffer, joined
from relufit.errors import TransportError
from relufit.exchange import find_exchange
from relufit.training.spec import Plan


class Residual:
    """What the encodings of one vector have left out so far: before an iteration, and before the one after it.

    Both are kept, because a run that goes on after a fault may begin with either; where vectors are encoded an
    iteration `ahead`, the one after that too. Going on with an earlier one makes the later ones again.

    Parameters
    ----------
    size : int
        The number of coordinates. At the beginning of a run the residual is zero.
    ahead : bool
        Whether the vector of the next iteration may be encoded before this one is over.
    """

    def __init__(self, size: int, *, ahead: bool = False) -> None:
        self._values = np.zeros((2 + ahead, size))
        #: The iterations that they are before; -1 for none.
        self._before = [0, *[-1] * (1 + ahead)]

    @property
    def size(self) -> int:
        """The number of coordinates."""
        return int(self._values.shape[1])

    @property
    def iterations(self) -> list[int]:
        """The iterations before which the residual is known, in ascending order."""
        return sorted({0, *(iteration for iteration in self._before if iteration >= 0)})

    def before(self, iteration: int) -> np.ndarray:
        """Return the residual before an iteration, which is one of `iterations`.

        Raises
        ------
        LookupError
            If it is not known.
        """
        if iteration not in self._before:
            if iteration:
                raise LookupError(f"the residual before iteration {iteration} is not known")
            self.restore(0, np.zeros(self._values.shape[1]))
        values: np.ndarray = self._values[self._before.index(iteration)]
        return values

    def restore(self, iteration: int, values: np.ndarray) -> None:
        """Take `values`, (d,) float64, as the residual before an iteration, and forget all others."""
        self._values[0] = values
        self._before = [iteration, *[-1] * (len(self._before) - 1)]

    def encode(
        self,
        compressor: Compressor,
        vector: np.ndarray,
        key: int,
        iteration: int,
        scratch: ScratchBuffer,
        part: slice = slice(None),
    ) -> Pieces:
        """Return the payload of a vector and its residual, and keep what the payload leaves out.

        Parameters
        ----------
        compressor, key, scratch
            As for `relufit.compression.Compressor.pieces`.
        vector : (size,) float64
            The residual is added to it. The payload is good until it changes.
        iteration : int
        part : slice
            The coordinates of the residual that belong to the vector. Of one iteration all parts are encoded before
            the next one begins.

        Raises
        ------
        LookupError
            If the residual before the iteration is not known.
        """
        old = self.before(iteration)
        other = self._after(iteration)
        self._before[other] = iteration + 1
        vector += old[part]
        payload = compressor.pieces(vector, key, scratch)
        left = compressor.decode(joined(payload), vector.size, out=self._values[other, part])
        np.subtract(vector, left, out=left)
        return payload

    def _after(self, iteration: int) -> int:
        """Return which of the residuals is that before the next iteration, or makes room for it: the earliest one."""
        if iteration + 1 in self._before:
            return self._before.index(iteration + 1)
        others = [index for index, before in enumerate(self._before) if before != iteration]
        return min(others, key=lambda index: self._before[index])


def sum_residual(plan: Plan, owner: int) -> Residual | None:
    """Return a residual for the sum that a rank, or 0 for a master, encodes; None where there is none."""
    parts = find_exchange(plan.spec.exchange).parts(plan.d, plan.spec.workers) or []
    if not plan.spec.error_feedback or owner >= len(parts):
        return None
    start, stop = parts[owner]
    return Residual(stop - start)


class Residuals:
    """All residuals of a run in one vector: those of the ranks, and after them those of the encoded sums.

    Parameters
    ----------
    plan : Plan
    """

    def __init__(self, plan: Plan) -> None:
        self._d, self._ranks = plan.d, plan.spec.workers
        self._parts = find_exchange(plan.spec.exchange).parts(plan.d, plan.spec.workers) or []
        #: The number of coordinates; 0 without error feedback.
        self.size = plan.d * (self._ranks + bool(self._parts)) if plan.spec.error_feedback else 0

    def of_rank(self, rank: int) -> slice:
        """Return where that of a rank is."""
        return slice(rank * self._d, (rank + 1) * self._d)

    def of_sum(self, owner: int) -> slice:
        """Return where that of the sum of a part is; empty where no such sum is encoded."""
        start, stop = self._parts[owner] if owner < len(self._parts) else (0, 0)
        return slice(self._ranks * self._d + start, self._ranks * self._d + stop)

    def of_member(self, rank: int, *, with_sum: bool) -> list[slice]:
        """Return the places of what a rank keeps: its own, and that of the sum that it encodes if it encodes one."""
        return [self.of_rank(rank), *([self.of_sum(rank)] if with_sum else [])]


def unpack_residuals(body: memoryview, size: int) -> np.ndarray:
    """Return the residuals of a message, (size,) float64.

    Raises
    ------
    TransportError
        If the message holds others.
    """
    if len(body) != 8 * size:
        raise TransportError("residuals of another size")
    values = np.frombuffer(body, "<f8").astype(np.float64)
    if not np.isfinite(values).all():
        raise TransportError("residuals that are not finite")
    return values
