"""Floating-point formats as compressors: fp64, which is exact, fp32 and fp16, which round to nearest."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from relufit.compression.base import NOT_FINITE, finite_vector, header, split
from relufit.errors import PayloadError

_VERSION = 1
_TOP_EXPONENT = 15
_ROUNDS_TO_INFINITY = (2 - 2**-11) * 2.0**1023


@dataclass(frozen=True)
class _Float:
    """A cast: header, then the numbers in little-endian order."""

    kind: ClassVar[int]
    dtype: ClassVar[str]

    def encode(self, vector: np.ndarray, key: int) -> bytes:
        """Return the payload; nothing is drawn from `key`."""
        vector = finite_vector(vector)
        exponent = self._exponent(vector)
        with np.errstate(over="ignore"):
            body = (np.ldexp(vector, -exponent) if exponent else vector).astype(self.dtype)
        if not np.isfinite(body).all():
            raise PayloadError(
                NOT_FINITE if not np.isfinite(vector).all() else f"numbers beyond the range of {self.dtype}"
            )
        return header(self.kind, _VERSION, exponent & 0xFFFF) + body.tobytes()

    def decode(self, payload: bytes | memoryview, size: int) -> np.ndarray:
        """Return the vector, (size,) float64."""
        parameter, body = split(payload, self.kind, _VERSION)
        if len(body) != size * np.dtype(self.dtype).itemsize:
            raise PayloadError(f"a body of {len(body)} bytes is no vector of {size} numbers in {self.dtype}")
        exponent = parameter - 2**16 if parameter >= 2**15 else parameter
        if exponent:
            self._check_exponent(exponent)
        with np.errstate(over="ignore", invalid="ignore"):
            vector = np.frombuffer(body, self.dtype).astype(np.float64)
            if exponent:
                vector = np.ldexp(vector, exponent)
        if not np.isfinite(vector).all():
            raise PayloadError("NaN or infinity in the payload")
        return vector

    def variance(self, size: int) -> float:
        """Return 0: nothing is drawn."""
        return 0.0

    def _exponent(self, vector: np.ndarray) -> int:
        return 0

    def _check_exponent(self, exponent: int) -> None:
        raise PayloadError(f"a scale of 2^{exponent}, which {self.dtype} does not have")


@dataclass(frozen=True)
class Float64(_Float):
    """The vector as it is, 8 bytes a coordinate."""

    kind: ClassVar[int] = 1
    dtype: ClassVar[str] = "<f8"


@dataclass(frozen=True)
class Float32(_Float):
    """Rounded to single precision, 4 bytes a coordinate, relative error at most 2^-24."""

    kind: ClassVar[int] = 2
    dtype: ClassVar[str] = "<f4"


@dataclass(frozen=True)
class Float16(_Float):
    """Rounded to half precision after scaling by a power of two, 2 bytes a coordinate.

    The scale brings the largest magnitude to the top of the format's range, so that gradients of any size can
    be sent; relative error at most 2^-11 for coordinates within 2^-28 of the largest.
    """

    kind: ClassVar[int] = 3
    dtype: ClassVar[str] = "<f2"

    def _exponent(self, vector: np.ndarray) -> int:
        largest = float(np.max(np.abs(vector)))
        if _ROUNDS_TO_INFINITY <= largest < math.inf:
            raise PayloadError(f"numbers beyond the range of {self.dtype} at any scale")
        return math.frexp(largest)[1] - _TOP_EXPONENT if math.isfinite(largest) and largest else 0

    def _check_exponent(self, exponent: int) -> None:
        if not -1074 - _TOP_EXPONENT <= exponent <= 1024 - _TOP_EXPONENT:
            raise PayloadError(f"a scale of 2^{exponent} is beyond double precision")
