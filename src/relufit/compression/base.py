"""What every compressor is, and the header that every payload starts with."""

from __future__ import annotations

import struct
from typing import Protocol

import numpy as np

from relufit.errors import PayloadError

_HEADER = struct.Struct("<BBH")
HEADER_BYTES = _HEADER.size


class Compressor(Protocol):
    """A map from vectors to bytes and back."""

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

    def decode(self, payload: bytes | memoryview, size: int) -> np.ndarray:
        """Return the vector, (size,) float64, of a payload.

        Raises
        ------
        PayloadError
            If the payload is not one that this compressor makes of a vector of that size.
        """

    def variance(self, size: int) -> float | None:
        """Return omega, where ``E ||decode(encode(v)) - v||^2 = omega ||v||^2``, or None where there is none.

        The mean is over the compressor's own draws and over a uniformly distributed direction of v in `size`
        dimensions. Rounding to nearest, as casting does, draws nothing: its omega is 0.
        """


def header(kind: int, version: int, parameter: int = 0) -> bytes:
    """Return the 4 bytes that a payload starts with: its kind, its version, and a 16-bit parameter."""
    return _HEADER.pack(kind, version, parameter)


def split(payload: bytes | memoryview, kind: int, version: int) -> tuple[int, memoryview]:
    """Return the parameter and the body of a payload after a check of its header.

    Raises
    ------
    PayloadError
        If it is shorter than a header, or of another kind or version.
    """
    view = memoryview(payload).cast("B")
    if len(view) < HEADER_BYTES:
        raise PayloadError(f"a payload of {len(view)} bytes has no header")
    found_kind, found_version, parameter = _HEADER.unpack_from(view)
    if (found_kind, found_version) != (kind, version):
        raise PayloadError(f"a payload of kind {found_kind}, version {found_version}, not {kind}, {version}")
    return parameter, view[HEADER_BYTES:]


def finite_vector(vector: np.ndarray) -> np.ndarray:
    """Return `vector` as contiguous float64 after a check that it is one-dimensional."""
    vector = np.ascontiguousarray(vector, np.float64)
    if vector.ndim != 1 or not 0 < vector.size < 2**32:
        raise PayloadError(f"an array of shape {vector.shape} is no vector of 1 to 2^32 - 1 numbers")
    return vector


NOT_FINITE = "NaN or infinity in the vector: nothing can be sent of it"
