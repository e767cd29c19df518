"""What compressors share that send some coordinates only: how many, their numbers, and sums that cost no more.

Coordinates that are not sent are decoded to -0.0: adding that changes no number, the sign of zero included, so that
adding what was sent alone gives the same bits as adding the decoded vector.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from relufit.compression.base import HEADER_BYTES, Compressor, output_for
from relufit.compression.cast import Float16, Float32
from relufit.errors import ConfigError
from relufit.parameters import real

_NOT_SENT = -0.0


class Sent(NamedTuple):
    """The coordinates of a payload: positions, (n,) int64, and what they are decoded to, (n,)."""

    positions: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class Sparse(Compressor):
    """A compressor that sends k = max(1, round(fraction d)) of d coordinates."""

    fraction: float = 0.01

    def __post_init__(self) -> None:
        """Refuse an impossible fraction."""
        fraction = real(self.fraction)
        if fraction is None or not 0 < fraction <= 1:
            what, remedy = f"{self.fraction!r} of the coordinates", "give a number above 0, at most 1"
            raise ConfigError(what, where="fraction", remedy=remedy)
        object.__setattr__(self, "fraction", float(fraction))

    def count(self, size: int) -> int:
        """Return k."""
        return max(1, round(self.fraction * size))

    @abstractmethod
    def _read(self, payload: bytes | memoryview, size: int, dtype: np.typing.DTypeLike) -> Sent | None:
        """Return the coordinates of a payload, for a vector of a type; None if that is zero."""

    def decode(self, payload: bytes | memoryview, size: int, out: np.ndarray | None = None) -> np.ndarray:
        """Return the vector, (size,) float64 or `out`; coordinates that were not sent are -0.0."""
        vector = output_for(size, out)
        sent = self._read(payload, size, vector.dtype)
        vector[:] = _NOT_SENT
        if sent:
            vector[sent.positions] = sent.values
        return vector

    def add(self, payload: bytes | memoryview, total: np.ndarray, scratch: np.ndarray) -> None:
        """Add the coordinates that were sent to `total`; `scratch` is not needed."""
        if sent := self._read(payload, total.size, total.dtype):
            total[sent.positions] += sent.values

    def variance(self, size: int) -> float | None:
        """Return None: the compressor is biased."""
        return None

    def variance_bound(self, size: int) -> float | None:
        """Return None: the compressor is biased."""
        return None


class Numbers(NamedTuple):
    """A format of the numbers that are sent: those of a cast, with what its header says of them.

    Parameters
    ----------
    cast : Float32 or Float16
    start : int
        Bytes of the cast's payload that are left out.
    """

    cast: Float32 | Float16
    start: int

    def write(self, values: np.ndarray) -> bytes:
        """Return the code of numbers.

        Raises
        ------
        PayloadError
            If one of them is not finite, or beyond the range of the format.
        """
        return self.cast.encode(values, 0)[self.start :]

    def read(self, body: memoryview, count: int, dtype: np.typing.DTypeLike) -> np.ndarray:
        """Return numbers, (count,) of a type.

        Raises
        ------
        PayloadError
            If `body` is not the code of `count` numbers within the range of the type.
        """
        left_out = self.cast.encode(np.zeros(1), 0)[: self.start]
        return self.cast.decode(left_out + body, count, out=np.empty(count, dtype))

    def length(self, count: int) -> int:
        """Return the bytes of the code of `count` numbers."""
        return HEADER_BYTES - self.start + self.cast.dtype.itemsize * count


#: The power of two by which halves are multiplied is the parameter of their header, which is sent with them.
NUMBERS = {"fp32": Numbers(Float32(), HEADER_BYTES), "fp16": Numbers(Float16(), HEADER_BYTES - 2)}


def check_values(name: object) -> None:
    """Raise ConfigError, with the known names, for an unknown format of values."""
    if not isinstance(name, str) or name not in NUMBERS:
        raise ConfigError(f"unknown values {name!r}", where="values", remedy=f"choose one of {', '.join(NUMBERS)}")
