"""QSGD: stochastic rounding of each coordinate to a multiple of norm / levels; TernGrad is its coarsest form.

Sources: D. Alistarh, D. Grubic, J. Li, R. Tomioka, M. Vojnovic, *QSGD: Communication-Efficient SGD via Gradient
Quantization and Encoding*, NIPS 2017, arXiv:1610.02132, section 3.1; W. Wen, C. Xu, F. Yan, C. Wu, Y. Wang, Y. Chen,
H. Li, *TernGrad: Ternary Gradients to Reduce Communication in Distributed Deep Learning*, NIPS 2017,
arXiv:1705.07878.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import ClassVar, Self

import numpy as np

from relufit import theory
from relufit.compression.base import (
    HEADER_BYTES,
    NOT_FINITE,
    OVERFLOW,
    Anatomy,
    Compressor,
    Pieces,
    ScratchBuffer,
    check_range,
    check_vector,
    header,
    output_for,
    split,
)
from relufit.compression.choice import AUTO, check_coding, coding_of, name_of, shortest
from relufit.compression.coding import CODINGS, Coding, Law
from relufit.compression.coding.base import no_code_message
from relufit.compression.coding.packed import Packed
from relufit.compression.grid import Added, Restored, Rounded, check_norms, norms_of
from relufit.compression.packed_terms import PackedTerm
from relufit.compression.sums import MAX_FUSED, Terms
from relufit.errors import ConfigError, PayloadError
from relufit.parameters import whole
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

    name: ClassVar[str] = "qsgd"

    levels: int
    coding: str = "packed"
    bucket_size: int | None = None
    norm: str = "l2"

    def __post_init__(self) -> None:
        """Refuse impossible parameters."""
        levels, size = whole(self.levels), whole(self.bucket_size)
        if levels is None or not 1 <= levels <= MAX_LEVELS:
            raise ConfigError(f"{self.levels!r} quantization levels", where="levels", remedy=f"give 1 to {MAX_LEVELS}")
        check_coding(self.coding)
        if self.bucket_size is not None and (size is None or size < 1):
            raise ConfigError(
                f"buckets of {self.bucket_size!r} coordinates", where="bucket_size", remedy="give at least 1, or none"
            )
        if self.norm not in NORMS:
            raise ConfigError(f"unknown norm {self.norm!r}", where="norm", remedy=f"choose one of {', '.join(NORMS)}")
        object.__setattr__(self, "levels", levels)
        object.__setattr__(self, "bucket_size", size)

    def encode(self, vector: np.ndarray, key: int) -> bytes:
        """Return the payload; the roundings are drawn from the stream with that key."""
        return bytes(self.pieces(vector, key))

    def pieces(
        self, vector: np.ndarray, key: int, scratch: ScratchBuffer | None = None, squares: float = math.nan
    ) -> bytes | memoryview:
        """Return the payload, made in `scratch` if that is given."""
        vector = check_vector(vector)
        bucket = self._bucket(vector.size)
        norms = norms_of(vector, bucket, self.norm, squares)
        sound, some = check_norms(norms)
        if not sound:
            raise _cannot_be_sent(vector)
        coding = self._coding(vector.size)
        start = header(coding.kind, _VERSION, self.levels)
        if not some:
            return start
        levels = Rounded(vector, norms, self.levels, bucket, words(key))
        return coding.write(levels, self.levels, start + norms.tobytes(), scratch or ScratchBuffer())

    def decode(self, payload: bytes | memoryview, size: int, out: np.ndarray | None = None) -> np.ndarray:
        """Return the vector, (size,) float64 or `out`."""
        vector = output_for(size, out)
        if not self._give(payload, vector, Restored):
            vector[:] = 0
        return vector

    def add(self, payload: bytes | memoryview, total: np.ndarray, scratch: np.ndarray) -> None:
        """Add the vector to `total` as it is decoded; `scratch` is not needed."""
        self._give(payload, total, Added)

    def max_fused_payloads(self, size: int) -> int:
        """Return how many payloads are read side by side: levels of a fixed width can be read from any block on."""
        return MAX_FUSED if self._coding(size).fixed_width else 1

    def terms(self, payloads: Sequence[Pieces], size: int) -> Terms | None:
        """Return the levels of payloads in a fixed width; vectors of zeros are left out."""
        if not self._coding(size).fixed_width:
            return None
        bucket, terms = self._bucket(size), list[PackedTerm]()
        for payload in payloads:
            parsed = self._read(payload, size, np.float64)
            if parsed is None:
                continue
            coding, norms, body = parsed
            if not coding.fixed_width:
                return None
            # Compiled loops take numbers at their natural places.
            terms.append(PackedTerm(Packed.checked(body, size, self.levels), norms.copy(), self.levels, bucket))
        return Terms.of(terms, no_code_message(size, self.levels)) if terms else None

    def _give(self, payload: bytes | memoryview, vector: np.ndarray, how: type[Restored | Added]) -> bool:
        """Give the levels of a payload to a vector, and return whether there were any."""
        parsed = self._read(payload, vector.size, vector.dtype)
        if parsed is None:
            return False
        coding, norms, body = parsed
        coding.restore(body, how(vector, norms, self.levels, self._bucket(vector.size)), self.levels)
        return True

    def _read(
        self, payload: Pieces, size: int, dtype: np.typing.DTypeLike
    ) -> tuple[Coding, np.ndarray, np.ndarray] | None:
        """Return the coding, the norms and the levels of a payload for a vector of a type; None if that is zero."""
        kind, levels, body = split(payload, _VERSION)
        coding = coding_of(kind, self.coding)
        if levels != self.levels:
            raise PayloadError(f"a payload of {levels} levels, not {self.levels}")
        if not len(body):
            return None
        buckets = -(-size // self._bucket(size))
        ends = _NORM.itemsize * buckets
        if len(body) < ends:
            raise PayloadError(f"a body of {len(body)} bytes has not the norms of {size} coordinates")
        norms = np.frombuffer(body, _NORM, buckets)
        if check_norms(norms) != (True, True):
            raise PayloadError("a norm that is negative or not finite, or none above zero")
        check_range(norms, dtype)
        return coding, norms, np.frombuffer(body, np.uint8, offset=ends)

    def variance(self, size: int) -> float:
        """Return omega; a bucket has its share of the energy and the omega of its own size."""
        return sum(count * part * _variance(part, self.levels, self.norm) for count, part in self._parts(size)) / size

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

    def coding_name(self, size: int) -> str:
        """Return the name of the coding, that of the shortest one if it is ``"auto"``."""
        return _shortest(self, size) if self.coding == AUTO else self.coding

    def resolution(self, size: int) -> float:
        """Return the levels over the root of the size."""
        return self.levels / math.sqrt(size)

    @classmethod
    def family(cls, resolutions: Sequence[float]) -> Iterator[tuple[float, Callable[[int], Self]]]:
        """Yield each resolution in each coding, over whole vectors."""
        for coding in CODINGS:
            for resolution in resolutions:
                yield resolution, partial(cls._at, resolution, coding)

    @classmethod
    def _at(cls, resolution: float, coding: str, size: int) -> Self:
        return cls(min(MAX_LEVELS, max(1, round(resolution * math.sqrt(size)))), coding)

    def anatomy(self, payload: bytes, size: int) -> Anatomy:
        """Return the parts of a payload; the levels are the symbols."""
        start = min(HEADER_BYTES + _NORM.itemsize * -(-size // self._bucket(size)), len(payload))
        # With s in place of each norm the decoded numbers are the levels.
        norms = np.full((start - HEADER_BYTES) // _NORM.itemsize, float(self.levels))
        levels = self.decode(payload[:HEADER_BYTES] + norms.tobytes() + payload[start:], size)
        return Anatomy(start, name_of(payload[0]), levels.astype(np.int16))

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
        return CODINGS[self.coding_name(size)]


def _cannot_be_sent(vector: np.ndarray) -> PayloadError:
    """Return what is wrong with a vector that has a norm which is not finite."""
    if not np.isfinite(vector).all():
        return PayloadError(NOT_FINITE)
    return PayloadError(OVERFLOW, remedy="divide the vector by a number, or take the norm 'max'")


@lru_cache(maxsize=1024)
def _variance(size: int, levels: int, norm: str) -> float:
    return theory.qsgd_variance(size, levels, norm=norm)


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

    name: ClassVar[str] = "ternary"

    levels: int = field(default=1, init=False)
    coding: str = "packed"
    bucket_size: int | None = None
    norm: str = field(default="max", init=False)

    def resolution(self, size: int) -> float:
        """Return 0: there is one level, whatever the size is."""
        return 0.0

    @classmethod
    def family(cls, resolutions: Sequence[float]) -> Iterator[tuple[float, Callable[[int], Self]]]:
        """Yield each coding, over whole vectors."""
        for coding in CODINGS:
            yield 0.0, partial(cls._in, coding)

    @classmethod
    def _in(cls, coding: str, size: int) -> Self:
        return cls(coding=coding)
