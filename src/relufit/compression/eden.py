"""DRIVE and EDEN: a random rotation, then each coordinate to the nearest of 2^bits numbers, and one scale.

Sources: S. Vargaftik, R. Ben-Basat, A. Portnoy, G. Mendelson, Y. Ben-Itzhak, M. Mitzenmacher, *DRIVE: One-bit
Distributed Mean Estimation*, NeurIPS 2021, arXiv:2105.08339, which is one bit; *EDEN: Communication-Efficient and
Robust Distributed Mean Estimation for Federated Learning*, ICML 2022, arXiv:2108.08842.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from typing import ClassVar, Self

import numpy as np

from relufit import theory
from relufit.compression.base import (
    HEADER_BYTES,
    NOT_FINITE,
    OVERFLOW,
    Compressor,
    ScratchBuffer,
    check_range,
    check_vector,
    header,
    output_for,
    split,
)
from relufit.compression.cast_loops import largest_magnitude
from relufit.compression.coding.packed import pack_last, unpack_last
from relufit.compression.levels import BLOCK
from relufit.errors import ConfigError, PayloadError
from relufit.numerics.compiled_cache import compiled
from relufit.numerics.kernels import energy
from relufit.numerics.rotation import rotate, rotate_back
from relufit.numerics.simd import dots, from_levels, pack, to_levels, unpack
from relufit.parameters import whole
from relufit.streams import words

_KIND, _VERSION = 80, 1
#: The seed of the rotation, and the scale.
_START = struct.Struct("<16sd")
MAX_BITS = 4
#: Squared norms between these have lost nothing to underflow or overflow.
_SMALL, _LARGE = 1e-250, 1e250


@dataclass(frozen=True)
class Eden(Compressor):
    """Q(v) = S R^-1 c(z), where R is a random rotation and z = sqrt(d) R v / ||v|| is rounded to c(z).

    Each z_i is rounded to the nearest of the 2^bits numbers that represent a standard normal one with the least mean
    squared error (Lloyd-Max). The scale ``S = ||v||^2 / <R v, c(z)>`` gives ``<Q(v), v> = ||v||^2``.

    R is made of signs and Walsh-Hadamard transforms, see `relufit.numerics.rotation`. With a uniformly distributed
    rotation Q would be unbiased; with this one the bias vanishes as d grows. In 10,000 draws of one bit for each of
    seven sparse or smooth vectors, it was chance from d = 100 on, below 0.01 of the norm at d = 64, and up to 0.05 at
    16 and 7 and 0.17 at 3; with three bits it was up to 0.03 at d = 3. `variance` holds for a random direction with any
    rotation. The error of those vectors was within 2 % of it from d = 100 on, with three bits 4 % at d = 64.

    A payload is the header, which carries `bits`; the seed of R, 16 bytes, which is the key; S in float64; and `bits`
    for each coordinate. The zero vector, and one whose scale rounds to zero, is a header alone.

    Parameters
    ----------
    bits : int
        Bits a coordinate, 1 to 4; with 1 it is DRIVE.

    Raises
    ------
    ConfigError
        If the parameter is impossible.
    """

    name: ClassVar[str] = "eden"

    bits: int = 1

    def __post_init__(self) -> None:
        """Refuse an impossible parameter."""
        bits = whole(self.bits)
        if bits is None or not 1 <= bits <= MAX_BITS:
            raise ConfigError(f"{self.bits!r} bits a coordinate", where="bits", remedy=f"give 1 to {MAX_BITS}")
        object.__setattr__(self, "bits", bits)

    def encode(self, vector: np.ndarray, key: int) -> bytes:
        """Return the payload; the rotation is drawn from the stream with that key.

        Raises
        ------
        PayloadError
            If the vector holds NaN or infinity, or if what is decoded could be beyond the range of float64.
        """
        return bytes(self.pieces(vector, key))

    def pieces(
        self, vector: np.ndarray, key: int, scratch: ScratchBuffer | None = None, squares: float = math.nan
    ) -> bytes | memoryview:
        """Return the payload, made in `scratch` if that is given."""
        vector, exponent = check_vector(vector), 0
        if not _SMALL < squares < _LARGE:
            squares = energy(vector)
        if not _SMALL < squares < _LARGE:
            vector, exponent = _scaled(vector)
            squares = energy(vector)
        start = header(_KIND, _VERSION, self.bits)
        if not squares:
            return start
        length, scratch = self._length(vector.size), scratch or ScratchBuffer()
        end = _START.size + length
        # The rotated vector has its place behind the payload, at a multiple of four bytes.
        memory = scratch.begin(start, end + 4 * (vector.size + 1), zeros=False)
        first = end + -(memory.ctypes.data + end) % 4
        rotated = memory[first : first + 4 * vector.size].view(np.float32)
        rotate(vector, math.sqrt(vector.size / squares), words(key), rotated)
        product = _encode(rotated, *_codebook(self.bits), self.bits, memory[_START.size : end])
        try:
            scale = math.ldexp(math.sqrt(squares * vector.size) / product, exponent)
        except OverflowError:
            scale = math.inf
        if not scale:
            return start
        if not math.isfinite(self._largest(scale, vector.size)):
            raise PayloadError(OVERFLOW, remedy="divide the vector by a number")
        memory[: _START.size] = np.frombuffer(_START.pack(words(key).tobytes(), scale), np.uint8)
        return scratch.finish(_START.size + length)

    def decode(self, payload: bytes | memoryview, size: int, out: np.ndarray | None = None) -> np.ndarray:
        """Return the vector, (size,) float64 or `out`."""
        kind, bits, body = split(payload, _VERSION)
        if (kind, bits) != (_KIND, self.bits):
            raise PayloadError(f"a payload of kind {kind} with {bits} bits, not {_KIND} with {self.bits}")
        vector = output_for(size, out)
        if not len(body):
            vector[:] = 0
            return vector
        if len(body) != _START.size + self._length(size):
            raise PayloadError(f"a body of {len(body)} bytes is none of {size} coordinates in {bits} bits")
        seed, scale = _START.unpack_from(body)
        largest = self._largest(scale, size)
        if not 0 < scale < math.inf or not math.isfinite(largest):
            raise PayloadError(f"a scale of {scale!r}, with which numbers may be beyond double precision")
        check_range(largest, vector.dtype)
        code = np.frombuffer(body, np.uint8, offset=_START.size)
        # Half of the memory of the result: it is filled from its beginning, behind what is read.
        rotated = vector.view(np.float32)[-size:]
        if not _decode(code, _codebook(bits)[1], bits, rotated):
            raise PayloadError("bits other than zero at the end of the levels")
        rotate_back(rotated, words(int.from_bytes(seed, "little")), scale, vector)
        return vector

    def variance(self, size: int) -> float:
        """Return omega; see `relufit.theory.eden_variance`. It is the mean over directions whatever the rotation is."""
        return _variance(size, self.bits)

    def variance_bound(self, size: int) -> None:
        """Return None: the published bounds are for a uniformly distributed rotation, which this one is not."""
        return

    def expected_bits(self, size: int) -> float:
        """Return the bits of every payload but that of the zero vector."""
        return 8.0 * (HEADER_BYTES + _START.size + self._length(size))

    def resolution(self, size: int) -> float:
        """Return the bits a coordinate: seconds depend on them, as on the levels of other compressors."""
        return float(self.bits)

    @classmethod
    def family(cls, resolutions: Sequence[float]) -> Iterator[tuple[float, Callable[[int], Self]]]:
        """Yield each number of bits."""
        for bits in range(1, MAX_BITS + 1):
            yield float(bits), partial(cls._with, bits)

    @classmethod
    def _with(cls, bits: int, size: int) -> Self:
        return cls(bits)

    def _length(self, size: int) -> int:
        """Return the bytes of the levels."""
        return -(-size * self.bits // 8)

    def _largest(self, scale: float, size: int) -> float:
        """Return a number that the Euclidean norm of what is decoded does not exceed, rounding included."""
        return 1.001 * scale * math.sqrt(size) * _largest_level(self.bits)


@cache
def _largest_level(bits: int) -> float:
    return float(theory.lloyd_max(bits)[-1])


@lru_cache(maxsize=1024)
def _variance(size: int, bits: int) -> float:
    return theory.eden_variance(size, bits)


def _scaled(vector: np.ndarray) -> tuple[np.ndarray, int]:
    """Return a vector over a power of two, so that the largest magnitude is from 1/2 to 1 or zero, and the exponent."""
    largest = largest_magnitude(vector)
    if not math.isfinite(largest):
        raise PayloadError(NOT_FINITE)
    exponent = math.frexp(largest)[1]
    return np.ldexp(vector.astype(np.float64), -exponent), exponent


@cache
def _codebook(bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the limits between the levels above zero, and these levels, in float32."""
    levels = theory.lloyd_max(bits)[2 ** (bits - 1) :]
    return ((levels[1:] + levels[:-1]) / 2).astype(np.float32), levels.astype(np.float32)


