"""The sum of a part of the gradients, in the order of the ranks, and its encoding."""

from __future__ import annotations

import numpy as np

from relufit.compression.base import Pieces, ScratchBuffer
from relufit.exchange import find_exchange
from relufit.training.dither import dither_key
from relufit.training.residuals import Residual
from relufit.training.spec import Plan


class Reduction:
    """The sum of one part of the coordinates, at its owner.

    Parameters
    ----------
    plan : Plan
    owner : int
        Which of the exchange's parts.
    residual : Residual, optional
        What encodings of the sum have left out, with error feedback.
    """

    def __init__(self, plan: Plan, owner: int, residual: Residual | None = None) -> None:
        parts = find_exchange(plan.spec.exchange).parts(plan.d, plan.spec.workers)
        assert parts
        start, stop = parts[owner]
        self._seed, self._owner, self._residual = plan.spec.seed, owner, residual
        #: What payloads of the next sum are read and the sum is encoded by.
        self.compressor = plan.compressor
        size = stop - start
        self._sum, self._decoded, self._scratch = np.zeros(size), np.empty(size), ScratchBuffer()
        #: Payloads that are not in the sum yet, how many there can be, and how many ranks are still to come.
        self._held, self._max_held = list[Pieces](), plan.compressor.max_fused_payloads(size) if size else 1
        self._ranks, self._missing, self._fresh = plan.spec.workers, plan.spec.workers, True

    def start(self) -> None:
        """Begin a new sum."""
        self._held, self._missing, self._fresh = [], self._ranks, True

    def add(self, payload: Pieces) -> None:
        """Add a rank's payload of the part; call in the order of the ranks.

        It must not change before the last rank's has been added: where that takes less time, some are decoded together.

        Raises
        ------
        PayloadError
            If it, or one that was held back, is damaged.
        """
        self._missing -= 1
        if not self._sum.size:
            return
        self._held.append(payload)
        if len(self._held) == self._max_held or not self._missing:
            self.compressor.sum(self._held, self._sum, fresh=self._fresh, scratch=self._decoded)
            self._held, self._fresh = [], False

    def encode(self, iteration: int) -> Pieces:
        """Return the payload of the sum, good until the next sum begins; without a byte where the part is empty."""
        if not self._sum.size:
            return b""
        key = dither_key(self.compressor, self._seed, self._owner, iteration, "dither of the sum")
        if self._residual:
            return self._residual.encode(self.compressor, self._sum, key, iteration, self._scratch)
        return self.compressor.pieces(self._sum, key, self._scratch)
