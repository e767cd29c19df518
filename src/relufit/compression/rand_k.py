"""Coordinates that are chosen at random; which ones follows from a seed."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from relufit import streams
from relufit.compression.base import HEADER_BYTES, NOT_FINITE, check_vector, header, split
from relufit.compression.cast_loops import largest_magnitude
from relufit.compression.sparse import NUMBERS, Sent, Sparse, check_values
from relufit.errors import ConfigError, PayloadError, shown
from relufit.numerics.compiled_cache import compiled
from relufit.numerics.simd import draw, leading_zeros, multiply_high

_VERSION = 1
_SEED = struct.Struct("<q")
#: Numbers that are drawn at a time.
_BLOCK = 1024


@dataclass(frozen=True)
class RandK(Sparse):
    """Q(v)_i = (d/k) v_i for k coordinates that are chosen uniformly without replacement, and 0 for all others.

    Each set of k coordinates has the same probability, to a relative k d 2^-64. ``E Q(v) = v``, and
    ``E ||Q(v) - v||^2 = (d/k - 1) ||v||^2`` for every v, but for the rounding of values. Without the factor d/k, with
    `scaled` False, C is biased, so its `variance` is None, and a contraction: ``E ||C(v) - v||^2 = (1 - k/d) ||v||^2``
    (S. U. Stich, J.-B. Cordonnier, M. Jaggi, *Sparsified SGD with Memory*, NeurIPS 2018, arXiv:1809.07599, lemma A.1).

    A payload is the header, a seed in int64, and the values; the coordinates follow from the seed and their number.
    The zero vector is a header alone. Halves are scaled by the power of two that suits the largest magnitude of the
    whole vector, so that neither the value of a coordinate nor whether the vector can be sent depends on the draw.

    Parameters
    ----------
    fraction, values
        See `relufit.compression.top_k.TopK`.
    scaled : bool
        Whether values have the factor d/k.

    Raises
    ------
    ConfigError
        If a parameter is impossible.
    """

    name: ClassVar[str] = "rand_k"

    values: str = "fp32"
    scaled: bool = True

    def __post_init__(self) -> None:
        """Refuse impossible parameters."""
        super().__post_init__()
        check_values(self.values)
        if not isinstance(self.scaled, bool):
            raise ConfigError(f"{shown(self.scaled)} is neither", where="scaled", remedy="give true or false")

    def encode(self, vector: np.ndarray, key: int) -> bytes:
        """Return the payload; the coordinates are drawn from the stream with that key."""
        vector = check_vector(vector)
        largest = largest_magnitude(vector)
        if not math.isfinite(largest):
            raise PayloadError(NOT_FINITE)
        start = header(self._kind, _VERSION)
        if not largest:
            return start
        size, k = vector.size, self.count(vector.size)
        factor = size / k if self.scaled else 1.0
        if not math.isfinite(largest * factor):
            raise PayloadError(f"numbers beyond the range of float64 once they are multiplied by {factor:g}")
        seed = _SEED.pack((key ^ key >> 64) % 2**64 - 2**63)
        # The largest magnitude is written with the others, since scale and range depend on it, and is cut off.
        sent = np.append(vector[_positions(seed, size, k)], largest) * factor
        itemsize = NUMBERS[self.values].cast.dtype.itemsize
        return start + seed + NUMBERS[self.values].write(sent)[:-itemsize]

    def _read(self, payload: bytes | memoryview, size: int, dtype: np.typing.DTypeLike) -> Sent | None:
        kind, parameter, body = split(payload, _VERSION)
        if kind != self._kind or parameter:
            raise PayloadError(f"a payload of kind {kind} and parameter {parameter}, not {self._kind} and 0")
        if not len(body):
            return None
        k = self.count(size)
        values = NUMBERS[self.values].read(body[_SEED.size :], k, dtype)
        return Sent(_positions(body[: _SEED.size], size, k), values)

    def variance(self, size: int) -> float | None:
        """Return omega, d/k - 1, or None without the factor d/k."""
        return size / self.count(size) - 1 if self.scaled else None

    def variance_bound(self, size: int) -> float | None:
        """Return omega with the rounding of values at its worst, or None without the factor d/k.

        Where each value v is sent as (1 + epsilon) v, the error is ``d/k (1 + epsilon)^2 - 1 - 2 epsilon``. It is left
        out that halves below 2^-28 of the largest are rounded more coarsely, which adds less than ``sqrt(d) 2^-38``.
        """
        epsilon = float(np.finfo(NUMBERS[self.values].cast.dtype).eps) / 2
        return size / self.count(size) * (1 + epsilon) ** 2 - 1 - 2 * epsilon if self.scaled else None

    def contraction(self, size: int) -> float | None:
        """Return delta, k/d, for values that are not rounded; None with a factor d/k above 1."""
        return super().contraction(size) if self.scaled else self.count(size) / size

    def expected_bits(self, size: int) -> float:
        """Return the bits of the payload of every vector but zero."""
        return 8.0 * (HEADER_BYTES + _SEED.size + NUMBERS[self.values].length(self.count(size)))

    @property
    def _kind(self) -> int:
        return {"fp32": 69, "fp16": 70}[self.values]


def _positions(seed: bytes | memoryview, size: int, count: int) -> np.ndarray:
    """Return the positions that follow from the bytes of a seed, (count,) int64, in ascending order."""
    (number,) = _SEED.unpack(seed)
    return _subset(streams.words(streams.key(number, purpose="positions")), size, count)  # type: ignore[no-any-return]


@compiled
def _subset(key: np.ndarray, size: int, count: int) -> np.ndarray:
    """Return `count` of `size` positions, by R. Floyd's algorithm on a set of bits, of those in or those left out.

    J. Bentley, R. Floyd, *Programming pearls: a sample of brilliance*, 1987: for each j of the last ones a number up to
    j is drawn, and joins the set, or j if it is in the set already.
    """
    key_words, drawn = (key[0], key[1], key[2], key[3]), np.empty(2 * _BLOCK, np.uint32)
    left_out = 2 * count > size
    members, bits = size - count if left_out else count, np.zeros((size + 63) // 64, np.uint64)
    for start in range(0, members, _BLOCK):
        draw(np.uint32(2 * start), key_words, drawn)
        for i in range(start, min(start + _BLOCK, members)):
            j = size - members + i
            high, low = np.uint64(drawn[2 * (i - start)]), np.uint64(drawn[2 * (i - start) + 1])
            chosen = multiply_high(high << np.uint64(32) | low, np.uint64(j + 1))
            if bits[chosen >> np.uint64(6)] >> (chosen & np.uint64(63)) & np.uint64(1):
                chosen = np.uint64(j)
            bits[chosen >> np.uint64(6)] |= np.uint64(1) << (chosen & np.uint64(63))
    positions, found = np.empty(count, np.int64), 0
    for word in range(bits.size):
        held = ~bits[word] if left_out else bits[word]
        # Bits beyond the last coordinate come after all others.
        while held and found < count:
            lowest = held & (~held + np.uint64(1))
            positions[found] = 64 * word + 63 - leading_zeros(lowest)
            held ^= lowest
            found += 1
    return positions
