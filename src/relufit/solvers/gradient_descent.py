"""Gradient descent on all rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import njit

from relufit import kernels
from relufit.solvers.base import Solution

#: Steps between two questions whether the weights are near enough.
_STRIDE = 10


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

    `near` is asked every few steps. Other arguments are those of `relufit.solvers.Solver`.
    """
    w, done = start.copy(), 0
    rows, total = np.arange(len(x)), np.empty_like(w)
    while done < iterations and not near(w) and np.isfinite(w).all():
        count = min(_STRIDE, iterations - done)
        _descend(x, y, rows, step_size / len(x), count, total, w)
        done += count
    return Solution(w, done)


@njit(nogil=True, cache=True)
def _descend(
    x: np.ndarray, y: np.ndarray, rows: np.ndarray, scale: float, count: int, total: np.ndarray, w: np.ndarray
) -> None:
    for _ in range(count):
        kernels.gradient_sum(x, y, rows, w, total)
        for k in range(w.size):
            w[k] -= scale * total[k]
