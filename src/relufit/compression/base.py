"""What every compressor is, and the header that every payload starts with."""

from __future__ import annotations

import math
import struct
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from relufit.errors import PayloadError
from relufit.kernels import Descent, descend_towards

_HEADER = struct.Struct("<BBH")
HEADER_BYTES = _HEADER.size
_FLOATS = (np.dtype(np.float64), np.dtype(np.float32))


#: A payload, or its header and its body, bytes both: what goes over a connection need not be in one place first.
Pieces = bytes | memoryview | tuple[bytes | memoryview, bytes | memoryview]


class Compressor(ABC):
    """A map from vectors to bytes and back."""

    @abstractmethod
    def encode(self, vector: np.ndarray, key: int) -> bytes:
        """Return the payload of `vector`.

        Parameters
        ----------
        vector : (d,) float64 or float32
            Finite numbers.
        key : int
            Key of the random stream that rounding draws from, see `relufit.streams.key`.

        Raises
        ------
        PayloadError
            If the vector holds NaN or infinity.
        """

    @abstractmethod
    def decode(self, payload: bytes | memoryview, size: int, out: np.ndarray | None = None) -> np.ndarray:
        """Return the vector, (size,) float64, of a payload.

        Parameters
        ----------
        payload : bytes
            Anything: whatever is no payload is refused.
        size : int
            The number of coordinates d.
        out : (size,) float64 or float32, optional
            A contiguous array that is filled and returned in place of a new one; after an error it may hold anything.

        Raises
        ------
        PayloadError
            If the payload is not one that this compressor makes of a vector of that size.
        """

    def pieces(self, vector: np.ndarray, key: int, place: Place | None = None, squares: float = math.nan) -> Pieces:
        """Return what `encode` returns, perhaps in pieces.

        Parameters
        ----------
        vector, key
            As for `encode`.
        place : Place, optional
            Where it may be made. It is good until `vector` changes or `place` is used again.
        squares : float
            `relufit.kernels.energy` of `vector`, if that is known; finite only where all numbers are.
        """
        return self.encode(vector, key)

    def add(self, payload: bytes | memoryview, total: np.ndarray, room: np.ndarray) -> None:
        """Add what `decode` returns to `total`, (d,) float64, with the help of `room`, another such array.

        After an error `total` may hold anything.
        """
        total += self.decode(payload, total.size, out=room)

    def together(self, size: int) -> int:
        """Return how many payloads of vectors of that size are better added together than one by one."""
        return 1

    def sum(
        self,
        payloads: Sequence[Pieces],
        total: np.ndarray,
        *,
        fresh: bool,
        room: np.ndarray,
        descent: Descent | None = None,
    ) -> float:
        """Add what payloads decode to to `total`, or to zero if `fresh`, in their order.

        Parameters
        ----------
        payloads : sequence of bytes
            At most as many as `together` says.
        total, room : (d,) float64
            After an error they may hold anything.
        fresh : bool
            Whether `total` counts as zero.
        descent : Descent, optional
            If given a step is taken along the sum: `total` is set to ``w - step * sum``.

        Returns
        -------
        float
            With a descent, the squared distance of `total` from its target.

        Raises
        ------
        PayloadError
            As `decode`.
        """
        if fresh:
            total[:] = 0.0
        for payload in payloads:
            self.add(joined(payload), total, room)
        return descend_towards(descent.w, total, descent.step, descent.target, total) if descent else 0.0

    @abstractmethod
    def variance(self, size: int) -> float | None:
        """Return omega, where ``E ||decode(encode(v)) - v||^2 = omega ||v||^2``, or None where there is none.

        The mean is over the compressor's own draws and over a uniformly distributed direction of v in `size`
        dimensions. Rounding to nearest, as casting does, draws nothing: its omega is 0.
        """

    @abstractmethod
    def variance_bound(self, size: int) -> float | None:
        """Return the published bound on omega, which holds for every vector, or None where there is none."""


def length_of(payload: Pieces) -> int:
    """Return the bytes of a payload."""
    return sum(map(len, payload)) if isinstance(payload, tuple) else len(payload)


def joined(payload: Pieces) -> bytes | memoryview:
    """Return a payload in one piece."""
    return b"".join(payload) if isinstance(payload, tuple) else payload


class Place:
    """Memory in which one payload is made after the other: new memory costs more than what is written there."""

    def __init__(self) -> None:
        self._memory, self._start = np.empty(0, np.uint8), 0

    def begin(self, start: bytes, room: int) -> np.ndarray:
        """Begin a payload, over the one before, and return what follows its `start`: (room,) uint8, zeros at first."""
        self._start, size = len(start), len(start) + room
        if self._memory.size < size:
            self._memory = np.empty(size, np.uint8)
        self._memory[: self._start] = np.frombuffer(start, np.uint8)
        body = self._memory[self._start : size]
        body[:] = 0
        return body

    def finish(self, length: int) -> memoryview:
        """Return the payload, which has that many bytes after its start."""
        return self._memory[: self._start + length].data


def header(kind: int, version: int, parameter: int = 0) -> bytes:
    """Return the 4 bytes that a payload starts with: its kind, its version, and a 16-bit parameter."""
    return _HEADER.pack(kind, version, parameter)


def split(payload: Pieces, version: int) -> tuple[int, int, memoryview]:
    """Return the kind, the parameter and the body of a payload, or of its header and its body, after a check.

    Raises
    ------
    PayloadError
        If it is shorter than a header, or of another version.
    """
    if isinstance(payload, tuple):
        start, body = memoryview(payload[0]), memoryview(payload[1])
    else:
        view = memoryview(payload).cast("B")
        if len(view) < HEADER_BYTES:
            raise PayloadError(f"a payload of {len(view)} bytes has no header")
        start, body = view, view[HEADER_BYTES:]
    kind, found, parameter = _HEADER.unpack_from(start)
    if found != version:
        raise PayloadError(f"a payload of kind {kind} in version {found}, not {version}")
    return kind, parameter, body


def check_vector(vector: np.ndarray) -> np.ndarray:
    """Return `vector` as a contiguous array, float32 if it was, else float64, after a check that it is a vector."""
    vector = np.asarray(vector)
    if vector.ndim != 1 or vector.dtype not in _FLOATS or not vector.flags.c_contiguous:
        if vector.dtype.kind not in "fiu":
            raise PayloadError(f"an array of {vector.dtype} is no vector of real numbers")
        vector = np.ascontiguousarray(vector, np.float32 if vector.dtype == np.float32 else np.float64)
    if vector.ndim != 1 or not 0 < vector.size < 2**32:
        raise PayloadError(f"an array of shape {vector.shape} is no vector of 1 to 2^32 - 1 numbers")
    return vector


def room_for(size: int, out: np.ndarray | None) -> np.ndarray:
    """Return `out` after a check, or a new array, (size,) float64."""
    if size < 1:
        raise ValueError(f"size must be at least 1, not {size}")
    if out is None:
        return np.empty(size)
    if out.shape != (size,) or out.dtype not in _FLOATS or not out.flags.carray:
        raise ValueError(f"out must be contiguous, of shape ({size},), float64 or float32")
    return out


def check_range(numbers: np.ndarray, out: np.ndarray) -> None:
    """Refuse a payload with numbers too large for the array that takes them."""
    if out.dtype == np.float32 and np.max(numbers) > np.finfo(np.float32).max:
        raise PayloadError("numbers beyond the range of float32, which was asked for")


NOT_FINITE = "NaN or infinity in the vector: nothing can be sent of it"
