"""What a check is, and what several checks share."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from relufit import streams
from relufit.compression import Compressor

#: Lengths of vectors: the least ones, those around whole bytes and blocks, and one that fills no block.
SIZES = (1, 2, 3, 7, 64, 255, 256, 257, 1001, 2**14 + 5)


@dataclass(frozen=True)
class Check:
    """One promise.

    Parameters
    ----------
    run : callable
        Takes a compressor and raises AssertionError if it breaks the promise.
    """

    run: Callable[[Compressor], None]

    @property
    def name(self) -> str:
        """The name of the function, without what all of them begin with."""
        return self.run.__name__.removeprefix("check_")

    @property
    def description(self) -> str:
        """The first line of the function's docstring."""
        return inspect.getdoc(self.run).splitlines()[0]  # type: ignore[union-attr]  # each has one


def gaussian(size: int, seed: int = 0) -> np.ndarray:
    """Return a vector of standard normal numbers, (size,) float64."""
    return np.random.default_rng([size, seed]).standard_normal(size)


def sent(compressor: Compressor, vector: np.ndarray, key: int) -> np.ndarray:
    """Return what arrives of a vector."""
    return compressor.decode(compressor.encode(vector, key), vector.size)


def is_random(compressor: Compressor, size: int) -> bool:
    """Return whether a compressor says that it draws."""
    return bool(compressor.variance(size))


def same(one: np.ndarray, other: np.ndarray) -> bool:
    """Return whether two vectors have the same bytes."""
    return one.dtype == other.dtype and one.tobytes() == other.tobytes()


def neighbours(seed: int) -> list[int]:
    """Return a key, and those that differ from it by one name alone: seed, rank, iteration and purpose."""
    return [
        streams.key(seed, rank=3, iteration=7),
        streams.key(seed + 1, rank=3, iteration=7),
        streams.key(seed, rank=4, iteration=7),
        streams.key(seed, rank=3, iteration=8),
        streams.key(seed, rank=3, iteration=7, purpose="downlink"),
    ]
