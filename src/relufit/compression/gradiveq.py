"""GradiVeQ: slices of a vector on the principal components of the sums of gradients before it.

Source: M. Yu, Z. Lin, K. Narra, S. Li, Y. Li, N. S. Kim, A. Schwing, M. Annavaram, S. Avestimehr, *GradiVeQ: Vector
Quantization for Bandwidth-Efficient Gradient Aggregation in Distributed CNN Training*, NeurIPS 2018, arXiv:1811.03617.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np

from relufit import streams
from relufit.compression.base import (
    HEADER_BYTES,
    NOT_FINITE,
    Compressor,
    Learner,
    check_vector,
    header,
    output_for,
    split,
)
from relufit.compression.cast import Float32
from relufit.compression.cast_loops import largest_magnitude
from relufit.compression.sparse import NUMBERS, check_values
from relufit.errors import ConfigError, PayloadError, shown
from relufit.numerics.compiled_cache import compiled
from relufit.numerics.simd import draw
from relufit.parameters import whole

_VERSION = 1
_SEED = struct.Struct("<q")
#: P has at most the square of this many numbers, which who decodes has to hold, however short the vector is.
MAX_SLICE = 120
#: Coefficients are sums over a slice, and stay within the range of float64 up to this magnitude.
_LARGEST = 2.0**1000
#: Planes are turned until what is left beside the diagonal is this share of the squares, or so often.
_LEFT, _MOST_SWEEPS = 1e-30, 60


@dataclass(frozen=True)
class GradiVeQ(Compressor):
    """C(v) = P v, the projection of each slice of M coordinates on the same k dimensions; k coefficients are sent.

    Coordinates after the last whole slice are sent as they are. C is biased, so its `variance` is None, and an
    orthogonal projection: ``||C(v) - v||^2 = ||v||^2 - ||C(v)||^2``, apart from rounding of values. It is linear, so
    payloads with the same P could be summed without decoding them. The exchanges decode first, which keeps the bits
    the same in all of them.

    **In a run** P is learnt in periods: vectors of the first `window` iterations of each are sent
    in fp32, and the others on the k principal components of the slices of the steps that the weights took in these,
    which are the sums of the gradients. All members find the same P in the same weights. Nothing can be learnt from
    sums that have been projected: their components are those of P, and what P leaves out would never be sent, with
    error feedback neither. With error feedback the first iteration of a period sends all that was left out before.

    **Alone**, as in `relufit compress`, P is drawn anew for each key, its k dimensions evenly over all directions:
    ``E C(v) = (k/M) v`` and ``E ||C(v) - v||^2 = (1 - k/M) ||v||^2`` for every v of whole slices, as for so many random
    coordinates. That is `contraction`. What a learnt P keeps depends on the gradients: where they have no preferred
    direction it is the same k/M, of k/M of the bytes, and nothing is gained on `rand_k`. Errors of iterations with the
    same P are not independent, so that `encoding` has no moments for theory.

    A payload is the header, with k as its parameter; where P is drawn, a seed in int64, from which it follows; and the
    values: k of each slice, and the coordinates after the last.

    Parameters
    ----------
    components : int
        k, 1 to `slice_size`.
    slice_size : int
        M, 1 to 120.
    values : str
        ``"fp32"`` or ``"fp16"``, see `relufit.compression.cast`.
    window : int
        Iterations that P is learnt from, 1 or more and fewer than `period`.
    period : int
        Iterations from one P to the next.

    Raises
    ------
    ConfigError
        If a parameter is impossible.
    """

    name: ClassVar[str] = "gradiveq"

    components: int = 8
    slice_size: int = 32
    values: str = "fp32"
    window: int = 1
    period: int = 8
    #: The rows of P, (k, M) float64, orthonormal; empty where they are drawn.
    basis: bytes = field(default=b"", init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse impossible parameters."""
        for name, least, most in (
            ("slice_size", 1, MAX_SLICE),
            ("components", 1, self.slice_size),
            ("period", 2, 2**62),
            ("window", 1, self.period - 1 if whole(self.period) else 1),
        ):
            number = whole(getattr(self, name))
            if number is None or not least <= number <= most:
                what = f"{shown(getattr(self, name))} is no possible {name}"
                raise ConfigError(what, where=name, remedy=f"give a whole number from {least} to {most}")
            object.__setattr__(self, name, number)
        check_values(self.values)

    def with_basis(self, basis: np.ndarray) -> Self:
        """Return the compressor with a P that is known to who decodes, by its rows, (k, M) orthonormal."""
        made = type(self)(**self.parameters)
        object.__setattr__(made, "basis", basis.tobytes())
        return made

    def encode(self, vector: np.ndarray, key: int) -> bytes:
        """Return the payload; P is drawn from the stream with that key unless it has been learnt.

        Raises
        ------
        PayloadError
            If the vector holds NaN or infinity, or numbers beyond the range of the values.
        """
        vector = check_vector(vector)
        largest = largest_magnitude(vector)
        if not math.isfinite(largest):
            raise PayloadError(NOT_FINITE)
        if largest > _LARGEST:
            raise PayloadError(f"a magnitude of {largest:g} is beyond {_LARGEST:g}")
        seed = b"" if self.basis else _SEED.pack((key ^ key >> 64) % 2**64 - 2**63)
        sent = np.empty(self._count(vector.size))
        _project(vector, np.ascontiguousarray(self._rows(seed).T), sent)
        return header(self._kind, _VERSION, self.components) + seed + NUMBERS[self.values].write(sent)

    def decode(self, payload: bytes | memoryview, size: int, out: np.ndarray | None = None) -> np.ndarray:
        """Return the vector, (size,) float64 or `out`."""
        vector = output_for(size, out)
        kind, parameter, body = split(payload, _VERSION)
        if (kind, parameter) != (self._kind, self.components):
            raise PayloadError(
                f"a payload of kind {kind} and {parameter} components, not of {self._kind} and {self.components}"
            )
        seed, code = body[: self._seed_bytes], body[self._seed_bytes :]
        sent = NUMBERS[self.values].read(code, self._count(size), np.float64)
        _expand(sent, self._rows(seed), vector)
        if not math.isfinite(largest_magnitude(vector)):
            raise PayloadError(f"numbers beyond the range of {vector.dtype}")
        return vector

    def variance(self, size: int) -> None:
        """Return None: the compressor is biased."""
        return

    def variance_bound(self, size: int) -> None:
        """Return None: the compressor is biased."""
        return

    def contraction(self, size: int) -> float:
        """Return delta of values that are not rounded: the numbers that are sent over those that there are."""
        return self._count(size) / size

    def encoding(self, size: int) -> None:
        """Return None: what is left out in one iteration is left out again in the next, until P is another one."""
        return

    def expected_bits(self, size: int) -> float:
        """Return the bits of every payload."""
        return 8.0 * (HEADER_BYTES + self._seed_bytes + NUMBERS[self.values].length(self._count(size)))

    def learner(self, parts: Sequence[tuple[int, int]]) -> Learner:
        """Return what learns P in a run; its state has M^2 numbers."""
        return _Principal(self, parts)

    @classmethod
    def family(cls, resolutions: Sequence[float]) -> Iterator[tuple[float, Callable[[int], Self]]]:
        """Yield nothing: without moments no plan can be made."""
        yield from ()

    @property
    def _kind(self) -> int:
        return {"fp32": 71, "fp16": 72}[self.values] + 2 * bool(self.basis)

    @property
    def _seed_bytes(self) -> int:
        return 0 if self.basis else _SEED.size

    def _count(self, size: int) -> int:
        """Return how many numbers are sent of a vector."""
        slices, rest = divmod(size, self.slice_size)
        return slices * self.components + rest

    def _rows(self, seed: bytes | memoryview) -> np.ndarray:
        """Return the rows of P: those that are known, or those that follow from the bytes of a seed."""
        if self.basis:
            return np.frombuffer(self.basis).reshape(self.components, self.slice_size).copy()
        if len(seed) < _SEED.size:
            raise PayloadError(f"{len(seed)} bytes are no seed")
        key = streams.key(*_SEED.unpack(seed), purpose="projection")
        return _drawn(streams.words(key), self.components, self.slice_size)  # type: ignore[no-any-return]


