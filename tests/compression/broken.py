"""Compressors with defects that others were published with, as the checks are to find them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from references import (
    Array,
)

from relufit import streams, theory
from relufit.compression import Compressor
from relufit.compression.base import NOT_FINITE, check_vector, output_for
from relufit.errors import PayloadError


@dataclass(frozen=True)
class Broken(Compressor):
    """A quantizer to s levels of the largest magnitude, sound as it is; each subclass has one of the defects.

    A payload is the largest magnitude, then for each coordinate a level and a sign, all in float64.
    """

    name: ClassVar[str] = "broken"
    levels: ClassVar[int] = 4

    def dither(self, size: int, key: int) -> Array:
        return streams.generator(key).random(size)

    def quantize(self, vector: Array, dither: Array) -> tuple[float, NDArray[Any]]:
        largest = float(np.max(np.abs(vector)))
        return largest, np.floor(np.abs(vector) / (largest or 1.0) * self.levels + dither)

    def encode(self, vector: Array, key: int) -> bytes:
        vector = check_vector(vector)
        if not np.isfinite(vector).all():
            raise PayloadError(NOT_FINITE)
        largest, level = self.quantize(vector, self.dither(vector.size, key))
        return np.concatenate([[largest], level, np.signbit(vector)]).tobytes()

    def read(self, payload: bytes | memoryview, size: int) -> tuple[float, Array, Array]:
        """The largest magnitude, the levels and the signs of a valid payload."""
        numbers = np.frombuffer(payload, "<f8") if len(payload) == 8 * (1 + 2 * size) else np.zeros(0)
        if not (numbers.size and 0 <= numbers[0] < math.inf):
            raise PayloadError("no payload of that size")
        level, negative = np.split(numbers[1:], 2)
        if not (np.isin(level, np.arange(self.levels + 2)).all() and np.isin(negative, (0, 1)).all()):
            raise PayloadError("no levels, or no signs")
        return float(numbers[0]), level, negative

    def decode(self, payload: bytes | memoryview, size: int, out: Array | None = None) -> Array:
        vector = output_for(size, out)
        largest, level, negative = self.read(payload, size)
        with np.errstate(over="ignore"):
            vector[:] = level / self.levels * largest * np.where(negative, -1.0, 1.0)
        if not np.isfinite(vector).all():
            raise PayloadError("a magnitude beyond double precision")
        return vector

    def variance(self, size: int) -> float | None:
        return theory.qsgd_variance(size, self.levels, norm="max")

    def variance_bound(self, size: int) -> float | None:
        return theory.qsgd_variance_bound(size, self.levels, norm="max")


class InvertedBytes(Broken):
    def read(self, payload: bytes | memoryview, size: int) -> tuple[float, Array, Array]:
        largest, level, negative = super().read(payload, size)
        positive = ~negative.astype(np.uint8)
        return largest, level, np.where(positive, 0.0, 1.0)


class RandomHalf(Broken):
    def encode(self, vector: Array, key: int) -> bytes:
        vector = check_vector(vector)
        if not np.isfinite(vector).all():
            raise PayloadError(NOT_FINITE)
        return np.where(streams.generator(key).random(vector.size) < 0.5, vector, 0.0).astype("<f8").tobytes()

    def decode(self, payload: bytes | memoryview, size: int, out: Array | None = None) -> Array:
        vector = output_for(size, out)
        if len(payload) != 8 * size or not np.isfinite(np.frombuffer(payload, "<f8")).all():
            raise PayloadError("no payload of that size")
        vector[:] = np.frombuffer(payload, "<f8")
        return vector

    def variance(self, size: int) -> float | None:
        return 0.5


class Remembering(Broken):
    def encode(self, vector: Array, key: int) -> bytes:
        object.__setattr__(self, "_vector", vector)
        return super().encode(vector, key)

    def decode(self, payload: bytes | memoryview, size: int, out: Array | None = None) -> Array:
        vector = output_for(size, out)
        self.read(payload, size)
        vector[:] = getattr(self, "_vector", np.zeros(size))
        return vector


class OneGenerator(Broken):
    """Of a key it uses its place among the keys that it has seen: neighbours start one number apart."""

    def __init__(self) -> None:
        object.__setattr__(self, "_keys", [])
        object.__setattr__(self, "_numbers", np.random.default_rng(0).random(2**21))

    def dither(self, size: int, key: int) -> Array:
        self._keys.append(key)  # type: ignore[attr-defined]
        return self._numbers[len(self._keys) :][:size]  # type: ignore[attr-defined, no-any-return]


class SinglePrecision(Broken):
    levels: ClassVar[int] = 127

    def quantize(self, vector: Array, dither: Array) -> tuple[float, NDArray[Any]]:
        single = vector.astype(np.float32)
        largest = np.max(np.abs(single))
        return float(largest), np.floor(
            np.abs(single) / (largest or np.float32(1)) * np.float32(self.levels) + dither.astype(np.float32)
        )


# Each of the defects is found by the public suite, by the check that is for it.


class SharedStream(Broken):
    """All ranks draw the same numbers."""

    def dither(self, size: int, key: int) -> Array:
        return super().dither(size, streams.key(1))


class ShiftedStreams(Broken):
    """Neighbouring keys start at neighbouring places, whatever was encoded before."""

    def dither(self, size: int, key: int) -> Array:
        return np.random.default_rng(0).random(size + 4)[key % 4 :][:size]


class ToNearest(Broken):
    """A random part of a level is never added."""

    def dither(self, size: int, key: int) -> Array:
        return np.full(size, 0.5)


class SecretDraws(Broken):
    """It says that nothing is drawn."""

    random: ClassVar[bool] = False
