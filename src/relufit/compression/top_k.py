"""The largest coordinates of a vector as they are."""

from __future__ import annotations

import struct
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from relufit.compression.base import HEADER_BYTES, check_vector, header, split
from relufit.compression.coding import positions
from relufit.compression.selection import largest_positions
from relufit.compression.sparse import NUMBERS, Sent, Sparse, check_values
from relufit.errors import PayloadError

_VERSION = 1
#: What the kind of a payload is raised by that has fewer coordinates than k, and their number, which follows then.
_FEWER, _COUNT = 128, struct.Struct("<I")
#: The length of the code of positions is in the header modulo this: payloads that are cut off are noticed.
_LENGTHS = 2**16


class Largest(Sparse):
    """The k coordinates that are largest in magnitude, of equal ones those with the lower index; but no zeros.

    A payload is the header, with the bytes of the code of positions modulo 2^16; where there are fewer than k
    coordinates, their number in uint32; what is sent of their values; and the code of positions, see
    `relufit.compression.coding.positions`. The zero vector is a header alone.
    """

    @property
    @abstractmethod
    def _kind(self) -> int:
        """The number that a payload carries in its header."""

    @abstractmethod
    def _length(self, count: int) -> int:
        """Return the bytes of so many values."""

    @abstractmethod
    def _write_values(self, values: np.ndarray) -> bytes:
        """Return what is sent of values, or raise PayloadError if that cannot be."""

    @abstractmethod
    def _read_values(self, body: memoryview, count: int, dtype: np.typing.DTypeLike) -> np.ndarray:
        """Return values, (count,), for a vector of a type, or raise PayloadError if the body has none."""

    def encode(self, vector: np.ndarray, key: int) -> bytes:
        """Return the payload; nothing is drawn from `key`."""
        vector = check_vector(vector)
        k = self.count(vector.size)
        largest = largest_positions(vector, k)
        if not largest.size:
            return header(self._kind, _VERSION)
        code, fewer = positions.write_positions(largest, vector.size), largest.size < k
        start = header(self._kind + fewer * _FEWER, _VERSION, len(code) % _LENGTHS)
        number = _COUNT.pack(largest.size) if fewer else b""
        return b"".join((start, number, self._write_values(vector[largest]), code))

    def _read(self, payload: bytes | memoryview, size: int, dtype: np.typing.DTypeLike) -> Sent | None:
        kind, length, body = split(payload, _VERSION)
        if kind not in (self._kind, self._kind + _FEWER):
            raise PayloadError(f"a payload of kind {kind}, not {self._kind}")
        if kind == self._kind and not length and not len(body):
            return None
        k = count = self.count(size)
        if kind != self._kind:
            if len(body) < _COUNT.size:
                raise PayloadError(f"a body of {len(body)} bytes has no number of coordinates")
            (count,), body = _COUNT.unpack_from(body), body[_COUNT.size :]
            if not 0 < count < k:
                raise PayloadError(f"{count} coordinates where there are to be fewer than {k}")
        values = self._length(count)
        if len(body) < values or (len(body) - values) % _LENGTHS != length:
            raise PayloadError(f"{len(body)} bytes that are not those of {count} values and their positions")
        values_read = self._read_values(body[:values], count, dtype)
        return Sent(positions.read_positions(body[values:], size, count), values_read)

    def expected_bits(self, size: int) -> float:
        """Return the expected bits of the payload of a Gaussian vector."""
        k = self.count(size)
        return 8.0 * (HEADER_BYTES + self._length(k)) + positions.expected_bits(size, k)


@dataclass(frozen=True)
class TopK(Largest):
    """C(v)_i = v_i for the k coordinates that are largest in magnitude, and 0 for all others.

    C is biased. It is a contraction: ``||C(v) - v||^2 <= (1 - k/d) ||v||^2`` for every v, but for the rounding of
    values (S. U. Stich, J.-B. Cordonnier, M. Jaggi, *Sparsified SGD with Memory*, NeurIPS 2018, arXiv:1809.07599,
    lemma A.1). What is kept of Gaussian vectors is `relufit.theory.top_delta`.

    Parameters
    ----------
    fraction : float
        k / d, above 0 and at most 1; k is rounded to the nearest whole number, and at least 1.
    values : str
        ``"fp32"`` or ``"fp16"``, see `relufit.compression.cast`.

    Raises
    ------
    ConfigError
        If a parameter is impossible.
    """

    name: ClassVar[str] = "top_k"

    values: str = "fp32"

    def __post_init__(self) -> None:
        """Refuse impossible parameters."""
        super().__post_init__()
        check_values(self.values)

    @property
    def _kind(self) -> int:
        return {"fp32": 66, "fp16": 67}[self.values]

    def _length(self, count: int) -> int:
        return NUMBERS[self.values].length(count)

    def _write_values(self, values: np.ndarray) -> bytes:
        return NUMBERS[self.values].write(values)

    def _read_values(self, body: memoryview, count: int, dtype: np.typing.DTypeLike) -> np.ndarray:
        return NUMBERS[self.values].read(body, count, dtype)
