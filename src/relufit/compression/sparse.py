"""What compressors share that send some coordinates only: how many, the format of their values, and sums.

Coordinates that are not sent are decoded to -0.0: adding that changes no number, the sign of zero included, so that
adding what was sent alone gives the same bits as adding the decoded vector.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from relufit.compression.base import HEADER_BYTES, Compressor, output_for
from relufit.compression.cast import Float16, Float32, header_of
from relufit.errors import ConfigError, shown
from relufit.numerics.compiled_cache import compiled
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
            what = f"{shown(self.fraction)} is no fraction of the coordinates that could be sent"
            raise ConfigError(what, where="fraction", remedy="give a number above 0 and at most 1")
        object.__setattr__(self, "fraction", float(fraction))

    def count(self, size: int) -> int:
        """Return k, from 1 to `size`."""
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


#: The bits of a magnitude, by the bytes of a number.
_MAGNITUDES = {2: np.uint16(2**15 - 1), 4: np.uint32(2**31 - 1)}


class Numbers(NamedTuple):
    """A format of the values that are sent: that of a cast, without the part of its header that is always the same.

    Parameters
    ----------
    cast : Float32 or Float16
    left_out : bytes
        What the cast's payload begins with and the code of values does not.
    bits : dtype
        The integers that have the bits of one number.
    tops : (int, int)
        The least and the most bits of the magnitude that is largest in a vector.
    """

    cast: Float32 | Float16
    left_out: bytes
    bits: np.dtype[Any]
    tops: tuple[int, int]

    def write(self, values: np.ndarray) -> bytes:
        """Return the code of values, (count,).

        Raises
        ------
        PayloadError
            If one of them is not finite, or beyond the range of the format.
        """
        return self.cast.encode(values, 0)[len(self.left_out) :]

    def read(self, body: memoryview, count: int, dtype: np.typing.DTypeLike) -> np.ndarray:
        """Return values, (count,) of a type.

        Raises
        ------
        PayloadError
            If `body` is not the code of `count` numbers within the range of the type.
        """
        start = HEADER_BYTES - len(self.left_out)
        exponent = int.from_bytes(body[:start], "little", signed=True)
        return self.cast.read(body[start:], exponent, np.empty(count, dtype))

    def magnitudes(self, body: bytes | memoryview) -> np.ndarray:
        """Return the bits of the magnitudes in a code, (count,): in the order of the magnitudes, 0 for zero."""
        magnitudes: np.ndarray = self._bits(body) & _MAGNITUDES[self.bits.itemsize]
        return magnitudes

    def extremes(self, body: bytes | memoryview) -> tuple[int, int]:
        """Return the least and the most of `magnitudes`."""
        return _extremes(self._bits(body), _MAGNITUDES[self.bits.itemsize])  # type: ignore[no-any-return]

    def _bits(self, body: bytes | memoryview) -> np.ndarray:
        return np.frombuffer(body, self.bits, offset=HEADER_BYTES - len(self.left_out))

    def length(self, count: int) -> int:
        """Return the bytes of the code of `count` values."""
        return HEADER_BYTES - len(self.left_out) + self.bits.itemsize * count


#: The power of two by which halves are multiplied is the parameter of their header, and is sent; it brings the largest
#: to between 2^14 and 2^15.
NUMBERS = {
    "fp32": Numbers(Float32(), header_of(Float32), np.dtype("<u4"), (1, 2**31 - 1)),
    "fp16": Numbers(Float16(), header_of(Float16)[: HEADER_BYTES - 2], np.dtype("<u2"), (0x7400, 0x7800)),
}


def check_values(name: object) -> None:
    """Raise ConfigError, with the known names, for an unknown format of values."""
    if not isinstance(name, str) or name not in NUMBERS:
        raise ConfigError(f"unknown values {shown(name)}", where="values", remedy=f"choose one of {', '.join(NUMBERS)}")


@compiled
def _extremes(bits: np.ndarray, mask: np.uint32) -> tuple[int, int]:
    least, most = np.int64(mask), np.int64(0)
    for number in bits:
        magnitude = np.int64(number & mask)
        least, most = min(least, magnitude), max(most, magnitude)
    return least, most  # type: ignore[return-value]