@compiled
def _encode(z: np.ndarray, limits: np.ndarray, levels: np.ndarray, bits: int, body: np.ndarray) -> float:
    """Write the levels of `z`, float32, to `body`, and return its inner product with them."""
    indices, nearest, product = np.empty(BLOCK, np.int16), np.empty(BLOCK, np.float32), 0.0
    for start in range(0, z.size, BLOCK):
        some = z[start : start + BLOCK]
        index, level = indices[: some.size], nearest[: some.size]
        to_levels(some, limits, levels, index, level)
        product += dots((level,), some)[0]
        full = some.size // 256 * 256
        at = start * bits // 8
        pack(index[:full], np.int32(0), np.int32(bits), body[at:])
        pack_last(index[full:], 0, bits, body[at + full * bits // 8 :])
    return product


@compiled
def _decode(body: np.ndarray, levels: np.ndarray, bits: int, z: np.ndarray) -> bool:
    """Write the levels of the code `body` to `z`, float32, and tell whether its last bits are zeros."""
    indices = np.empty(BLOCK, np.int16)
    for start in range(0, z.size, BLOCK):
        some = z[start : start + BLOCK]
        index = indices[: some.size]
        full = some.size // 256 * 256
        at = start * bits // 8
        unpack(body[at:], np.int32(0), np.int32(bits), index[:full])
        if unpack_last(body[at + full * bits // 8 :], 0, bits, index[full:]) >> bits:
            return False
        from_levels(index, levels, some)
    return True
