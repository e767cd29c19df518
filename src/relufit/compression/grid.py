"""Vectors to levels on a grid of multiples of norm / s, by stochastic rounding, and back; a norm for each bucket."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba.extending import overload

from relufit.compression.levels import is_a, put, take
from relufit.numerics.compiled_cache import compiled
from relufit.numerics.kernels import energy
from relufit.numerics.simd import round_levels

#: For each precision the integers that its numbers are read as, and the bits of a magnitude.
MAGNITUDE_BITS: dict[str, tuple[Any, Any]] = {
    "f": (np.dtype(np.uint32), np.uint32(2**31 - 1)),
    "d": (np.dtype(np.uint64), np.uint64(2**63 - 1)),
}
#: Norms between these can be divided by s, and s by them, in full precision.
_TINY, _HUGE = 1e-290, 1e290
#: Squared norms between these have lost nothing to underflow or overflow.
_SMALL, _LARGE = 1e-250, 1e250


class Rounded(NamedTuple):
    """Levels that are rounded from a vector as they are taken."""

    vector: np.ndarray
    norms: np.ndarray
    s: int
    bucket: int
    key: np.ndarray

    @property
    def size(self) -> int:
        """The number of levels."""
        return int(self.vector.size)


class Restored(NamedTuple):
    """A vector that is filled with levels times norm / s as they are put."""

    vector: np.ndarray
    norms: np.ndarray
    s: int
    bucket: int

    @property
    def size(self) -> int:
        """The number of levels."""
        return int(self.vector.size)


class Added(NamedTuple):
    """As `Restored`, but the levels times norm / s are added to the vector."""

    vector: np.ndarray
    norms: np.ndarray
    s: int
    bucket: int

    @property
    def size(self) -> int:
        """The number of levels."""
        return int(self.vector.size)


def norms_of(v: np.ndarray, bucket: int, norm: str, squares: float = math.nan) -> np.ndarray:
    """Return the norm of each bucket, ``"l2"`` or ``"max"``, in float64; not finite where an element is not.

    `squares` is `relufit.numerics.kernels.energy` of `v`, if that is known.
    """
    count = -(-v.size // bucket)
    if norm == "l2" and count == 1 and _SMALL < squares < _LARGE:
        return np.array([math.sqrt(squares)])
    if norm == "l2":
        norms = np.empty(count)
        _euclidean(v, bucket, norms)
        return norms
    # Magnitudes are ordered as their bits are, infinity and NaN above all numbers.
    kind, mask = MAGNITUDE_BITS[v.dtype.char]
    largest = np.empty(count, kind)
    _largest_bits(v.view(kind), mask, bucket, largest)
    return largest.view(v.dtype).astype(np.float64)


def check_norms(norms: np.ndarray) -> tuple[bool, bool]:
    """Tell whether all norms are finite and at least zero, and whether there is one above zero."""
    if norms.size > 1:
        return _check_norms(norms)  # type: ignore[no-any-return]
    norm = norms.item()
    return 0.0 <= norm < math.inf, norm > 0.0


@compiled
def _check_norms(norms: np.ndarray) -> tuple[bool, bool]:
    sound, some = True, False
    for norm in norms:
        sound &= 0.0 <= norm < math.inf
        some |= norm > 0.0
    return sound, some


@compiled
def _largest_bits(v: np.ndarray, mask: np.uint64, bucket: int, out: np.ndarray) -> None:
    for j in range(out.size):
        largest = mask & v[j * bucket]
        for bits in v[j * bucket : min((j + 1) * bucket, v.size)]:
            largest = max(largest, bits & mask)
        out[j] = largest


@compiled
def _euclidean(v: np.ndarray, bucket: int, norms: np.ndarray) -> None:
    for j in range(norms.size):
        norms[j] = _norm(v[j * bucket : min((j + 1) * bucket, v.size)])


@compiled
def _largest(v: np.ndarray) -> float:
    """Return the largest magnitude; NaN if there is NaN or infinity."""
    largest = 0.0
    for value in v:
        if not abs(value) < math.inf:
            return math.nan
        largest = max(largest, np.float64(abs(value)))
    return largest


@compiled
def _norm(v: np.ndarray) -> float:
    """Return the Euclidean norm without overflow or underflow; not finite if an element is not, or if it is not.

    Neither products nor partial sums of them get smaller as they are rounded, and a sum of positive numbers is at
    least each of them: so no magnitude exceeds the result by more than a rounding error.
    """
    squares = energy(v)
    if _SMALL < squares < _LARGE:
        return math.sqrt(squares)
    largest = _largest(v)
    if not largest > 0.0:
        return largest
    squares = 0.0
    for value in v:
        squares += (np.float64(value) / largest) * (np.float64(value) / largest)
    return largest * math.sqrt(squares)


@compiled
def _round(source: Rounded, start: int, levels: np.ndarray) -> None:
    """Round towards zero after a random part of a level was added.

    With |v_i| / norm <= 1 + 1e-15 and u_i <= 1 - 2^-32 no level exceeds s < 2^15.
    """
    key = (source.key[0], source.key[1], source.key[2], source.key[3])
    at, end = start, start + levels.size
    while at < end:
        bucket = at // source.bucket
        stop = min((bucket + 1) * source.bucket, end)
        norm, v, some = source.norms[bucket], source.vector[at:stop], levels[at - start : stop - start]
        if norm == 0.0:
            some[:] = 0
        elif _TINY < norm < _HUGE:
            round_levels(v, source.s / norm, np.uint32(at), key, some)
        else:
            round_levels(v / norm, np.float64(source.s), np.uint32(at), key, some)
        at = stop


@compiled
def add_levels(v: np.ndarray, norms: np.ndarray, s: int, bucket: int, start: int, levels: np.ndarray) -> None:
    """Add levels times norm / s to `v`, both being those from index `start` on."""
    at, end = start, start + levels.size
    while at < end:
        number = at // bucket
        stop = min((number + 1) * bucket, end)
        norm, sums, some = norms[number], v[at - start : stop - start], levels[at - start : stop - start]
        if _TINY < norm < _HUGE:
            factor = norm / s
            for i in range(sums.size):
                sums[i] += some[i] * factor
        else:
            for i in range(sums.size):
                sums[i] += some[i] / s * norm
        at = stop


@compiled
def _add(target: Added, start: int, levels: np.ndarray) -> None:
    """Add to each number what `_restore` would replace it by."""
    v = target.vector[start : start + levels.size]
    add_levels(v, target.norms, target.s, target.bucket, start, levels)


@compiled
def _restore(target: Restored, start: int, levels: np.ndarray) -> None:
    at, end = start, start + levels.size
    while at < end:
        bucket = at // target.bucket
        stop = min((bucket + 1) * target.bucket, end)
        norm, v, some = target.norms[bucket], target.vector[at:stop], levels[at - start : stop - start]
        if _TINY < norm < _HUGE:
            factor = norm / target.s
            for i in range(v.size):
                v[i] = some[i] * factor
        else:
            for i in range(v.size):
                v[i] = some[i] / target.s * norm
        at = stop


@overload(take)
def _take(source, start, levels):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    if not is_a(source, Rounded):
        return None
    return lambda source, start, levels: _round(source, start, levels)


@overload(put)
def _put(target, start, levels):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    if not is_a(target, Restored):
        return None
    return lambda target, start, levels: _restore(target, start, levels)


@overload(put)
def _put_added(target, start, levels):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    if not is_a(target, Added):
        return None
    return lambda target, start, levels: _add(target, start, levels)
