"""The compiled loops over rows: float32 inputs, float64 weights, one pass, a fixed order of summation.

Four rows are taken at a time, so that the weights and the sum are read once for four rows, and a row is added
to the sum while it is still in the cache. Nothing depends on the number of threads or the width of vectors.
Arrays are C-contiguous; indices are not checked, callers do that.
"""

from __future__ import annotations

import numpy as np

from relufit.numerics.compiled_cache import compiled
from relufit.numerics.simd import dots

#: Coordinates that are gone through at a time where one loop follows another: they stay in a cache near the processor,
#: and are enough for it to see which memory is read on. Whole blocks of every layout of levels.
BLOCK = 10240


@compiled
def inner_products(x: np.ndarray, w: np.ndarray, out: np.ndarray) -> None:
    """Write ``x @ w`` to `out`: x (n, d) float32, w (d,) float64, out (n,) float64.

    Each product is a function of its own row alone, whatever the other rows are.
    """
    for i in range(x.shape[0]):
        out[i] = dots((x[i],), w)[0]


@compiled
def squared_norm(v: np.ndarray) -> float:
    """Return the sum of squares of a float64 vector."""
    return dots((v,), v)[0]  # type: ignore[no-any-return]


@compiled
def energy(v: np.ndarray) -> float:
    """Return the sum of squares of a float64 or float32 vector, added block by block."""
    total = 0.0
    for start in range(0, v.size, BLOCK):
        some = v[start : start + BLOCK]
        total += dots((some,), some)[0]
    return total


@compiled
def squared_distance(v: np.ndarray, w: np.ndarray) -> float:
    """Return the sum of squares of the difference of two float64 vectors of one size, added block by block."""
    room, total = np.empty(min(v.size, BLOCK)), 0.0
    for start in range(0, v.size, BLOCK):
        some = room[: min(BLOCK, v.size - start)]
        for k in range(some.size):
            some[k] = v[start + k] - w[start + k]
        total += dots((some,), some)[0]
    return total


@compiled
def descend(w: np.ndarray, total: np.ndarray, step: float) -> None:
    """Take `step` times `total` off `w`, and set `total` to zero: both (d,) float64."""
    for k in range(w.size):
        w[k] -= step * total[k]
        total[k] = 0.0


@compiled
def descend_block(w: np.ndarray, some: np.ndarray, step: float, target: np.ndarray, out: np.ndarray) -> float:
    """Write ``w - step * some`` to `out` and return its squared distance from `target`: at most `BLOCK` coordinates.

    `some` is used up. `out` may be `w`.
    """
    for k in range(some.size):
        after = w[k] - step * some[k]
        out[k] = after
        some[k] = after - target[k]
    return dots((some,), some)[0]  # type: ignore[no-any-return]


@compiled
def descend_towards(w: np.ndarray, total: np.ndarray, step: float, target: np.ndarray, out: np.ndarray) -> float:
    """Write ``w - step * total`` to `out`, and return ``squared_distance(out, target)``: all (d,) float64.

    `out` may be `w` or `total`; each array is gone through once.
    """
    room, squares = np.empty(min(w.size, BLOCK)), 0.0
    for start in range(0, w.size, BLOCK):
        stop = min(start + BLOCK, w.size)
        some, part = room[: stop - start], total[start:stop]
        for k in range(some.size):
            some[k] = part[k]
        squares += descend_block(w[start:stop], some, step, target[start:stop], out[start:stop])
    return squares


@compiled
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


@compiled
def _add_rows(
    x: np.ndarray, rows: np.ndarray, scale: np.ndarray, count: int, fresh: bool, out: np.ndarray, last: bool
) -> float:
    """Add four rows, in pairs, or fewer, one after the other; to zero if `fresh`, whatever is in `out`.

    Returns ``energy(out)`` if these are the `last` ones.
    """
    squares = 0.0
    x0, x1 = x[rows[0]], x[rows[1] if count > 1 else rows[0]]
    x2, x3 = x[rows[2] if count > 2 else rows[0]], x[rows[3] if count > 3 else rows[0]]
    a0, a1, a2, a3 = scale[0], scale[1], scale[2], scale[3]
    for start in range(0, out.size, BLOCK):
        stop = min(start + BLOCK, out.size)
        some, r0, r1, r2, r3 = out[start:stop], x0[start:stop], x1[start:stop], x2[start:stop], x3[start:stop]
        if fresh:
            for k in range(some.size):
                some[k] = 0.0
        if count == 4:
            for k in range(some.size):
                some[k] += (a0 * r0[k] + a1 * r1[k]) + (a2 * r2[k] + a3 * r3[k])
        elif count == 3:
            for k in range(some.size):
                some[k] = ((some[k] + a0 * r0[k]) + a1 * r1[k]) + a2 * r2[k]
        elif count == 2:
            for k in range(some.size):
                some[k] = (some[k] + a0 * r0[k]) + a1 * r1[k]
        else:
            for k in range(some.size):
                some[k] += a0 * r0[k]
        if last:
            squares += dots((some,), some)[0]
    return squares


