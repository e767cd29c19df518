"""Gradient descent on all rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from relufit.numerics import kernels
from relufit.numerics.compiled_cache import compiled
from relufit.solvers.base import Solution

#: Steps between two questions whether the weights are near enough.
STRIDE = 10


def gradient_descent(
    x: np.ndarray,
    y: np.ndarray,
    start: np.ndarray,
    *,
    near: Callable[[np.ndarray], bool],
    iterations: int,
    step_size: float,
) -> Solution:
    """Return the weights after steps of `step_size` along the gradient of `relufit.planted.loss`.

    It stops where the gradient is exactly zero, as it is at w = 0, where no row is active, and where the weights are
    no longer finite. `near` is asked at the start and every `STRIDE` steps. Arguments are those of
    `relufit.solvers.Solver`, and the step size on the mean gradient of all rows.
    """
    w, done = start.copy(), 0
    rows, total = np.arange(len(x)), np.empty_like(w)
    while done < iterations and not near(w) and np.isfinite(w).all():
        wanted = min(STRIDE, iterations - done)
        taken = _descend(x, y, rows, step_size / len(x), wanted, total, w)
        done += taken
        if taken < wanted:
            break
    return Solution(w, done)


@compiled
def _descend(
    x: np.ndarray, y: np.ndarray, rows: np.ndarray, scale: float, count: int, total: np.ndarray, w: np.ndarray
) -> int:
    """Take up to `count` steps, and return how many were taken before the gradient was zero."""
    for taken in range(count):
        kernels.gradient_sum(x, y, rows, w, 1.0, total)
        if not np.any(total):
            return taken
        kernels.descend(w, total, scale)
    return count
