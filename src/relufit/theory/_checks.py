"""Arguments that are out of their range, named in a ValueError."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def worker_batch(m: int, workers: int) -> float:
    """Return b = m / workers, the mean batch of a worker where they do not divide it."""
    if whole("workers", workers) > m:
        raise ValueError(f"workers must be at most m = {m}, not {workers}")
    return m / workers


def whole(name: str, value: int, least: int = 1) -> int:
    """Return `value`, which must be a whole number from `least` on."""
    if not (least <= value < math.inf and value == int(value)):
        raise ValueError(f"{name} must be a whole number from {least} on, not {value!r}")
    return int(value)


def nonnegative(name: str, value: float) -> float:
    """Return `value`, which must be finite and at least 0."""
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} must be finite and at least 0, not {value!r}")
    return float(value)


def positive(name: str, value: float) -> float:
    """Return `value`, which must be finite and above 0."""
    if not 0 < value < math.inf:
        raise ValueError(f"{name} must be finite and above 0, not {value!r}")
    return float(value)


def above_threshold(ratio: float) -> float:
    """Return `ratio`, n / d, which must be finite and above 2, where the active rows begin to determine w*."""
    if not 2 < ratio < math.inf:
        raise ValueError(f"ratio must be finite and above 2, not {ratio!r}")
    return float(ratio)


def spectrum(eigenvalues: ArrayLike, weights: ArrayLike) -> tuple[Array, Array]:
    """Return nodes of a spectrum, finite and nonnegative, and their weights, of sum 1."""
    values, shares = np.asarray(eigenvalues, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    if values.ndim != 1 or not np.all((values >= 0) & (values < np.inf)):
        raise ValueError("eigenvalues must be a list of finite nonnegative numbers")
    if shares.shape != values.shape or not np.all(shares >= 0) or not abs(shares.sum() - 1) < 1e-6:
        raise ValueError("weights must be nonnegative, one for each of the eigenvalues, and of sum 1")
    return values, shares


def squared_start(initial_error_squared: ArrayLike, weights: Array) -> Array:
    """Return the squared error at each node; a number is spread by the `weights` of the nodes."""
    start = np.asarray(initial_error_squared, dtype=np.float64)
    if start.shape not in ((), weights.shape) or not np.all((start >= 0) & (start < np.inf)):
        raise ValueError("initial_error_squared must be finite and nonnegative: a number, or one a node")
    return start * weights if start.ndim == 0 else start
