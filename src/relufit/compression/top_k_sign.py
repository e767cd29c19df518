"""The signs of the largest coordinates of a vector, times their mean magnitude."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from relufit import theory
from relufit.compression.base import NOT_FINITE, check_range
from relufit.compression.top_k import Largest
from relufit.errors import PayloadError
from relufit.numerics.compiled_cache import compiled

_SCALE = struct.Struct("<d")


@dataclass(frozen=True)
class TopKSign(Largest):
    """C(v)_i = m sgn(v_i) for the k coordinates that are largest in magnitude, m their mean magnitude, and 0 elsewhere.

    C is biased, so its `variance` is None. With S the k coordinates, ``||C(v) - v||^2 = (1 - delta) ||v||^2`` with
    ``delta = (sum_S |v_i|)^2 / (k ||v||^2)``, which is at least 1/d: a contraction, as signs times their mean magnitude
    are without a selection (S. P. Karimireddy, Q. Rebjock, S. U. Stich, M. Jaggi, *Error Feedback Fixes SignSGD and
    other Gradient Compression Schemes*, ICML 2019, arXiv:1901.09847), and as the two are together (D. Basu, D. Data,
    C. Karakus, S. Diggavi, *Qsparse-local-SGD*, NeurIPS 2019, arXiv:1906.02367). The mean of delta over Gaussian
    directions is `contraction`.

    The values in a payload are m in float64, and a bit for each coordinate, 1 for negative, the first one highest in
    its byte.

    Parameters
    ----------
    fraction : float
        See `relufit.compression.top_k.TopK`.

    Raises
    ------
    ConfigError
        If the fraction is impossible.
    """

    name: ClassVar[str] = "top_k_sign"

    @property
    def _kind(self) -> int:
        return 68

    def _length(self, count: int) -> int:
        return _SCALE.size + -(-count // 8)

    def _write_values(self, values: np.ndarray) -> tuple[bytes, None]:
        largest, mean = _magnitudes(values)
        if not largest < math.inf:
            raise PayloadError(NOT_FINITE)
        return _SCALE.pack(min(mean, largest)) + np.packbits(values < 0).tobytes(), None

    def _read_values(self, body: memoryview, count: int, dtype: np.typing.DTypeLike) -> np.ndarray:
        (scale,) = _SCALE.unpack_from(body)
        if not 0.0 < scale < math.inf:
            raise PayloadError(f"a mean magnitude of {scale}")
        check_range(scale, dtype)
        values = np.empty(count, dtype)
        if not _restore(np.frombuffer(body[_SCALE.size :], np.uint8), scale, values):
            raise PayloadError(f"bits after the signs of {count} coordinates")
        return values

    def contraction(self, size: int) -> float:
        """Return delta, `relufit.theory.top_k_delta`."""
        return theory.top_k_delta(size, self.count(size), signs=True)


@compiled
def _magnitudes(values: np.ndarray) -> tuple[float, float]:
    """Return the largest and the mean magnitude of numbers, infinity for the first if one is NaN or infinite."""
    largest = 0.0
    for value in values:
        magnitude = abs(np.float64(value))
        if not magnitude < math.inf:
            return math.inf, math.inf
        largest = max(largest, magnitude)
    # The sum of the magnitudes may be beyond the range of float64; divided by a power of two they are below 1.
    exponent, total = math.frexp(largest)[1], 0.0
    for value in values:
        total += math.ldexp(abs(np.float64(value)), -exponent)
    return largest, math.ldexp(total / values.size, exponent)


@compiled
def _restore(bits: np.ndarray, scale: float, out: np.ndarray) -> bool:
    """Write a magnitude with the sign of each bit, the highest of a byte first; tell whether there are no more."""
    for k in range(out.size):
        out[k] = -scale if bits[k >> 3] << (k & 7) & 128 else scale
    return bits[-1] << (((out.size - 1) & 7) + 1) & 255 == 0  # type: ignore[no-any-return]
