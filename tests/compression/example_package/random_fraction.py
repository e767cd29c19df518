"""Random sparsification: each coordinate is kept with probability `fraction`, and divided by it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from relufit import streams
from relufit.compression import Compressor
from relufit.compression.base import HEADER_BYTES, check_vector, header, output_for, split
from relufit.errors import ConfigError, PayloadError

KIND, VERSION = 200, 1


@dataclass(frozen=True)
class RandomFraction(Compressor):
    """Q(v)_i = v_i / fraction with probability `fraction`, else 0, in single precision.

    A payload is the header, a bit for each coordinate, 1 where it is kept, and the kept numbers.
    """

    name: ClassVar[str] = "random_fraction"

    fraction: float = 0.25

    def __post_init__(self) -> None:
        if not (isinstance(self.fraction, float) and 0 < self.fraction <= 1):
            raise ConfigError(f"{self.fraction!r}", where="fraction", remedy="give a number above 0, at most 1.0")

    def encode(self, vector: np.ndarray, key: int) -> bytes:
        vector = check_vector(vector)
        if not np.isfinite(vector).all():
            raise PayloadError("NaN or infinity in the vector")
        kept = streams.generator(key).random(vector.size) < self.fraction
        with np.errstate(over="ignore"):
            numbers = (vector[kept] / np.float64(self.fraction)).astype("<f4")
        if not np.isfinite(numbers).all():
            raise PayloadError("numbers beyond the range of float32")
        return header(KIND, VERSION) + np.packbits(kept).tobytes() + numbers.tobytes()

    def decode(self, payload: bytes | memoryview, size: int, out: np.ndarray | None = None) -> np.ndarray:
        kind, _, body = split(payload, VERSION)
        bits = -(-size // 8)
        if kind != KIND or len(body) < bits or (len(body) - bits) % 4:
            raise PayloadError(f"a payload of kind {kind} with {len(body)} bytes is none of {size} coordinates")
        kept = np.unpackbits(np.frombuffer(body[:bits], np.uint8)).astype(bool)
        numbers = np.frombuffer(body[bits:], "<f4")
        if kept[size:].any() or np.count_nonzero(kept) != numbers.size or not np.isfinite(numbers).all():
            raise PayloadError(f"{numbers.size} numbers that are not those of the bits before them")
        vector = output_for(size, out)
        vector[:] = 0
        vector[kept[:size]] = numbers
        return vector

    def variance(self, size: int) -> float:
        return 1 / self.fraction - 1

    def variance_bound(self, size: int) -> float:
        return 1 / self.fraction - 1

    def expected_bits(self, size: int) -> float:
        return 8.0 * (HEADER_BYTES + -(-size // 8)) + 32 * self.fraction * size