class _Principal(Learner):
    """The principal components of the steps of the weights in the first iterations of a period.

    The state is the sum over slices s of these steps of the products s_i s_j, from which the components follow. Sums,
    and the turns by which the components are found, are in one order on every machine.
    """

    def __init__(self, compressor: GradiVeQ, parts: Sequence[tuple[int, int]]) -> None:
        self._compressor, self._parts = compressor, list(parts)
        self.state = np.zeros(compressor.slice_size**2)
        self._iteration, self._weights = -1, np.empty(0)
        self._learnt: GradiVeQ | None = None

    def take(self, iteration: int, weights: np.ndarray) -> None:
        """Note the weights before an iteration."""
        if iteration == self._iteration:
            return
        of_period, moments = iteration % self._compressor.period, self.state.reshape(2 * [self._compressor.slice_size])
        if not of_period:
            moments[:] = 0.0
        elif of_period <= self._compressor.window and self._weights.size:
            for start, stop in self._parts:
                _add_products(weights[start:stop] - self._weights[start:stop], moments)
        self._keep(iteration, weights)

    def restore(self, iteration: int, weights: np.ndarray, state: np.ndarray) -> None:
        """Take up the state before an iteration with those weights."""
        self.state[:] = state
        self._keep(iteration, weights)

    @property
    def compressor(self) -> Compressor:
        """The compressor of the iteration whose weights were taken last: fp32 until P is learnt."""
        kind = self._compressor
        if self._iteration < 0 or self._iteration % kind.period < kind.window:
            return Float32()
        if self._learnt is None:
            moments = self.state.reshape(2 * [kind.slice_size])
            self._learnt = kind.with_basis(_principal(moments, kind.components))
        return self._learnt

    def _keep(self, iteration: int, weights: np.ndarray) -> None:
        learns = iteration % self._compressor.period < self._compressor.window
        self._iteration, self._weights = iteration, weights.copy() if learns else np.empty(0)
        if learns:
            self._learnt = None


