"""QSGD that is scaled to be a contraction, as error feedback needs it.

Source: S. U. Stich, J.-B. Cordonnier, M. Jaggi, *Sparsified SGD with Memory*, 2018, arXiv:1809.07599; A. Koloskova,
S. U. Stich, M. Jaggi, *Decentralized Stochastic Optimization and Gossip Algorithms with Compressed Communication*,
2019, arXiv:1902.00340, section 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from relufit.compression.base import ScratchBuffer, check_vector
from relufit.compression.qsgd import QSGD


@dataclass(frozen=True)
class ScaledQSGD(QSGD):
    """C(v) = Q(v) / (1 + omega), with Q and omega of `QSGD`: biased, for use with error feedback.

    The mean square error is the least of all multiples of Q: ``E<C(v), v> = E||C(v)||^2 = delta ||v||^2`` with
    ``delta = 1 / (1 + omega)``. With error feedback `QSGD` itself keeps more of each residual than it sends where omega
    is above 1, and diverges. Parameters and payloads are those of `QSGD`; the vector is scaled before it is encoded.
    """

    name: ClassVar[str] = "scaled_qsgd"

    def pieces(
        self, vector: np.ndarray, key: int, scratch: ScratchBuffer | None = None, squares: float = math.nan
    ) -> bytes | memoryview:
        """Return the payload, made in `scratch` if that is given."""
        vector = check_vector(vector)
        scaled = np.multiply(vector, self.contraction(vector.size), dtype=np.float64)
        return super().pieces(scaled, key, scratch)

    @classmethod
    def family(cls, resolutions: Sequence[float]) -> Iterator[tuple[float, Callable[[int], Self]]]:
        """Yield nothing: plans have no use for what is biased, and its seconds are those of `QSGD`."""
        yield from ()

    def variance(self, size: int) -> None:  # type: ignore[override]
        """Return None: the mean of what is decoded is shorter than the vector."""

    def variance_bound(self, size: int) -> None:  # type: ignore[override]
        """Return None: published bounds are on the error of `QSGD`."""

    def contraction(self, size: int) -> float:
        """Return ``1 / (1 + omega)``."""
        return 1 / (1 + super().variance(size))
