"""Natural compression: stochastic rounding of each magnitude to a neighbouring power of two.

Source: S. Horvath, C.-Y. Ho, L. Horvath, A. N. Sahu, M. Canini, P. Richtarik, *Natural Compression for Distributed
Deep Learning*, 2019, arXiv:1905.10988.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import ClassVar, NamedTuple, Self

import numpy as np
from numba.extending import overload

from relufit import theory
from relufit.compression.base import (
    HEADER_BYTES,
    NOT_FINITE,
    Anatomy,
    Compressor,
    ScratchBuffer,
    check_range,
    check_vector,
    header,
    output_for,
    split,
)
from relufit.compression.choice import AUTO, check_coding, coding_of, name_of, shortest
from relufit.compression.coding import CODINGS, Coding
from relufit.compression.grid import MAGNITUDE_BITS
from relufit.compression.levels import is_a, put, take
from relufit.errors import PayloadError
from relufit.numerics.compiled_cache import compiled
from relufit.numerics.simd import draw
from relufit.streams import words

_VERSION = 1
_KINDS = 32
_TOP = struct.Struct("<h")
_LARGEST_EXPONENT, _LEAST_EXPONENT = 1023, -1074
#: Numbers below are stored without their leading one; multiplied by 2^64 they are not.
_LEAST_NORMAL, _LIFT, _BIAS = 2.0**-1022, 64, 1023


class Powers(NamedTuple):
    """Levels that are rounded from a vector as they are taken: level 1 is 2^top, level 2 is 2^(top - 1), ..."""

    vector: np.ndarray
    top: int
    key: np.ndarray

    @property
    def size(self) -> int:
        """The number of levels."""
        return int(self.vector.size)


class FromPowers(NamedTuple):
    """A vector that is filled with powers of two as levels are put."""

    vector: np.ndarray
    powers: np.ndarray

    @property
    def size(self) -> int:
        """The number of levels."""
        return int(self.vector.size)


@dataclass(frozen=True)
class Natural(Compressor):
    """Q(v)_i = sgn(v_i) 2^(e or e + 1), where 2^e <= |v_i| < 2^(e + 1), and E Q(v)_i = v_i; zero stays zero.

    A payload is the header, with the number of exponents from the least to the largest; the largest exponent in
    int16; and the levels in the chosen coding: 0 for zero, else one more than the largest exponent exceeds the
    number's, with its sign. The zero vector is a header alone.

    Parameters
    ----------
    coding : str
        See `relufit.compression.qsgd.QSGD`.

    Raises
    ------
    ConfigError
        If there is no such coding.
    """

    name: ClassVar[str] = "natural"

    coding: str = "rans"

    def __post_init__(self) -> None:
        """Refuse an impossible parameter."""
        check_coding(self.coding)

    def encode(self, vector: np.ndarray, key: int) -> bytes:
        """Return the payload; the roundings are drawn from the stream with that key.

        Raises
        ------
        PayloadError
            If the vector holds NaN, infinity, or a magnitude from 2^1023 on, which could not be rounded up.
        """
        return bytes(self.pieces(vector, key))

    def pieces(
        self, vector: np.ndarray, key: int, scratch: ScratchBuffer | None = None, squares: float = math.nan
    ) -> bytes | memoryview:
        """Return the payload, made in `scratch` if that is given."""
        vector = check_vector(vector)
        least, largest = _range(vector)
        if not math.isfinite(largest):
            raise PayloadError(NOT_FINITE)
        coding = self._coding(vector.size)
        if not largest:
            return header(_KINDS + coding.kind, _VERSION)
        top = math.frexp(largest)[1]
        if top > _LARGEST_EXPONENT:
            raise PayloadError("numbers from 2^1023 on, which have no power of two above them")
        span = top - math.frexp(least)[1] + 2
        start = header(_KINDS + coding.kind, _VERSION, span) + _TOP.pack(top)
        return coding.write(Powers(vector, top, words(key)), span, start, scratch or ScratchBuffer())

    def decode(self, payload: bytes | memoryview, size: int, out: np.ndarray | None = None) -> np.ndarray:
        """Return the vector, (size,) float64 or `out`."""
        kind, span, body = split(payload, _VERSION)
        coding = coding_of(kind - _KINDS, self.coding)
        vector = output_for(size, out)
        if not span and not len(body):
            vector[:] = 0
            return vector
        if len(body) < _TOP.size:
            raise PayloadError(f"a body of {len(body)} bytes has no exponent")
        (top,) = _TOP.unpack_from(body)
        if not 2 <= span <= top - _LEAST_EXPONENT + 1 or top > _LARGEST_EXPONENT:
            raise PayloadError(f"{span} exponents up to {top} are beyond double precision")
        powers = np.zeros(1 + span)
        np.ldexp(1.0, np.arange(top, top - span, -1), out=powers[1:])
        check_range(powers, vector.dtype)
        coding.restore(np.frombuffer(body[_TOP.size :], np.uint8), FromPowers(vector, powers), span)
        return vector

    def variance(self, size: int) -> float:
        """Return omega for magnitudes distributed evenly in their logarithm, see `relufit.theory.natural_variance`.

        The mean over directions alone depends a little on the length of the vector.
        """
        return theory.natural_variance()

    def variance_bound(self, size: int) -> float:
        """Return the published bound, 1/8."""
        return theory.natural_variance_bound()

    def expected_bits(self, size: int) -> float:
        """Return about how many bits the payload of a uniformly distributed direction has."""
        law, span = _law(size)
        return 8 * (HEADER_BYTES + _TOP.size) + self._coding(size).expected_bits([(size, law)], span)

    def coding_name(self, size: int) -> str:
        """Return the name of the coding, that of the shortest one if it is ``"auto"``."""
        return _shortest(size) if self.coding == AUTO else self.coding

    @classmethod
    def family(cls, resolutions: Sequence[float]) -> Iterator[tuple[float, Callable[[int], Self]]]:
        """Yield each coding."""
        for coding in CODINGS:
            yield 0.0, partial(cls._in, coding)

    @classmethod
    def _in(cls, coding: str, size: int) -> Self:
        return cls(coding)

    def anatomy(self, payload: bytes, size: int) -> Anatomy:
        """Return the parts of a payload; each level is one number."""
        start = min(HEADER_BYTES + _TOP.size, len(payload))
        return Anatomy(start, name_of(payload[0] - _KINDS), self.decode(payload, size))

    def _coding(self, size: int) -> Coding:
        return CODINGS[self.coding_name(size)]


def _law(size: int) -> tuple[np.ndarray, int]:
    """Return the law of levels, and the number of exponents to be expected."""
    law = np.append(0.0, theory.natural_probabilities(size))
    return law, max(2, int(np.count_nonzero(size * law > 0.5)))


@lru_cache(maxsize=1024)
def _shortest(size: int) -> str:
    law, span = _law(size)
    return shortest([(size, law)], span)


def _range(v: np.ndarray) -> tuple[float, float]:
    """Return the least magnitude that is not zero, and the largest; not finite if an element is not."""
    # Magnitudes are ordered as their bits are, infinity and NaN above all numbers.
    kind, mask = MAGNITUDE_BITS[v.dtype.char]
    ends = np.array(_range_of_bits(v.view(kind), mask), kind).view(v.dtype)
    return float(ends[0]), float(ends[1])


@compiled
def _range_of_bits(bits: np.ndarray, mask: np.uint64) -> tuple[int, int]:
    below, largest = np.uint64(2**64 - 1), np.uint64(0)
    for number in bits:
        magnitude = np.uint64(number & mask)
        # Zero less one is the largest of all.
        below, largest = min(below, magnitude - np.uint64(1)), max(largest, magnitude)
    return below + np.uint64(1), largest


@compiled
def _round(source: Powers, start: int, levels: np.ndarray) -> None:
    """Round up where a random part is below the fraction of the magnitude over the power of two below it."""
    key = (source.key[0], source.key[1], source.key[2], source.key[3])
    drawn, magnitudes = np.empty(levels.size, np.uint32), np.empty(levels.size)
    draw(np.uint32(start), key, drawn)
    v = source.vector[start : start + levels.size]
    for i in range(levels.size):
        magnitudes[i] = abs(v[i])
    tiny = False
    for i in range(levels.size):
        tiny |= magnitudes[i] < _LEAST_NORMAL
    if tiny:
        for i in range(levels.size):
            if magnitudes[i] < _LEAST_NORMAL:
                magnitudes[i] *= 2.0**_LIFT
    bits, shift = magnitudes.view(np.uint64), _BIAS + source.top + 1
    for i in range(levels.size):
        up = np.uint64(drawn[i]) << np.uint64(20) < bits[i] & np.uint64(2**52 - 1)
        level = shift - np.int64(bits[i] >> np.uint64(52)) - up
        level = 0 if magnitudes[i] == 0.0 else level
        levels[i] = -level if v[i] < 0.0 else level
    if tiny:
        for i in range(levels.size):
            if 0.0 < abs(v[i]) < _LEAST_NORMAL:
                levels[i] += -_LIFT if v[i] < 0.0 else _LIFT


@compiled
def _restore(target: FromPowers, start: int, levels: np.ndarray) -> None:
    for i in range(levels.size):
        power = target.powers[abs(levels[i])]
        target.vector[start + i] = -power if levels[i] < 0 else power


@overload(take)
def _take(source, start, levels):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    if not is_a(source, Powers):
        return None
    return lambda source, start, levels: _round(source, start, levels)


@overload(put)
def _put(target, start, levels):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    if not is_a(target, FromPowers):
        return None
    return lambda target, start, levels: _restore(target, start, levels)
