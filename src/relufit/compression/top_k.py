"""The largest coordinates of a vector as they are, and what is common to compressors that send the largest."""

from __future__ import annotations

import struct
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Self

import numpy as np

from relufit import theory
from relufit.compression.base import HEADER_BYTES, check_vector, header, split
from relufit.compression.coding import positions
from relufit.compression.selection import largest_positions
from relufit.compression.sparse import NUMBERS, Sent, Sparse, check_values
from relufit.errors import PayloadError

_VERSION = 1
#: Added to the kind of a payload that has fewer coordinates than k; their number follows the header then.
_FEWER, _COUNT = 128, struct.Struct("<I")
#: The length of the code of positions is in the header modulo this, so that payloads that are cut off are noticed.
_LENGTHS = 2**16
#: Fractions that plans choose from: of fewer coordinates no theory of residuals holds.
_PREDICTED = (0.05, 0.2)


class Largest(Sparse):
    """The k coordinates that are largest in magnitude, of equal ones those with the lower index.

    Those that are zero, or that the format of values rounds to zero, are not sent.

    A payload is the header, with the bytes of the code of positions modulo 2^16; where there are fewer than k
    coordinates, their number in uint32; what is sent of their values; and the code of positions, see
    `relufit.compression.coding.positions`. The zero vector is a header alone.
    """

    random: ClassVar[bool] = False

    @property
    @abstractmethod
    def _kind(self) -> int:
        """The number that a payload carries in its header."""

    @abstractmethod
    def _length(self, count: int) -> int:
        """Return the bytes of the code of `count` values."""

    @abstractmethod
    def _write_values(self, values: np.ndarray) -> tuple[bytes, np.ndarray | None]:
        """Return the code of values, and which of them it has, (count,) bool, if it has not all of them.

        Those that become zero are left out.

        Raises
        ------
        PayloadError
            If a value is not finite, or beyond the range of the format.
        """

    @abstractmethod
    def _read_values(self, body: memoryview, count: int, dtype: np.typing.DTypeLike) -> np.ndarray:
        """Return values, (count,), for a vector of a type.

        Raises
        ------
        PayloadError
            If `body`, of the right length, is not the code of values.
        """

    def encode(self, vector: np.ndarray, key: int) -> bytes:
        """Return the payload; nothing is drawn from `key`."""
        vector = check_vector(vector)
        k = self.count(vector.size)
        largest = largest_positions(vector, k)
        values, kept = self._write_values(vector[largest]) if largest.size else (b"", None)
        sent = largest if kept is None else largest[kept]
        if not sent.size:
            return header(self._kind, _VERSION)
        code, fewer = positions.write_positions(sent, vector.size), sent.size < k
        start = header(self._kind + fewer * _FEWER, _VERSION, len(code) % _LENGTHS)
        return b"".join((start, _COUNT.pack(sent.size) if fewer else b"", values, code))

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

    def resolution(self, size: int) -> float:
        """Return the fraction."""
        return self.fraction

    @classmethod
    def family(cls, resolutions: Sequence[float]) -> Iterator[tuple[float, Callable[[int], Self]]]:
        """Yield the fractions of which iterations are predicted, see `relufit.theory.feedback_rate`."""
        for fraction in _PREDICTED:
            yield fraction, partial(cls._with, fraction)

    @classmethod
    def _with(cls, fraction: float, size: int) -> Self:
        return cls(fraction)

    def expected_bits(self, size: int) -> float:
        """Return the expected bits of the payload of a Gaussian vector."""
        k = self.count(size)
        return 8.0 * (HEADER_BYTES + self._length(k)) + positions.expected_bits(size, k)


@dataclass(frozen=True)
class TopK(Largest):
    """C(v)_i = v_i for the k coordinates that are largest in magnitude, and 0 for all others.

    C is biased, so its `variance` is None. It is a contraction: ``||C(v) - v||^2 <= (1 - k/d) ||v||^2`` for every v,
    but for the rounding of values (S. U. Stich, J.-B. Cordonnier, M. Jaggi, *Sparsified SGD with Memory*, NeurIPS 2018,
    arXiv:1809.07599, lemma A.1). What is kept of a Gaussian direction is `contraction`.

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
        return 66 if self.values == "fp32" else 67

    def _length(self, count: int) -> int:
        return NUMBERS[self.values].length(count)

    def _write_values(self, values: np.ndarray) -> tuple[bytes, np.ndarray | None]:
        numbers = NUMBERS[self.values]
        code = numbers.write(values)
        least, most = numbers.extremes(code)
        if least:
            return code, None
        kept = numbers.magnitudes(code) > 0
        return numbers.write(values[kept]) if most else code, kept

    def _read_values(self, body: memoryview, count: int, dtype: np.typing.DTypeLike) -> np.ndarray:
        numbers = NUMBERS[self.values]
        values, (least, most) = numbers.read(body, count, dtype), numbers.extremes(body)
        if not (least and numbers.tops[0] <= most <= numbers.tops[1]):
            raise PayloadError("values that are zero, or not scaled to the range of their format")
        return values

    def contraction(self, size: int) -> float:
        """Return delta of values that are not rounded, `relufit.theory.top_k_delta`."""
        return theory.top_k_delta(size, self.count(size))
