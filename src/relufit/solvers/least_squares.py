"""Least squares on the rows with a label above zero: without noise they are linear in the weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import linalg

from relufit.solvers.base import Solution


def least_squares(
    x: np.ndarray,
    y: np.ndarray,
    start: np.ndarray,
    *,
    near: Callable[[np.ndarray], bool],
    iterations: int = 1,
) -> Solution:
    """Return the weights of least norm that minimise the squared residuals of the rows with y > 0.

    A label above zero is ``<w*, x>`` itself, so that d such rows in general position give w*. It takes one
    iteration; `start`, `near` and `iterations` are not used. Arguments are those of `relufit.solvers.Solver`.
    """
    return Solution(fit(x[y > 0], y[y > 0]), 1)


def fit(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the weights of least norm with the least squared residuals, by a rank-revealing QR factorisation."""
    if not len(x):
        return np.zeros(x.shape[1])
    solution: np.ndarray = linalg.lstsq(x.astype(np.float64), y, lapack_driver="gelsy", check_finite=False)[0]
    return solution
