"""SGD on a fixed data set: the spectrum of its active rows, and the curve of the error that follows from it."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from relufit.numerics.blas import one_blas_thread
from relufit.theory._checks import (
    above_threshold,
    nonnegative,
    positive,
    spectrum,
    squared_start,
    whole,
    worker_batch,
)
from relufit.theory._recursions import curve_of

Array = NDArray[np.float64]

#: Numbers of x that are converted to float64 at a time.
_BLOCK = 2**20


def marchenko_pastur(ratio: float, nodes: int = 400) -> tuple[Array, Array]:
    """Return eigenvalues (falling) and weights (of sum 1) of ``H = (1/n) sum_active x x'`` as n, d grow.

    About half of the n = ratio * d rows are active, so that 2 H has the law of Marchenko, Pastur (1967) with
    ``g = 2 / ratio``. In ``2 lambda = 1 + g + 2 sqrt(g) cos t``, between the edges ``(1 +- sqrt(g))^2``, its
    density is ``(2/pi) sin^2 t / (2 lambda)`` on 0 < t < pi. The Gauss-Chebyshev rule of the second kind has
    its nodes at ``t = k pi / (nodes + 1)``, and an error that falls as ``g^nodes``.

    Parameters
    ----------
    ratio : float
        n / d, finite and above 2 (ValueError otherwise): below, H is singular.
    nodes : int
        Number of eigenvalues.
    """
    root = math.sqrt(2 / above_threshold(ratio))
    t = np.arange(1, whole("nodes", nodes) + 1) * (np.pi / (nodes + 1))
    doubled = (1 - root) ** 2 + 4 * root * np.cos(t / 2) ** 2
    weights = np.sin(t) ** 2 / doubled
    return doubled / 2, weights / weights.sum()


def initial_profile(eigenvalues: ArrayLike, weights: ArrayLike) -> Array:
    """Return each eigenvalue's share in the squared relative error of ``w0 = (2/n) sum_i y_i x_i``.

    On the active rows ``y_i = <w*, x_i>``, hence ``w0 - w* = (2 H - I) w*``; H is independent of w*, because
    ``x x'`` is the same for x and -x. The shares ``weights * (2 lambda - 1)^2`` give slow directions more
    than an isotropic start does. They sum to 2 d / n for the limiting spectrum (n large), and on average over
    data sets to `initial_error`. ValueError for what is no spectrum as `fixed_data_curve` takes it.
    """
    eigenvalues, weights = spectrum(eigenvalues, weights)
    return weights * (2 * eigenvalues - 1) ** 2


@one_blas_thread()
def instance_spectrum(x: ArrayLike, y: ArrayLike, w_star: ArrayLike) -> tuple[Array, Array, Array]:
    """Return eigenvalues of one data set's ``H = (1/n) sum_active x x'``, weights, and how its ``w0`` lies to them.

    Active are the rows with ``<w*, x> > 0``. The third array is ``<v_j, w0 - w*>^2 / ||w*||^2``, v_j the eigenvectors
    and ``w0 = (2/n) sum_i y_i x_i``; its sum is the squared relative error of w0. Without noise it is
    ``(2 lambda_j - 1)^2 <v_j, w*>^2 / ||w*||^2``, with a mean over data sets of `initial_profile`. The three are what
    `fixed_data_curve` and `descent_curve` take to predict the run on this data set; in small dimensions, where the
    least eigenvalue fluctuates, they are closer to it than the spectrum of `marchenko_pastur` is.

    Parameters
    ----------
    x : array, shape (n, d)
        Rows of any kind of real numbers; they are converted to float64 a block at a time.
    y : array, shape (n,)
        Labels.
    w_star : array, shape (d,)
        Planted weights, other than zero.

    Returns
    -------
    eigenvalues, weights, initial_error_squared : array, shape (d,)
        Eigenvalues rise; each weight is 1/d.

    Raises
    ------
    ValueError
        If the shapes do not agree, a number is not finite, or `w_star` is zero.
    """
    rows, labels, target = np.asarray(x), np.asarray(y, dtype=np.float64), np.asarray(w_star, dtype=np.float64)
    if rows.ndim != 2 or not rows.size:
        raise ValueError(f"x must have shape (n, d), and not be empty: it has {rows.shape}")
    n, d = rows.shape
    for name, array, shape in (("y", labels, (n,)), ("w_star", target, (d,))):
        if array.shape != shape:
            raise ValueError(f"{name} must have shape {shape}, to go with x, not {array.shape}")
    square = float(target @ target)
    if not 0 < square < math.inf:
        raise ValueError("w_star must be finite, and not zero")
    gram, moment, count = np.zeros((d, d)), np.zeros(d), max(1, _BLOCK // d)
    for first in range(0, n, count):
        block = rows[first : first + count].astype(np.float64)
        moment += labels[first : first + count] @ block
        block = block[block @ target > 0]
        gram += block.T @ block
    if not (np.isfinite(gram).all() and np.isfinite(moment).all()):
        raise ValueError("x and y must be finite")
    eigenvalues, vectors = np.linalg.eigh(gram / n)
    start = (vectors.T @ (2 / n * moment - target)) ** 2 / square
    # Where there are fewer than d active rows, some eigenvalues are zeros up to rounding.
    return np.maximum(eigenvalues, 0.0), np.full(d, 1 / d), start


@one_blas_thread()
def fixed_data_curve(
    eigenvalues: ArrayLike,
    weights: ArrayLike,
    d: int,
    m: int,
    step: float,
    iterations: int,
    *,
    initial_error_squared: ArrayLike,
    omega: float = 0.0,
    workers: int = 1,
    sum_omega: float = 0.0,
    until: float | None = None,
) -> Array:
    """Return the expected squared error after 0, 1, ... steps on a fixed data set, drawn with replacement.

    With p_j the squared error along the eigenvectors of node j of H, whose share of the d directions is w_j,
    and ``L = sum_j lambda_j p_j``, ``L2 = sum_j lambda_j^2 p_j``,

        p_j+ = [(1 - step lambda_j)^2 - step^2 lambda_j^2 / m] p_j + 2 (step^2 d / m) w_j lambda_j L
               + (1 + sum_omega) (step^2 omega / workers) [(d / b) L + (1 - 1 / b) L2] w_j
               + sum_omega step^2 [(d / m) L + (1 - 1 / m) L2] w_j.

    The first two terms are the mean step and the sampling, ``E (v_j'x)^2 (x'h)^2 = 2 w_j d lambda_j L`` over
    rows whose left singular vectors are uniformly distributed; the others are the errors of the compressor, omega
    times a worker's squared gradient and sum_omega times that of the average, even over all directions. It is the
    leading order in 1/d for Gaussian inputs and n > 2 d (about 2/d of the rate is left out), near w* where active rows
    do not change. As n/d grows the factor becomes `contraction`. A typical run lies lower, by half the variance of the
    logarithm.

    Parameters
    ----------
    eigenvalues, weights : array, shape (nodes,)
        Spectrum of H: `marchenko_pastur`, or a data set's own eigenvalues with weights 1/d.
    d, m, iterations : int
        Dimension; samples in a step, over all workers; number of steps, 0 or more.
    step, omega, workers, sum_omega
        As in `contraction`.
    initial_error_squared : float or array, shape (nodes,)
        A number is spread evenly over all directions; an array, as of `initial_profile`, is the p_j.
    until : float, optional
        The curve ends with the first squared error that is at most that.

    Returns
    -------
    array, shape (iterations + 1,), or shorter
        In the unit of `initial_error_squared`; infinite where it exceeds the range of floats.

    Raises
    ------
    ValueError
        If an argument is out of its range, or `eigenvalues` and `weights` are no spectrum.
    """
    eigenvalues, weights = spectrum(eigenvalues, weights)
    d, m, b = whole("d", d), whole("m", m), worker_batch(m, workers)
    scale = nonnegative("step", step) ** 2
    noise = compression_noise(d, m, b, nonnegative("omega", omega) / workers, nonnegative("sum_omega", sum_omega))
    start = squared_start(initial_error_squared, weights)
    moments = np.stack([np.ones_like(weights), eigenvalues, eigenvalues**2])
    kept = (1 - step * eigenvalues) ** 2 - scale / m * eigenvalues**2
    by_first = scale * (2 * d / m * eigenvalues + noise[0]) * weights
    by_second = scale * noise[1] * weights

    def errors() -> Iterator[float]:
        p = start
        while True:
            error, first, second = moments @ p
            yield error
            p = kept * p + first * by_first + second * by_second

    return curve_of(errors(), iterations, until)


def compression_noise(d: int, m: int, b: float, noise: float, sum_omega: float) -> tuple[float, float]:
    """Return the factors of L and L2 in the mean square of the compressor's errors, see `fixed_data_curve`.

    `noise` is omega / workers.
    """
    again = (1 + sum_omega) * noise
    return again * d / b + sum_omega * d / m, again * (1 - 1 / b) + sum_omega * (1 - 1 / m)


def iterations_to(curve: ArrayLike, tolerance: float) -> float:
    """Return the first iteration at which the relative error, the root of `curve`, is at most `tolerance`.

    It is interpolated linearly in the logarithm of `curve`, and nan if `curve` never comes down so far.
    ValueError unless `curve` is a list of nonnegative numbers, not empty, and `tolerance` finite and above 0.
    """
    curve = np.asarray(curve, dtype=np.float64)
    if curve.ndim != 1 or not curve.size or not np.all(curve >= 0):
        raise ValueError("curve must be a list of nonnegative numbers, and not empty")
    reached = np.flatnonzero(np.sqrt(curve) <= positive("tolerance", tolerance))
    if not reached.size:
        return math.nan
    last = int(reached[0])
    if last == 0 or curve[last] == 0 or curve[last - 1] == np.inf:
        return float(last)
    above, below = np.log(curve[last - 1 : last + 1])
    return float(last - (2 * math.log(tolerance) - below) / (above - below))
