"""What every compressor is, and the header that every payload starts with."""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from io import BytesIO

import numpy as np

from relufit.errors import PayloadError

_HEADER = struct.Struct("<BBH")
HEADER_BYTES = _HEADER.size
_FLOATS = (np.dtype(np.float64), np.dtype(np.float32))


#: A payload, or one in pieces that follow each other: what goes over a connection need not be in one place first.
Pieces = bytes | memoryview | tuple[bytes | memoryview, ...]


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

    def pieces(self, vector: np.ndarray, key: int) -> Pieces:
        """Return what `encode` returns, perhaps in pieces that are good only until `vector` changes."""
        return self.encode(vector, key)

    def add(self, payload: bytes | memoryview, total: np.ndarray, room: np.ndarray) -> None:
        """Add what `decode` returns to `total`, (d,) float64, with the help of `room`, another such array.

        After an error `total` may hold anything.
        """
        total += self.decode(payload, total.size, out=room)

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


class Payload:
    """A payload under construction: its bytes are allocated once, and cut to their length without a copy.

    Parameters
    ----------
    start : bytes
        What it starts with.
    room : int
        How many bytes of body there are at most.
    """

    def __init__(self, start: bytes, room: int) -> None:
        self._stream, self._start = BytesIO(bytes(len(start) + room)), len(start)
        self._stream.write(start)

    def body(self) -> np.ndarray:
        """Return the body, (room,) uint8, zeros at first; to be let go of before the payload is finished."""
        return np.frombuffer(self._stream.getbuffer(), np.uint8, offset=self._start)

    def finish(self, length: int) -> bytes:
        """Return the start and the first `length` bytes of the body."""
        length += self._start
        try:
            self._stream.truncate(length)
        except BufferError:
            # While a loop is compiled its arguments are kept alive, and the bytes cannot be cut in place.
            return bytes(self._stream.getbuffer()[:length])
        return self._stream.getvalue()


def header(kind: int, version: int, parameter: int = 0) -> bytes:
    """Return the 4 bytes that a payload starts with: its kind, its version, and a 16-bit parameter."""
    return _HEADER.pack(kind, version, parameter)


def split(payload: bytes | memoryview, version: int) -> tuple[int, int, memoryview]:
    """Return the kind, the parameter and the body of a payload after a check of its header.

    Raises
    ------
    PayloadError
        If it is shorter than a header, or of another version.
    """
    view = memoryview(payload).cast("B")
    if len(view) < HEADER_BYTES:
        raise PayloadError(f"a payload of {len(view)} bytes has no header")
    kind, found, parameter = _HEADER.unpack_from(view)
    if found != version:
        raise PayloadError(f"a payload of kind {kind} in version {found}, not {version}")
    return kind, parameter, view[HEADER_BYTES:]


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
