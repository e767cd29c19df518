"""One bit a coordinate: signs, alone, times the mean magnitude, or times two values as the first one-bit SGD had them.

Sources: F. Seide, H. Fu, J. Droppo, G. Li, D. Yu, *1-Bit Stochastic Gradient Descent and its Application to
Data-Parallel Distributed Training of Speech DNNs*, 2014; J. Bernstein, Y.-X. Wang, K. Azizzadenesheli, A. Anandkumar,
*signSGD*, 2018, arXiv:1802.04434; S. P. Karimireddy, Q. Rebjock, S. U. Stich, M. Jaggi, *Error Feedback Fixes SignSGD*,
2019, arXiv:1901.09847.
"""

from __future__ import annotations

import math
import struct
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from relufit import theory
from relufit.compression.base import (
    HEADER_BYTES,
    NOT_FINITE,
    Compressor,
    check_range,
    check_vector,
    header,
    output_for,
    split,
)
from relufit.errors import PayloadError
from relufit.numerics.compiled_cache import compiled
from relufit.numerics.kernels import BLOCK
from relufit.numerics.simd import dots, draw
from relufit.streams import words

_VERSION = 1


@dataclass(frozen=True)
class _OneBit(Compressor):
    """A payload is the header, up to two values in fp64, and a bit for each coordinate, 1 where it is negative.

    A vector of zeros is a header alone.
    """

    kind: ClassVar[int]
    #: How many values there are.
    count: ClassVar[int]
    #: The header's parameter where bits follow: without values the header alone could not be told from a cut payload.
    marked: ClassVar[int] = 0
    random: ClassVar[bool] = False

    def encode(self, vector: np.ndarray, key: int) -> bytes:
        """Return the payload; where nothing else is said, nothing is drawn from `key`."""
        vector = check_vector(vector)
        positive, negative = _sums(vector)
        if not math.isfinite(positive - negative):
            finite = bool(np.isfinite(vector).all())
            raise PayloadError("the sum of the magnitudes is beyond the range of float64" if finite else NOT_FINITE)
        if positive == negative:
            return header(self.kind, _VERSION)
        start = header(self.kind, _VERSION, self.marked)
        signs = self._negative(vector, key)
        values = self._values(positive, negative, vector.size, int(np.count_nonzero(signs)))
        return start + struct.pack(f"<{self.count}d", *values) + np.packbits(signs, bitorder="little").tobytes()

    def decode(self, payload: bytes | memoryview, size: int, out: np.ndarray | None = None) -> np.ndarray:
        """Return the vector, (size,) float64 or `out`."""
        kind, parameter, body = split(payload, _VERSION)
        vector, start = output_for(size, out), 8 * self.count
        due = self.marked if len(body) else 0
        if kind != self.kind or parameter != due:
            raise PayloadError(f"a payload of kind {kind} with the parameter {parameter}, not {self.kind} and {due}")
        if not len(body):
            vector[:] = 0
            return vector
        if len(body) != start + -(-size // 8):
            raise PayloadError(f"a body of {len(body)} bytes for {size} coordinates")
        values = struct.unpack_from(f"<{self.count}d", body) or (1.0,)
        for value in values:
            if not value < math.inf or math.copysign(1.0, value) < 0:
                raise PayloadError("a magnitude that is negative or not finite")
            check_range(value, vector.dtype)
        bits = np.frombuffer(body[start:], np.uint8)
        if bits[-1] >> (size - 1) % 8 > 1:
            raise PayloadError("bits after the last coordinate")
        _restore(bits, values[0], -values[-1], vector)
        return vector

    def variance(self, size: int) -> None:
        """Return None: the mean of what is decoded is not the vector."""

    def variance_bound(self, size: int) -> None:
        """Return None: there is no draw whose variance could be bounded."""

    def expected_bits(self, size: int) -> float:
        """Return the bits of the payload of every vector but zero."""
        return 8.0 * (HEADER_BYTES + 8 * self.count + -(-size // 8))

    def _negative(self, vector: np.ndarray, key: int) -> np.ndarray:
        """Return which coordinates count as negative."""
        return vector < 0

    @abstractmethod
    def _values(self, positive: float, negative: float, size: int, below: int) -> tuple[float, ...]:
        """Return the magnitudes, given the sums of the numbers on both sides of zero and how many are below it."""


@dataclass(frozen=True)
class Sign(_OneBit):
    """C(v)_i = sgn(v_i) ||v||_1 / d, where zero counts as positive: biased, for use with error feedback.

    ``<C(v), v> = ||C(v)||^2 = delta ||v||^2``, hence ``||C(v) - v||^2 = (1 - delta) ||v||^2``, with
    ``delta = ||v||_1^2 / (d ||v||^2)``, which is at least 1/d, and about 2/pi for a Gaussian direction (Karimireddy
    et al. 2019, lemma 8).
    """

    name: ClassVar[str] = "sign"
    kind: ClassVar[int] = 64
    count: ClassVar[int] = 1

    def contraction(self, size: int) -> float:
        """Return ``2/pi + (1 - 2/pi) / d``, the mean of ``||v||_1^2 / (d ||v||^2)``."""
        return theory.SIGN_DELTA + (1 - theory.SIGN_DELTA) / size

    def _values(self, positive: float, negative: float, size: int, below: int) -> tuple[float]:
        return ((positive - negative) / size,)


@dataclass(frozen=True)
class OneBit(_OneBit):
    """C(v)_i is the mean of the numbers on the same side of zero as v_i: biased, for use with error feedback.

    Zero is on the positive side. The two means are the values of least squared error given the signs, so that
    ``<C(v), v> = ||C(v)||^2`` and the error is at most that of `Sign` (Seide et al. 2014, section 3).
    """

    name: ClassVar[str] = "one_bit"
    kind: ClassVar[int] = 65
    count: ClassVar[int] = 2

    def contraction(self, size: int) -> float:
        """Return ``2/pi + (1 - 2/pi) (2 - 2^(1 - d)) / d``: each side that has a number adds to that of `Sign`."""
        return theory.SIGN_DELTA + (1 - theory.SIGN_DELTA) * (2 - 2.0 ** (1 - size)) / size

    def _values(self, positive: float, negative: float, size: int, below: int) -> tuple[float, float]:
        return positive / max(1, size - below), (0.0 - negative) / max(1, below)


@dataclass(frozen=True)
class Majority(_OneBit):
    """C(v)_i = sgn(v_i): the votes of signSGD, and their majority where sums are encoded again.

    In an exchange that encodes sums, the sum of the ranks' signs becomes its sign: the vote of the majority, one bit a
    coordinate in both directions. Where as many ranks are for as against, a bit of the key's stream decides, word i for
    coordinate i: it is the same on every engine, and favours neither side. In the other exchanges the weights move by
    the sum of the signs. The length of the gradient is lost: at a constant step the error comes to a floor,
    `relufit.theory.majority_floor` (Bernstein et al. 2018; J. Bernstein, J. Zhao, K. Azizzadenesheli, A. Anandkumar,
    *signSGD with Majority Vote*, 2019, arXiv:1810.05291).
    """

    name: ClassVar[str] = "majority"
    kind: ClassVar[int] = 63
    count: ClassVar[int] = 0
    marked: ClassVar[int] = 1
    random: ClassVar[bool] = True

    def _negative(self, vector: np.ndarray, key: int) -> np.ndarray:
        return _votes(vector, words(key))  # type: ignore[no-any-return]

    def _values(self, positive: float, negative: float, size: int, below: int) -> tuple[()]:
        return ()


@compiled
def _sums(v: np.ndarray) -> tuple[float, float]:
    """Return the sum of the positive and that of the negative numbers; their difference is NaN if one number is."""
    room, ones = np.empty(min(v.size, BLOCK)), np.ones(min(v.size, BLOCK))
    positive, negative = 0.0, 0.0
    for start in range(0, v.size, BLOCK):
        part = v[start : start + BLOCK]
        some = room[: part.size]
        for k in range(part.size):
            some[k] = part[k] if part[k] > 0 else 0.0
        positive += dots((some,), ones[: part.size])[0]
        for k in range(part.size):
            some[k] = 0.0 if part[k] > 0 else part[k]
        negative += dots((some,), ones[: part.size])[0]
    return positive, negative


@compiled
def _votes(v: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Return which numbers are negative; of zero the highest bit of a word of the stream says so."""
    key_words, drawn = (key[0], key[1], key[2], key[3]), np.empty(BLOCK, np.uint32)
    negative = np.empty(v.size, np.bool_)
    for start in range(0, v.size, BLOCK):
        part = v[start : start + BLOCK]
        tied = False
        for k in range(part.size):
            negative[start + k] = part[k] < 0
            tied |= part[k] == 0
        if tied:
            draw(np.uint32(start), key_words, drawn)
            for k in range(part.size):
                if part[k] == 0:
                    negative[start + k] = drawn[k] >> np.uint32(31) != 0
    return negative


@compiled
def _restore(bits: np.ndarray, above: float, below: float, out: np.ndarray) -> None:
    """Write one value or the other for each bit, the lowest of a byte first."""
    for k in range(out.size):
        out[k] = below if bits[k >> 3] >> (k & 7) & 1 else above
