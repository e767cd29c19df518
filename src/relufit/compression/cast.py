"""Floating-point formats as compressors: fp64, which is exact, fp32 and fp16, which round to nearest."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from relufit.compression.base import (
    HEADER_BYTES,
    NOT_FINITE,
    Compressor,
    Pieces,
    ScratchBuffer,
    check_vector,
    header,
    output_for,
    split,
)
from relufit.compression.cast_loops import (
    INFINITE_DOUBLE,
    INFINITE_SINGLE,
    NarrowTerm,
    halves_limit,
    halves_scales,
    largest_magnitude,
    read,
    write_halves,
    write_singles,
)
from relufit.compression.sums import MAX_FUSED, Terms, VectorTerm
from relufit.errors import PayloadError

_VERSION = 1
IN_PAYLOAD = "NaN or infinity in the payload"
_TOP_EXPONENT = 15


@dataclass(frozen=True)
class _Float(Compressor):
    """A cast: header, then the numbers in little-endian order."""

    kind: ClassVar[int]
    dtype: ClassVar[np.dtype[Any]]
    #: From this magnitude on a number would be rounded to infinity.
    beyond: ClassVar[float] = math.inf
    random: ClassVar[bool] = False

    def encode(self, vector: np.ndarray, key: int) -> bytes:
        """Return the payload; nothing is drawn from `key`."""
        return bytes(self._write(vector, ScratchBuffer()))

    def pieces(
        self, vector: np.ndarray, key: int, scratch: ScratchBuffer | None = None, squares: float = math.nan
    ) -> Pieces:
        """Return the payload, made in `scratch` if that is given."""
        return self._write(vector, scratch or ScratchBuffer())

    def decode(self, payload: bytes | memoryview, size: int, out: np.ndarray | None = None) -> np.ndarray:
        """Return the vector, (size,) float64 or `out`."""
        body, exponent = self._split(payload, size)
        return self._fill(output_for(size, out), body, exponent)

    def read(self, body: memoryview, exponent: int, out: np.ndarray) -> np.ndarray:
        """Fill `out`, (d,) float64 or float32, with the numbers of a payload without its header, times 2^exponent.

        Raises
        ------
        PayloadError
            If they are not d numbers, or one is not finite.
        """
        self._check(body, exponent, out.size)
        return self._fill(out, body, exponent)

    def add(self, payload: bytes | memoryview, total: np.ndarray, scratch: np.ndarray) -> None:
        """Add the vector of a payload to `total`; `scratch` is not needed."""
        self.sum([payload], total, fresh=False, scratch=scratch)

    def max_fused_payloads(self, size: int) -> int:
        """Return how many vectors are read side by side."""
        return MAX_FUSED

    def terms(self, payloads: Sequence[Pieces], size: int) -> Terms | None:
        """Return the numbers of payloads, read from where they are."""
        if not payloads:
            return None
        return Terms.of([self._term(payload, size) for payload in payloads], IN_PAYLOAD)

    def variance(self, size: int) -> float:
        """Return 0: nothing is drawn."""
        return 0.0

    def variance_bound(self, size: int) -> float:
        """Return 0: nothing is drawn."""
        return 0.0

    def expected_bits(self, size: int) -> float:
        """Return the bits of every payload."""
        return 8.0 * (HEADER_BYTES + self.dtype.itemsize * size)

    @abstractmethod
    def _write(self, vector: np.ndarray, scratch: ScratchBuffer) -> memoryview:
        """Return the payload of any array, made in `scratch`."""

    def _checked(self, largest: float) -> float:
        """Return the largest magnitude of a vector if its numbers can be sent."""
        if not math.isfinite(largest):
            raise PayloadError(NOT_FINITE)
        if largest >= self.beyond:
            raise PayloadError(f"numbers beyond the range of {self.dtype.str}")
        return largest

    def _begin(self, vector: np.ndarray, scratch: ScratchBuffer, exponent: int = 0) -> np.ndarray:
        """Begin the payload of a vector, and return the bytes of its numbers, which hold anything."""
        length = vector.size * self.dtype.itemsize
        return scratch.begin(header(self.kind, _VERSION, exponent & 0xFFFF), length, zeros=False)

    def _split(self, payload: Pieces, size: int) -> tuple[memoryview, int]:
        """Return the bytes of the numbers in a payload, and their exponent."""
        kind, parameter, body = split(payload, _VERSION)
        if kind != self.kind:
            raise PayloadError(f"a payload of kind {kind}, not {self.kind}")
        exponent = parameter - 2**16 if parameter >= 2**15 else parameter
        self._check(body, exponent, size)
        return body, exponent

    def _check(self, body: memoryview, exponent: int, size: int) -> None:
        if len(body) != size * self.dtype.itemsize:
            raise PayloadError(f"a body of {len(body)} bytes is no vector of {size} numbers in {self.dtype.str}")
        if exponent:
            self._check_exponent(exponent)

    def _fill(self, vector: np.ndarray, body: memoryview, exponent: int) -> np.ndarray:
        limit, numbers = self._limit(exponent, vector.dtype), np.frombuffer(body, np.uint8)
        if read(8 * self.dtype.itemsize, numbers, *self._scales(exponent), vector) >= limit:
            raise PayloadError(IN_PAYLOAD)
        return vector

    def _term(self, payload: Pieces, size: int) -> VectorTerm | NarrowTerm:
        body, exponent = self._split(payload, size)
        limit = self._limit(exponent, np.dtype(np.float64))
        return NarrowTerm(np.frombuffer(body, np.uint8), 8 * self.dtype.itemsize, *self._scales(exponent), limit)

    @abstractmethod
    def _limit(self, exponent: int, dtype: np.dtype[Any]) -> int:
        """Return the bits, as an integer, from which on a magnitude is not finite where it is decoded to a type."""

    def _scales(self, exponent: int) -> tuple[float, float]:
        return 1.0, 1.0

    def _check_exponent(self, exponent: int) -> None:
        raise PayloadError(f"a scale of 2^{exponent}, which {self.dtype.str} does not have")


@dataclass(frozen=True)
class Float64(_Float):
    """The vector as it is, 8 bytes a coordinate.

    As its bytes are those of the vector, it goes over a connection, and into a sum, without a copy.
    """

    name: ClassVar[str] = "fp64"
    exact: ClassVar[bool] = True
    kind: ClassVar[int] = 1
    dtype: ClassVar[np.dtype[Any]] = np.dtype("<f8")

    def pieces(
        self, vector: np.ndarray, key: int, scratch: ScratchBuffer | None = None, squares: float = math.nan
    ) -> Pieces:
        """Return the payload, in two pieces where the second can be the vector itself."""
        vector = check_vector(vector)
        if vector.dtype != self.dtype:
            return super().pieces(vector, key, scratch)
        if not math.isfinite(squares):
            self._checked(largest_magnitude(vector))
        return self.trusted(vector)

    @staticmethod
    def trusted(vector: np.ndarray) -> Pieces:
        """Return the payload of a vector of which it is known already that all numbers are finite."""
        return _EXACT_HEADER, vector.data.cast("B")

    def view(self, payload: bytes | memoryview, size: int) -> np.ndarray:
        """Return the vector, (size,) float64, which is good as long as the payload. It may hold NaN or infinity."""
        return self._vector(payload, size)

    def _write(self, vector: np.ndarray, scratch: ScratchBuffer) -> memoryview:
        vector = check_vector(vector)
        self._checked(largest_magnitude(vector))
        body = self._begin(vector, scratch)
        np.copyto(body.view(self.dtype), vector)
        return scratch.finish(body.size)

    def _vector(self, payload: Pieces, size: int) -> np.ndarray:
        vector = np.frombuffer(self._split(payload, size)[0], self.dtype)
        if not vector.flags.aligned:  # compiled loops take numbers at their natural places, and arrays of one kind
            vector = vector.copy()
            vector.flags.writeable = False
        return vector

    def _term(self, payload: Pieces, size: int) -> VectorTerm:
        return VectorTerm(self._vector(payload, size))

    def _limit(self, exponent: int, dtype: np.dtype[Any]) -> int:
        return INFINITE_DOUBLE if dtype == np.float64 else _BEYOND_SINGLE


_EXACT_HEADER = header(Float64.kind, _VERSION)


@dataclass(frozen=True)
class Float32(_Float):
    """Rounded to single precision, 4 bytes a coordinate, relative error at most 2^-24."""

    name: ClassVar[str] = "fp32"
    kind: ClassVar[int] = 2
    dtype: ClassVar[np.dtype[Any]] = np.dtype("<f4")
    beyond: ClassVar[float] = (2 - 2**-24) * 2.0**127

    def _write(self, vector: np.ndarray, scratch: ScratchBuffer) -> memoryview:
        vector = check_vector(vector)
        body = self._begin(vector, scratch)
        # What rounding has made infinite tells what cannot be sent, without a pass before it.
        if not write_singles(vector, body):
            self._checked(largest_magnitude(vector))
        return scratch.finish(body.size)

    def _limit(self, exponent: int, dtype: np.dtype[Any]) -> int:
        return INFINITE_SINGLE


#: The bits of the least double that rounds to infinity in single precision.
_BEYOND_SINGLE = int(np.float64(Float32.beyond).view(np.int64))


@dataclass(frozen=True)
class Float16(_Float):
    """Rounded to half precision after scaling by a power of two, 2 bytes a coordinate.

    The scale brings the largest magnitude to the top of the format's range, so that gradients of any size can
    be sent; relative error at most 2^-11 for coordinates within 2^-28 of the largest.
    """

    name: ClassVar[str] = "fp16"
    kind: ClassVar[int] = 3
    dtype: ClassVar[np.dtype[Any]] = np.dtype("<f2")
    beyond: ClassVar[float] = (2 - 2**-11) * 2.0**1023

    def _write(self, vector: np.ndarray, scratch: ScratchBuffer) -> memoryview:
        vector = check_vector(vector)
        largest = self._checked(largest_magnitude(vector))
        exponent = math.frexp(largest)[1] - _TOP_EXPONENT if largest else 0
        body = self._begin(vector, scratch, exponent)
        # Of tiny numbers the power itself is beyond double precision, and half of it is not.
        low = -exponent // 2
        write_halves(vector, 2.0**low, 2.0 ** (-exponent - low), body)
        return scratch.finish(body.size)

    def _limit(self, exponent: int, dtype: np.dtype[Any]) -> int:
        return halves_limit(exponent, 1024 if dtype == np.float64 else 128)

    def _scales(self, exponent: int) -> tuple[float, float]:
        return halves_scales(exponent)

    def _check_exponent(self, exponent: int) -> None:
        if not -1074 - _TOP_EXPONENT <= exponent <= 1024 - _TOP_EXPONENT:
            raise PayloadError(f"a scale of 2^{exponent} is beyond double precision")


def header_of(cast: type[Float32 | Float16]) -> bytes:
    """Return the header of the payloads of a cast, with the exponent 0 where there is one."""
    return header(cast.kind, _VERSION)
