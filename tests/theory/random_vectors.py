"""What the tests of the predictions share: random vectors, compressors in plain numpy, and a z-test."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import settings
from numpy.typing import NDArray

Array = NDArray[np.float64]
reproducible = settings(deadline=None, derandomize=True)


def z_score(sample: Array, expected: float) -> float:
    return float((np.mean(sample) - expected) / (np.std(sample, ddof=1) / math.sqrt(len(sample))))


def sphere(rng: np.random.Generator, count: int, d: int) -> Array:
    points = rng.standard_normal((count, d))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return points


def thin(rng: np.random.Generator, vectors: Array, omega: float) -> Array:
    """Keep coordinates at random: the relative variance is omega for every vector, not on average."""
    return np.where(rng.random(vectors.shape) * (1 + omega) < 1, vectors * (1 + omega), 0.0)


def quantize(rng: np.random.Generator, vectors: Array, levels: int, norm: str = "l2") -> Array:
    order = {"l2": 2, "max": np.inf}[norm]
    norms: Array = np.linalg.norm(vectors, ord=order, axis=-1, keepdims=True)
    shares = np.abs(vectors) / np.where(norms > 0, norms, 1)
    return np.sign(vectors) * norms / levels * np.floor(shares * levels + rng.random(vectors.shape))