@compiled
def _project(vector: np.ndarray, columns: np.ndarray, sent: np.ndarray) -> None:
    """Write the coefficients of each slice, on the columns of an (M, k) array, and the coordinates after the last."""
    size, count = columns.shape
    slices = vector.size // size
    for number in range(slices):
        coefficients = sent[number * count : (number + 1) * count]
        coefficients[:] = 0.0
        for i in range(size):
            v = np.float64(vector[number * size + i])
            for j in range(count):
                coefficients[j] += v * columns[i, j]
    sent[slices * count :] = vector[slices * size :]


@compiled
def _expand(sent: np.ndarray, rows: np.ndarray, vector: np.ndarray) -> None:
    """Write the vector that has such coefficients on the rows of a (k, M) array."""
    count, size = rows.shape
    slices, total = vector.size // size, np.empty(size)
    for number in range(slices):
        total[:] = 0.0
        for j in range(count):
            coefficient = sent[number * count + j]
            for i in range(size):
                total[i] += coefficient * rows[j, i]
        for i in range(size):
            vector[number * size + i] = total[i]
    for i in range(vector.size - slices * size):
        vector[slices * size + i] = sent[slices * count + i]


@compiled
def _add_products(step: np.ndarray, moments: np.ndarray) -> None:
    """Add the products of the numbers of each slice to `moments`, (M, M)."""
    size = moments.shape[0]
    for start in range(0, step.size - size + 1, size):
        for i in range(size):
            for j in range(size):
                moments[i, j] += step[start + i] * step[start + j]


@compiled
def _drawn(key: np.ndarray, count: int, size: int) -> np.ndarray:
    """Return orthonormal rows, (count, size): random numbers, evenly from -1 to 1, made orthogonal one by one.

    The distribution of rows is the same for all orders and signs of the coordinates: each keeps k/M in the mean.
    """
    words, rows = np.empty(size, np.uint32), np.empty((count, size))
    for j in range(count):
        row = rows[j]
        draw(np.uint32(j * size), (key[0], key[1], key[2], key[3]), words)
        for i in range(size):
            row[i] = (2.0 * words[i] + 1.0) * 2.0**-32 - 1.0
        # A second time, for what rounding has left of those before.
        for _ in range(2):
            for before in rows[:j]:
                product = 0.0
                for i in range(size):
                    product += before[i] * row[i]
                for i in range(size):
                    row[i] -= product * before[i]
            squares = 0.0
            for i in range(size):
                squares += row[i] * row[i]
            if squares > 0.0:
                row /= math.sqrt(squares)
    return rows


@compiled
def _principal(moments: np.ndarray, count: int) -> np.ndarray:
    """Return the eigenvectors of the largest eigenvalues of a symmetric matrix as rows, by Jacobi's cyclic method."""
    size = moments.shape[0]
    vectors, largest = np.eye(size), np.max(np.abs(moments))
    a = moments / largest if largest > 0.0 else moments.copy()
    for _ in range(_MOST_SWEEPS):
        beside, squares = 0.0, 0.0
        for p in range(size):
            squares += a[p, p] * a[p, p]
            for q in range(p):
                beside += a[p, q] * a[p, q]
        if beside <= _LEFT * squares:
            break
        for p in range(size - 1):
            for q in range(p + 1, size):
                if a[p, q] == 0.0:
                    continue
                theta = 0.5 * (a[q, q] - a[p, p]) / a[p, q]
                tangent = 1.0 / (abs(theta) + math.sqrt(theta * theta + 1.0))
                cosine = 1.0 / math.sqrt(tangent * tangent + 1.0)
                sine = cosine * (tangent if theta >= 0.0 else -tangent)
                for i in range(size):
                    first, second = a[i, p], a[i, q]
                    a[i, p], a[i, q] = cosine * first - sine * second, sine * first + cosine * second
                for i in range(size):
                    first, second = a[p, i], a[q, i]
                    a[p, i], a[q, i] = cosine * first - sine * second, sine * first + cosine * second
                    first, second = vectors[p, i], vectors[q, i]
                    vectors[p, i], vectors[q, i] = cosine * first - sine * second, sine * first + cosine * second
    rows, taken = np.empty((count, size)), np.zeros(size, np.bool_)
    for j in range(count):
        best = -1
        for p in range(size):
            if not taken[p] and (best < 0 or a[p, p] > a[best, best]):
                best = p
        taken[best] = True
        rows[j] = vectors[best]
    return rows
