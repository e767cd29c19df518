"""Arguments that are out of their range, named in a ValueError."""

from __future__ import annotations

import math


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