@compiled
def _products(x: np.ndarray, rows: np.ndarray, w: np.ndarray, out: np.ndarray) -> None:
    """Write the inner products of one to four rows, the same bits as of one at a time."""
    if rows.size == 4:
        out[0], out[1], out[2], out[3] = dots((x[rows[0]], x[rows[1]], x[rows[2]], x[rows[3]]), w)
    elif rows.size == 3:
        out[0], out[1], out[2] = dots((x[rows[0]], x[rows[1]], x[rows[2]]), w)
    elif rows.size == 2:
        out[0], out[1] = dots((x[rows[0]], x[rows[1]]), w)
    else:
        out[0] = dots((x[rows[0]],), w)[0]


@compiled
def moment_sum(x: np.ndarray, y: np.ndarray, out: np.ndarray) -> None:
    """Write ``sum_i y_i x_i`` to `out`: x (n, d) float32, y (n,) float64, out (d,) float64."""
    rows, scale, held, fresh = np.empty(4, np.int64), np.empty(4), np.int64(0), True
    for i in range(x.shape[0]):
        if y[i] != 0.0:
            rows[held], scale[held] = i, y[i]
            held += 1
            if held == 4:
                _add_rows(x, rows, scale, held, fresh, out, last=False)
                held, fresh = np.int64(0), False
    if held:
        _add_rows(x, rows, scale, held, fresh, out, last=False)
    elif fresh:
        out[:] = 0.0


@compiled
def _weighted_sum(
    x: np.ndarray,
    y: np.ndarray,
    batch: np.ndarray,
    w: np.ndarray,
    share: float,
    out: np.ndarray,
    gated: bool,
    normalized: bool,
) -> tuple[float, float]:
    """Do as `gradient_sum`; without the indicator if not `gated`, each row over its squared norm if `normalized`."""
    squares, fresh = 0.0, True
    rows, scale, held, products = np.empty(8, np.int64), np.empty(8), np.int64(0), np.empty(4)
    for at in range(0, batch.size, 4):
        some = batch[at : at + 4]
        _products(x, some, w, products)
        for j in range(some.size):
            residual = max(products[j], 0.0) - y[some[j]]
            # Zero times a product is NaN where that is not finite, though minus infinity is none after the maximum.
            squares += residual * residual + 0.0 * products[j]
            if products[j] > 0.0 or (not gated and residual != 0.0):
                rows[held], scale[held] = some[j], share * residual
                if normalized:
                    scale[held] /= energy(x[some[j]])
                held += 1
        if held >= 4 and (held > 4 or at + 4 < batch.size):
            _add_rows(x, rows, scale, np.int64(4), fresh, out, last=False)
            held, fresh = held - 4, False
            for j in range(held):
                rows[j], scale[j] = rows[j + 4], scale[j + 4]
    if held:
        return squares, _add_rows(x, rows, scale, held, fresh, out, last=True)
    if fresh:
        out[:] = 0.0
        return squares, 0.0
    return squares, energy(out)


@compiled
def gradient_sum(
    x: np.ndarray, y: np.ndarray, batch: np.ndarray, w: np.ndarray, share: float, out: np.ndarray
) -> tuple[float, float]:
    """Write `share` times the sum of the gradients of the rows `batch` to `out`.

    Parameters
    ----------
    x : (n, d) float32
    y : (n,) float64
    batch : (b,) int64
        Row numbers, repetitions allowed.
    w : (d,) float64
    share : float
    out : (d,) float64
        ``share * sum_{i in batch} (max(0, <w, x_i>) - y_i) 1{<w, x_i> > 0} x_i``; the derivative at 0 is 0.

    Returns
    -------
    float
        ``sum_{i in batch} (max(0, <w, x_i>) - y_i)^2``; NaN if `w` has NaN or infinity, and there are rows.
    float
        ``energy(out)``, mostly at the cost of less than another pass.
    """
    return _weighted_sum(x, y, batch, w, share, out, True, False)  # type: ignore[no-any-return]


@compiled
def glm_tron_sum(
    x: np.ndarray, y: np.ndarray, batch: np.ndarray, w: np.ndarray, share: float, out: np.ndarray
) -> tuple[float, float]:
    """Write ``share * sum_{i in batch} (max(0, <w, x_i>) - y_i) x_i`` to `out`, see `gradient_sum`."""
    return _weighted_sum(x, y, batch, w, share, out, False, False)  # type: ignore[no-any-return]


@compiled
def kaczmarz_sum(
    x: np.ndarray, y: np.ndarray, batch: np.ndarray, w: np.ndarray, share: float, out: np.ndarray
) -> tuple[float, float]:
    """Do as `gradient_sum` with the gradient of each row divided by its squared norm ``||x_i||^2``."""
    return _weighted_sum(x, y, batch, w, share, out, True, True)  # type: ignore[no-any-return]
