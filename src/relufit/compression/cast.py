"""Floating-point formats as compressors: fp64, which is exact, fp32 and fp16, which round to nearest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numba import njit

from relufit.compression.base import NOT_FINITE, Compressor, Pieces, Place, check_vector, header, room_for, split
from relufit.compression.sums import EXPONENT, TOGETHER, sum_vectors
from relufit.errors import PayloadError
from relufit.kernels import Descent

_VERSION = 1
IN_PAYLOAD = "NaN or infinity in the payload"
_TOP_EXPONENT = 15


def _largest(vector: np.ndarray) -> float:
    """Return the largest magnitude, NaN if there is one, without an array of magnitudes."""
    return max(float(np.maximum.reduce(vector)), -float(np.minimum.reduce(vector)))


@njit(nogil=True, cache=True)
def _is_finite(vector: np.ndarray) -> bool:
    """Tell whether no element of a float64 vector is NaN or infinite."""
    largest = np.uint64(0)
    for bits in vector.view(np.uint64):
        largest = max(largest, bits & EXPONENT)
    return largest != EXPONENT  # type: ignore[no-any-return]


@dataclass(frozen=True)
class _Float(Compressor):
    """A cast: header, then the numbers in little-endian order."""

    kind: ClassVar[int]
    dtype: ClassVar[np.dtype[Any]]
    #: From this magnitude on a number would be rounded to infinity.
    beyond: ClassVar[float] = math.inf

    def encode(self, vector: np.ndarray, key: int) -> bytes:
        """Return the payload; nothing is drawn from `key`."""
        return bytes(self._write(vector, Place()))

    def pieces(self, vector: np.ndarray, key: int, place: Place | None = None, squares: float = math.nan) -> Pieces:
        """Return the payload, made in `place` if that is given."""
        return self._write(vector, place or Place())

    def _write(self, vector: np.ndarray, place: Place) -> memoryview:
        vector = check_vector(vector)
        largest = _largest(vector)
        if not math.isfinite(largest):
            raise PayloadError(NOT_FINITE)
        if largest >= self.beyond:
            raise PayloadError(f"numbers beyond the range of {self.dtype.str}")
        exponent = self._exponent(largest)
        start = header(self.kind, _VERSION, exponent & 0xFFFF)
        length = vector.size * self.dtype.itemsize
        body = place.begin(start, length).view(self.dtype)
        if exponent:
            np.ldexp(vector, -exponent, out=body, casting="same_kind")
        else:
            np.copyto(body, vector, casting="same_kind")
        return place.finish(length)

    def decode(self, payload: bytes | memoryview, size: int, out: np.ndarray | None = None) -> np.ndarray:
        """Return the vector, (size,) float64 or `out`."""
        parameter, body = self._split(payload, size)
        exponent = parameter - 2**16 if parameter >= 2**15 else parameter
        if exponent:
            self._check_exponent(exponent)
        vector = room_for(size, out)
        with np.errstate(over="ignore", invalid="ignore"):
            np.copyto(vector, body, casting="same_kind")
            if exponent:
                np.ldexp(vector, exponent, out=vector)
        if not math.isfinite(_largest(vector)):
            raise PayloadError(IN_PAYLOAD)
        return vector

    def variance(self, size: int) -> float:
        """Return 0: nothing is drawn."""
        return 0.0

    def variance_bound(self, size: int) -> float:
        """Return 0: nothing is drawn."""
        return 0.0

    def _split(self, payload: Pieces, size: int) -> tuple[int, np.ndarray]:
        """Return the parameter and the numbers as they are in the payload."""
        kind, parameter, body = split(payload, _VERSION)
        if kind != self.kind:
            raise PayloadError(f"a payload of kind {kind}, not {self.kind}")
        if len(body) != size * self.dtype.itemsize:
            raise PayloadError(f"a body of {len(body)} bytes is no vector of {size} numbers in {self.dtype.str}")
        return parameter, np.frombuffer(body, self.dtype)

    def _exponent(self, largest: float) -> int:
        return 0

    def _check_exponent(self, exponent: int) -> None:
        raise PayloadError(f"a scale of 2^{exponent}, which {self.dtype.str} does not have")


@dataclass(frozen=True)
class Float64(_Float):
    """The vector as it is, 8 bytes a coordinate.

    As its bytes are those of the vector, it goes over a connection, and into a sum, without a copy.
    """

    kind: ClassVar[int] = 1
    dtype: ClassVar[np.dtype[Any]] = np.dtype("<f8")

    def pieces(self, vector: np.ndarray, key: int, place: Place | None = None, squares: float = math.nan) -> Pieces:
        """Return the payload, in two pieces where the second can be the vector itself."""
        vector = check_vector(vector)
        if vector.dtype != self.dtype:
            return super().pieces(vector, key, place)
        if not (math.isfinite(squares) or _is_finite(vector)):
            raise PayloadError(NOT_FINITE)
        return self.trusted(vector)

    @staticmethod
    def trusted(vector: np.ndarray) -> Pieces:
        """Return the payload of a vector of which it is known already that all numbers are finite."""
        return _EXACT_HEADER, vector.data.cast("B")

    def add(self, payload: bytes | memoryview, total: np.ndarray, room: np.ndarray) -> None:
        """Add the vector of a payload to `total`; `room` is not needed."""
        self.sum([payload], total, fresh=False, room=room)

    def together(self, size: int) -> int:
        """Return how many payloads are read side by side."""
        return TOGETHER

    def sum(
        self,
        payloads: Sequence[Pieces],
        total: np.ndarray,
        *,
        fresh: bool,
        room: np.ndarray,
        descent: Descent | None = None,
    ) -> float:
        """Add the vectors of payloads to `total`, or to zero if `fresh`, from where they are; `room` is not needed."""
        if not payloads:
            return super().sum(payloads, total, fresh=fresh, room=room, descent=descent)
        vectors = [self._vector(payload, total.size) for payload in payloads]
        for vector in vectors:  # compiled loops are compiled once for arrays of one kind
            vector.flags.writeable = False
        squares = sum_vectors(vectors, total, fresh, descent)
        if squares is None:
            raise PayloadError(IN_PAYLOAD)
        return squares

    def view(self, payload: bytes | memoryview, size: int) -> np.ndarray:
        """Return the vector, (size,) float64, which is good as long as the payload. It may hold NaN or infinity."""
        return self._vector(payload, size)

    def _vector(self, payload: Pieces, size: int) -> np.ndarray:
        exponent, vector = self._split(payload, size)
        if exponent:
            self._check_exponent(exponent)
        # Compiled loops take numbers at their natural places.
        return vector if vector.flags.aligned else vector.copy()


_EXACT_HEADER = header(Float64.kind, _VERSION)


@dataclass(frozen=True)
class Float32(_Float):
    """Rounded to single precision, 4 bytes a coordinate, relative error at most 2^-24."""

    kind: ClassVar[int] = 2
    dtype: ClassVar[np.dtype[Any]] = np.dtype("<f4")
    beyond: ClassVar[float] = (2 - 2**-24) * 2.0**127


@dataclass(frozen=True)
class Float16(_Float):
    """Rounded to half precision after scaling by a power of two, 2 bytes a coordinate.

    The scale brings the largest magnitude to the top of the format's range, so that gradients of any size can
    be sent; relative error at most 2^-11 for coordinates within 2^-28 of the largest.
    """

    kind: ClassVar[int] = 3
    dtype: ClassVar[np.dtype[Any]] = np.dtype("<f2")
    beyond: ClassVar[float] = (2 - 2**-11) * 2.0**1023

    def _exponent(self, largest: float) -> int:
        return math.frexp(largest)[1] - _TOP_EXPONENT if largest else 0

    def _check_exponent(self, exponent: int) -> None:
        if not -1074 - _TOP_EXPONENT <= exponent <= 1024 - _TOP_EXPONENT:
            raise PayloadError(f"a scale of 2^{exponent} is beyond double precision")
