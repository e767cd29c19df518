"""QSGD: stochastic rounding of each coordinate to a multiple of norm / levels; TernGrad is its coarsest form.

Sources: D. Alistarh, D. Grubic, J. Li, R. Tomioka, M. Vojnovic, *QSGD: Communication-Efficient SGD via Gradient
Quantization and Encoding*, NIPS 2017, arXiv:1610.02132, section 3.1; W. Wen, C. Xu, F. Yan, C. Wu, Y. Wang, Y. Chen,
H. Li, *TernGrad: Ternary Gradients to Reduce Communication in Distributed Deep Learning*, NIPS 2017,
arXiv:1705.07878.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from relufit import theory
from relufit.compression.base import (
    NOT_FINITE,
    Compressor,
    Pieces,
    Place,
    check_range,
    check_vector,
    header,
    room_for,
    split,
)
from relufit.compression.choice import AUTO, check_coding, coding_of, shortest
from relufit.compression.coding import CODINGS, Coding, Law
from relufit.compression.coding.base import no_code
from relufit.compression.coding.packed import Packed
from relufit.compression.grid import Added, Restored, Rounded, check_norms, norms_of
from relufit.compression.sums import TOGETHER, sum_packed
from relufit.errors import ConfigError, PayloadError
from relufit.kernels import Descent
from relufit.streams import words

_VERSION = 1
_NORM = np.dtype("<f8")
MAX_LEVELS = 2**15 - 1
NORMS = ("l2", "max")


@dataclass(frozen=True)
class QSGD(Compressor):
    """Q(v)_i = ||v|| sgn(v_i) xi_i with xi_i in {l/s, (l+1)/s} and E xi_i = |v_i| / ||v||.

    The random part of a level is a multiple of 2^-32, so that probabilities are exact to that.

    A payload is the header, which carries `levels`; the norm of each bucket in float64; and the levels in the
    chosen coding. The zero vector is a header alone.

    Parameters
    ----------
    levels : int
        s, from 1 to 32767.
    coding : str
        How levels become bytes, a key of `relufit.compression.coding.CODINGS`; or ``"auto"``, the one with the
        shortest payload to be expected, which depends on the size of a vector and these parameters alone.
    bucket_size : int, optional
        Coordinates that share a norm; all of them by default.
    norm : str
        ``"l2"`` or ``"max"``, the largest magnitude.

    Raises
    ------
    ConfigError
        If a parameter is impossible.
    """

    levels: int
    coding: str = "packed"
    bucket_size: int | None = None
    norm: str = "l2"

    def __post_init__(self) -> None:
        """Refuse impossible parameters."""
        if isinstance(self.levels, bool) or not isinstance(self.levels, int) or not 1 <= self.levels <= MAX_LEVELS:
            raise ConfigError(f"{self.levels!r} quantization levels", where="levels", remedy=f"give 1 to {MAX_LEVELS}")
        check_coding(self.coding)
        size = self.bucket_size
        if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
            raise ConfigError(
                f"buckets of {size!r} coordinates", where="bucket_size", remedy="give at least 1, or none"
            )
        if self.norm not in NORMS:
            raise ConfigError(f"unknown norm {self.norm!r}", where="norm", remedy=f"choose one of {', '.join(NORMS)}")

    def encode(self, vector: np.ndarray, key: int) -> bytes:
        """Return the payload; the roundings are drawn from the stream with that key."""
        return bytes(self.pieces(vector, key))

    def pieces(
        self, vector: np.ndarray, key: int, place: Place | None = None, squares: float = math.nan
    ) -> bytes | memoryview:
        """Return the payload, made in `place` if that is given."""
        vector = check_vector(vector)
        bucket = self._bucket(vector.size)
        norms = norms_of(vector, bucket, self.norm, squares)
        sound, some = check_norms(norms)
        if not sound:
            raise PayloadError(NOT_FINITE)
        coding = self._coding(vector.size)
        start = header(coding.kind, _VERSION, self.levels)
        if not some:
            return start
        levels = Rounded(vector, norms, self.levels, bucket, words(key))
        return coding.write(levels, self.levels, start + norms.tobytes(), place or Place())

    def decode(self, payload: bytes | memoryview, size: int, out: np.ndarray | None = None) -> np.ndarray:
        """Return the vector, (size,) float64 or `out`."""
        vector = room_for(size, out)
        if not self._give(payload, vector, Restored):
            vector[:] = 0
        return vector

    def add(self, payload: bytes | memoryview, total: np.ndarray, room: np.ndarray) -> None:
        """Add the vector to `total` as it is decoded; `room` is not needed."""
        self._give(payload, total, Added)

    def together(self, size: int) -> int:
        """Return how many payloads are read side by side: levels of a fixed width can be read at any place."""
        return TOGETHER if isinstance(self._coding(size), Packed) else 1

    def sum(
        self,
        payloads: Sequence[Pieces],
        total: np.ndarray,
        *,
        fresh: bool,
        room: np.ndarray,
        descent: Descent | None = None,
    ) -> float:
        """Add the vectors of payloads to `total`, or to zero if `fresh`; `room` is not needed."""
        size, found = total.size, list[tuple[Coding, np.ndarray, np.ndarray]]()
        if self.together(size) > 1:
            found = [its for payload in payloads if (its := self._read(payload, total))]
            payloads = () if all(isinstance(coding, Packed) for coding, _, _ in found) else payloads
        if payloads or not found:
            return super().sum(payloads, total, fresh=fresh, room=room, descent=descent)
        bodies = [Packed.checked(body, size, self.levels) for _, _, body in found]
        norms = np.array([its for _, its, _ in found])
        squares = sum_packed(bodies, norms, self.levels, self._bucket(size), total, fresh, descent)
        if squares is None:
            raise no_code(size, self.levels)
        return squares

    def _give(self, payload: bytes | memoryview, vector: np.ndarray, how: type[Restored | Added]) -> bool:
        """Give the levels of a payload to a vector, and tell whether there were any."""
        found = self._read(payload, vector)
        if found is None:
            return False
        coding, norms, body = found
        coding.restore(body, how(vector, norms, self.levels, self._bucket(vector.size)), self.levels)
        return True

    def _read(self, payload: Pieces, vector: np.ndarray) -> tuple[Coding, np.ndarray, np.ndarray] | None:
        """Return the coding, the norms and the levels of a payload for such a vector; None if that is zero."""
        kind, levels, body = split(payload, _VERSION)
        coding = coding_of(kind, self.coding)
        if levels != self.levels:
            raise PayloadError(f"a payload of {levels} levels, not {self.levels}")
        if not len(body):
            return None
        buckets = -(-vector.size // self._bucket(vector.size))
        ends = _NORM.itemsize * buckets
        if len(body) < ends:
            raise PayloadError(f"a body of {len(body)} bytes has not the norms of {vector.size} coordinates")
        norms = np.frombuffer(body, _NORM, buckets)
        if check_norms(norms) != (True, True):
            raise PayloadError("a norm that is negative or not finite, or none above zero")
        check_range(norms, vector)
        return coding, norms, np.frombuffer(body, np.uint8, offset=ends)

    def variance(self, size: int) -> float:
        """Return omega; a bucket has its share of the energy and the omega of its own size."""
        omega = sum(
            count * part * theory.qsgd_variance(part, self.levels, norm=self.norm) for count, part in self._parts(size)
        )
        return omega / size

    def variance_bound(self, size: int) -> float:
        """Return the published bound for the largest bucket; see `relufit.theory.qsgd_variance_bound`."""
        return theory.qsgd_variance_bound(self._parts(size)[0][1], self.levels, norm=self.norm)

    def expected_bits(self, size: int) -> float:
        """Return the expected bits of the payload of a uniformly distributed direction."""
        return (
            32
            + 64 * sum(count for count, _ in self._parts(size))
            + self._coding(size).expected_bits(self._laws(size), self.levels)
        )

    def _bucket(self, size: int) -> int:
        if size < 1:
            raise ValueError(f"size must be at least 1, not {size}")
        return min(self.bucket_size or size, size)

    def _parts(self, size: int) -> list[tuple[int, int]]:
        """Return the buckets as counts and lengths."""
        bucket = self._bucket(size)
        count, rest = divmod(size, bucket)
        return [(count, bucket)] + ([(1, rest)] if rest else [])

    def _laws(self, size: int) -> list[Law]:
        return [
            (count * part, theory.level_probabilities(part, self.levels, norm=self.norm))
            for count, part in self._parts(size)
        ]

    def _coding(self, size: int) -> Coding:
        return CODINGS[_shortest(self, size) if self.coding == AUTO else self.coding]


@lru_cache(maxsize=1024)
def _shortest(compressor: QSGD, size: int) -> str:
    return shortest(compressor._laws(size), compressor.levels)


@dataclass(frozen=True)
class Ternary(QSGD):
    """TernGrad: rounding to -M, 0 and M, where M is the largest magnitude; QSGD with the norm ``"max"`` and one level.

    Parameters
    ----------
    coding, bucket_size
        See `QSGD`.
    """

    levels: int = field(default=1, init=False)
    coding: str = "packed"
    bucket_size: int | None = None
    norm: str = field(default="max", init=False)
