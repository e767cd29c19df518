"""The compiled loops over rows: float32 inputs, float64 weights, one pass, a fixed order of summation.

Four rows are taken at a time, so that the weights and the sum are read once for four rows, and a row is added
to the sum while it is still in the cache. Nothing depends on the number of threads or the width of vectors.
Arrays are C-contiguous; indices are not checked, callers do that.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from relufit.simd import dots

#: Coordinates whose differences are held at a time.
_BLOCK = 4096


@njit(nogil=True, cache=True)
def inner_products(x: np.ndarray, w: np.ndarray, out: np.ndarray) -> None:
    """Write ``x @ w`` to `out`: x (n, d) float32, w (d,) float64, out (n,) float64.

    Each product is a function of its own row alone, whatever the other rows are.
    """
    for i in range(x.shape[0]):
        out[i] = dots((x[i],), w)[0]


@njit(nogil=True, cache=True)
def squared_norm(v: np.ndarray) -> float:
    """Return the sum of squares of a float64 vector."""
    return dots((v,), v)[0]  # type: ignore[no-any-return]


@njit(nogil=True, cache=True)
def squared_distance(v: np.ndarray, w: np.ndarray) -> float:
    """Return the sum of squares of the difference of two float64 vectors of one size, added block by block."""
    room, total = np.empty(min(v.size, _BLOCK)), 0.0
    for start in range(0, v.size, _BLOCK):
        some = room[: min(_BLOCK, v.size - start)]
        for k in range(some.size):
            some[k] = v[start + k] - w[start + k]
        total += dots((some,), some)[0]
    return total


@njit(nogil=True, cache=True)
def descend(w: np.ndarray, total: np.ndarray, step: float) -> None:
    """Take `step` times `total` off `w`, and set `total` to zero: both (d,) float64."""
    for k in range(w.size):
        w[k] -= step * total[k]
        total[k] = 0.0


@njit(nogil=True, cache=True)
def descend_towards(w: np.ndarray, total: np.ndarray, step: float, target: np.ndarray) -> float:
    """Do as `descend`, and return ``squared_distance(w, target)``; each of the three is gone through once."""
    room, squares = np.empty(min(w.size, _BLOCK)), 0.0
    for start in range(0, w.size, _BLOCK):
        some = room[: min(_BLOCK, w.size - start)]
        for k in range(some.size):
            at = start + k
            w[at] -= step * total[at]
            total[at] = 0.0
            some[k] = w[at] - target[at]
        squares += dots((some,), some)[0]
    return squares


@njit(nogil=True, cache=True)
def all_finite(x: np.ndarray) -> bool:
    """Tell whether no element of the two-dimensional `x` is NaN or infinite."""
    for i in range(x.shape[0]):
        row = x[i]
        total = row[0] * 0
        for k in range(row.size):
            total += row[k] * 0
        if total != 0:
            return False
    return True


@njit(nogil=True, cache=True)
def _add_four(x: np.ndarray, rows: np.ndarray, scale: np.ndarray, out: np.ndarray) -> None:
    x0, x1, x2, x3 = x[rows[0]], x[rows[1]], x[rows[2]], x[rows[3]]
    a0, a1, a2, a3 = scale[0], scale[1], scale[2], scale[3]
    for k in range(out.size):
        out[k] += (a0 * x0[k] + a1 * x1[k]) + (a2 * x2[k] + a3 * x3[k])


@njit(nogil=True, cache=True)
def _add_rest(x: np.ndarray, rows: np.ndarray, scale: np.ndarray, count: int, out: np.ndarray) -> None:
    for i in range(count):
        row, a = x[rows[i]], scale[i]
        for k in range(out.size):
            out[k] += a * row[k]


@njit(nogil=True, cache=True)
def moment_sum(x: np.ndarray, y: np.ndarray, out: np.ndarray) -> None:
    """Write ``sum_i y_i x_i`` to `out`: x (n, d) float32, y (n,) float64, out (d,) float64."""
    out[:] = 0.0
    rows, scale, held = np.empty(4, np.int64), np.empty(4), 0
    for i in range(x.shape[0]):
        if y[i] != 0.0:
            rows[held], scale[held] = i, y[i]
            held += 1
            if held == 4:
                _add_four(x, rows, scale, out)
                held = 0
    _add_rest(x, rows, scale, held, out)


@njit(nogil=True, cache=True)
def gradient_sum(x: np.ndarray, y: np.ndarray, batch: np.ndarray, w: np.ndarray, out: np.ndarray) -> float:
    """Write the sum of the gradients of the rows `batch` to `out` and return their sum of squared residuals.

    Parameters
    ----------
    x : (n, d) float32
    y : (n,) float64
    batch : (b,) int64
        Row numbers, repetitions allowed.
    w : (d,) float64
    out : (d,) float64
        ``sum_{i in batch} (max(0, <w, x_i>) - y_i) 1{<w, x_i> > 0} x_i``; the derivative at 0 is 0.

    Returns
    -------
    float
        ``sum_{i in batch} (max(0, <w, x_i>) - y_i)^2``.
    """
    out[:] = 0.0
    squares = 0.0
    rows, scale, held = np.empty(8, np.int64), np.empty(8), 0
    full = batch.size - batch.size % 4
    for at in range(0, full, 4):
        products = dots((x[batch[at]], x[batch[at + 1]], x[batch[at + 2]], x[batch[at + 3]]), w)
        for j in range(4):
            row = batch[at + j]
            residual = max(products[j], 0.0) - y[row]
            squares += residual * residual
            if products[j] > 0.0:
                rows[held], scale[held] = row, residual
                held += 1
        if held >= 4:
            _add_four(x, rows, scale, out)
            held -= 4
            for j in range(held):
                rows[j], scale[j] = rows[j + 4], scale[j + 4]
    for at in range(full, batch.size):
        row = batch[at]
        product = dots((x[row],), w)[0]
        residual = max(product, 0.0) - y[row]
        squares += residual * residual
        if product > 0.0:
            rows[held], scale[held] = row, residual
            held += 1
    _add_rest(x, rows, scale, held, out)
    return squares
