"""Least squares on the rows with a label above zero: without noise they are linear in the weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy

from relufit.numerics.blas import one_blas_thread
from relufit.solvers.base import Solution

#: Share of its largest number from which on no number on the diagonal of a triangle is a rounding error.
_CERTAIN = 1e-10


def least_squares(
    x: np.ndarray,
    y: np.ndarray,
    start: np.ndarray,
    *,
    near: Callable[[np.ndarray], bool],
    iterations: int = 1,
) -> Solution:
    """Return the weights of least norm that minimise the squared residuals of the rows with y > 0.

    A label above zero is ``<w*, x>`` itself, so that d such rows in general position give w*; fewer leave a space of
    weights with the same labels there. It takes one iteration; `start`, `near` and `iterations` are not used.
    Arguments are those of `relufit.solvers.Solver`.
    """
    return Solution(fit(x[y > 0], y[y > 0]), 1)


def fit(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the weights of least norm with the least squared residuals.

    By the orthogonal factorisation of LAPACK's gels, or of its gelsy with pivoting, which takes twice the time, where
    the diagonal of the former's triangle says that rows or columns depend on each other.

    Parameters
    ----------
    x : (n, d) float32
        Any n, also none.
    y : (n,) float64

    Returns
    -------
    (d,) float64
    """
    rows, columns = x.shape
    if not rows:
        return np.zeros(columns)
    matrix = np.asfortranarray(x, np.float64)
    right = np.zeros(max(rows, columns))
    right[:rows] = y
    lapack = scipy.linalg.lapack  # imported here, by its first use
    with one_blas_thread():
        workspace = int(lapack.dgels_lwork(rows, columns, 1)[0])
        factors, solution, _ = lapack.dgels(matrix, right, lwork=workspace)
        diagonal = np.abs(np.diagonal(factors))
        if not diagonal.min() > _CERTAIN * diagonal.max():
            # Singular values below this share of the largest are rounding errors, as in numpy.linalg.lstsq.
            lost = max(rows, columns) * np.finfo(np.float64).eps
            solution = scipy.linalg.lstsq(matrix, y, cond=lost, lapack_driver="gelsy", check_finite=False)[0]
    weights: np.ndarray = solution[:columns]
    return weights
