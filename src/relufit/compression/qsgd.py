"""QSGD: stochastic rounding of each coordinate to a multiple of norm / levels.

Source: D. Alistarh, D. Grubic, J. Li, R. Tomioka, M. Vojnovic, *QSGD: Communication-Efficient SGD via Gradient
Quantization and Encoding*, NIPS 2017, arXiv:1610.02132, section 3.1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from relufit import theory
from relufit.compression.base import NOT_FINITE, finite_vector, header, split
from relufit.compression.coding import CODINGS
from relufit.errors import ConfigError, PayloadError
from relufit.simd import dots
from relufit.streams import words

_VERSION = 1
MAX_LEVELS = 2**15 - 1
#: Norms between these can be divided by s, and s by them, in full precision.
_TINY, _HUGE = 1e-290, 1e290


@dataclass(frozen=True)
class QSGD:
    """Q(v)_i = ||v|| sgn(v_i) xi_i with xi_i in {l/s, (l+1)/s} and E xi_i = |v_i| / ||v||.

    A payload is the header, which carries `levels`; the Euclidean norm of each bucket in float64; and the levels
    in the chosen coding. The zero vector is a header alone.

    Parameters
    ----------
    levels : int
        s, from 1 to 32767.
    coding : str
        How levels become bytes, a key of `relufit.compression.coding.CODINGS`.
    bucket_size : int, optional
        Coordinates that share a norm; all of them by default.

    Raises
    ------
    ConfigError
        If a parameter is impossible.
    """

    levels: int
    coding: str = "packed"
    bucket_size: int | None = None

    def __post_init__(self) -> None:
        """Refuse impossible parameters."""
        if isinstance(self.levels, bool) or not isinstance(self.levels, int) or not 1 <= self.levels <= MAX_LEVELS:
            raise ConfigError(f"{self.levels!r} quantization levels", where="levels", remedy=f"give 1 to {MAX_LEVELS}")
        if self.coding not in CODINGS:
            raise ConfigError(
                f"unknown coding {self.coding!r}",
                where="coding",
                remedy=f"choose one of {', '.join(CODINGS)}",
            )
        size = self.bucket_size
        if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
            raise ConfigError(
                f"buckets of {size!r} coordinates", where="bucket_size", remedy="give at least 1, or none"
            )

    def encode(self, vector: np.ndarray, key: int) -> bytes:
        """Return the payload; the roundings are drawn from the stream with that key."""
        vector = finite_vector(vector)
        norms = np.empty(self._buckets(vector.size))
        levels = np.empty(vector.size, np.int16)
        _quantize(vector, self.levels, self.bucket_size or vector.size, words(key), norms, levels)
        if not np.isfinite(norms).all():
            raise PayloadError(NOT_FINITE)
        coding = CODINGS[self.coding]
        start = header(coding.kind, _VERSION, self.levels)
        return start + norms.tobytes() + coding.encode(levels, self.levels) if norms.any() else start

    def decode(self, payload: bytes | memoryview, size: int) -> np.ndarray:
        """Return the vector, (size,) float64."""
        coding = CODINGS[self.coding]
        levels, body = split(payload, coding.kind, _VERSION)
        if levels != self.levels:
            raise PayloadError(f"a payload of {levels} levels, not {self.levels}")
        if not len(body):
            return np.zeros(size)
        ends = 8 * self._buckets(size)
        if len(body) < ends:
            raise PayloadError(f"a body of {len(body)} bytes has not the norms of {size} coordinates")
        norms = np.frombuffer(body[:ends], "<f8")
        if not (np.isfinite(norms).all() and (norms >= 0).all() and norms.any()):
            raise PayloadError("a norm that is negative or not finite, or none above zero")
        vector = np.empty(size)
        _restore(
            coding.decode(body[ends:], size, self.levels),
            norms,
            self.levels,
            self.bucket_size or size,
            vector,
        )
        return vector

    def variance(self, size: int) -> float:
        """Return omega; a bucket has its share of the energy and the omega of its own size."""
        bucket = min(self.bucket_size or size, size)
        full, rest = divmod(size, bucket)
        total = full * bucket * theory.qsgd_variance(bucket, self.levels)
        return (total + (rest * theory.qsgd_variance(rest, self.levels) if rest else 0.0)) / size

    def _buckets(self, size: int) -> int:
        return -(-size // (self.bucket_size or size))


@njit(nogil=True, cache=True)
def _norm(v: np.ndarray) -> float:
    """Euclidean norm without overflow or underflow; NaN or infinite if an element is."""
    squares = dots((v,), v)[0]
    if 1e-250 < squares < 1e250:
        return math.sqrt(squares)
    largest = 0.0
    for value in v:
        if not abs(value) <= 1.7976931348623157e308:
            return math.nan
        largest = max(largest, abs(value))
    if largest == 0.0:
        return 0.0
    squares = 0.0
    for value in v:
        squares += (value / largest) * (value / largest)
    return largest * math.sqrt(squares)


@njit(nogil=True, cache=True, inline="always")
def _mix(i: np.uint32, a: np.uint32, b: np.uint32, c: np.uint32, d: np.uint32) -> np.uint32:
    """Return the i-th word of a stream: rounds of multiplication, with another 32 bits of the key mixed in at each."""
    x = np.uint32(np.uint32(i * np.uint32(0x9E3779B1)) ^ a)
    x = np.uint32(np.uint32(np.uint32(x ^ (x >> np.uint32(16))) * np.uint32(0x21F0AAAD)) + b)
    x = np.uint32(np.uint32(np.uint32(x ^ (x >> np.uint32(15))) * np.uint32(0x735A2D97)) ^ c)
    x = np.uint32(np.uint32(np.uint32(x ^ (x >> np.uint32(15))) * np.uint32(0xD168AAAD)) + d)
    return np.uint32(x ^ (x >> np.uint32(16)))


@njit(nogil=True, cache=True)
def _round(v: np.ndarray, s: np.int32, scale: float, first: np.uint32, key: np.ndarray, levels: np.ndarray) -> None:
    """Write the levels of one bucket: floor(|v_i| s / norm + u_i) with the sign of v_i, `scale` being s / norm.

    u_i is word `first` + i of the stream as a number in [0, 1).
    """
    a, b, c, d = key[0], key[1], key[2], key[3]
    for i in range(v.size):
        drawn = np.float64(_mix(np.uint32(np.uint32(i) + first), a, b, c, d)) * 2.0**-32
        level = min(np.int32(abs(v[i]) * scale + drawn), s)
        levels[i] = np.int16(-level if v[i] < 0.0 else level)


@njit(nogil=True, cache=True)
def _quantize(v: np.ndarray, s: int, bucket: int, key: np.ndarray, norms: np.ndarray, levels: np.ndarray) -> None:
    for j in range(norms.size):
        part = slice(j * bucket, min((j + 1) * bucket, v.size))
        norm = _norm(v[part])
        norms[j] = norm
        if not 0.0 < norm < math.inf:
            levels[part] = 0
        elif _TINY < norm < _HUGE:
            _round(v[part], np.int32(s), s / norm, np.uint32(j * bucket), key, levels[part])
        else:
            _round(v[part] / norm, np.int32(s), np.float64(s), np.uint32(j * bucket), key, levels[part])


@njit(nogil=True, cache=True)
def _scale(levels: np.ndarray, divisor: float, factor: float, v: np.ndarray) -> None:
    if divisor == 1.0:
        for i in range(v.size):
            v[i] = levels[i] * factor
    else:
        for i in range(v.size):
            v[i] = levels[i] / divisor * factor


@njit(nogil=True, cache=True)
def _restore(levels: np.ndarray, norms: np.ndarray, s: int, bucket: int, v: np.ndarray) -> None:
    for j in range(norms.size):
        part = slice(j * bucket, min((j + 1) * bucket, v.size))
        if _TINY < norms[j] < _HUGE:
            _scale(levels[part], 1.0, norms[j] / s, v[part])
        else:
            _scale(levels[part], np.float64(s), norms[j], v[part])
