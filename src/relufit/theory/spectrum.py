"""SGD on a fixed data set: the spectrum of its active rows, and the curve of the error that follows from it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from relufit.theory._checks import nonnegative, whole, worker_batch

Array = NDArray[np.float64]


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
    if not 2 < ratio < math.inf:
        raise ValueError(f"ratio must be finite and above 2, not {ratio!r}")
    root = math.sqrt(2 / ratio)
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
    eigenvalues, weights = _spectrum(eigenvalues, weights)
    return weights * (2 * eigenvalues - 1) ** 2


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
) -> Array:
    """Return the expected squared error after 0, 1, ... steps on a fixed data set, drawn with replacement.

    With p_j the squared error along the eigenvectors of node j of H, whose share of the d directions is w_j,
    and ``L = sum_j lambda_j p_j``, ``L2 = sum_j lambda_j^2 p_j``,

        p_j+ = [(1 - step lambda_j)^2 - step^2 lambda_j^2 / m] p_j + 2 (step^2 d / m) w_j lambda_j L
               + (step^2 omega / workers) [(d / b) L + (1 - 1 / b) L2] w_j.

    The first two terms are the mean step and the sampling, ``E (v_j'x)^2 (x'h)^2 = 2 w_j d lambda_j L`` over
    rows whose left singular vectors are uniformly distributed; the third is the compressor's error, omega
    times a worker's squared gradient, even over all directions. It is the leading order in 1/d for Gaussian
    inputs and n > 2 d (about 2/d of the rate is left out), near w* where active rows do not change. As n/d
    grows the factor becomes `contraction`. A typical run lies lower, by half the variance of the logarithm.

    Parameters
    ----------
    eigenvalues, weights : array, shape (nodes,)
        Spectrum of H: `marchenko_pastur`, or a data set's own eigenvalues with weights 1/d.
    d, m, iterations : int
        Dimension; samples in a step, over all workers; number of steps, 0 or more.
    step, omega, workers
        As in `contraction`.
    initial_error_squared : float or array, shape (nodes,)
        A number is spread evenly over all directions; an array, as of `initial_profile`, is the p_j.

    Returns
    -------
    array, shape (iterations + 1,)
        In the unit of `initial_error_squared`; infinite where it exceeds the range of floats.

    Raises
    ------
    ValueError
        If an argument is out of its range, or `eigenvalues` and `weights` are no spectrum.
    """
    eigenvalues, weights = _spectrum(eigenvalues, weights)
    d, m, b = whole("d", d), whole("m", m), worker_batch(m, workers)
    scale = nonnegative("step", step) ** 2
    noise = scale * nonnegative("omega", omega) / workers
    start = np.asarray(initial_error_squared, dtype=np.float64)
    if start.shape not in ((), weights.shape) or not np.all((start >= 0) & (start < np.inf)):
        raise ValueError("initial_error_squared must be finite and nonnegative: a number, or one a node")
    p = start * weights if start.ndim == 0 else start
    curve = np.empty(whole("iterations", iterations, least=0) + 1)
    moments = np.stack([np.ones_like(weights), eigenvalues, eigenvalues**2])
    kept = (1 - step * eigenvalues) ** 2 - scale / m * eigenvalues**2
    by_first = (2 * scale * d / m * eigenvalues + noise * d / b) * weights
    by_second = noise * (1 - 1 / b) * weights
    with np.errstate(over="ignore", invalid="ignore"):
        for t in range(len(curve)):
            curve[t], first, second = moments @ p
            p = kept * p + first * by_first + second * by_second
    curve[np.isnan(curve)] = np.inf  # inf - inf, after an overflow
    return curve


def iterations_to(curve: ArrayLike, tolerance: float) -> float:
    """Return the first iteration at which the relative error, the root of `curve`, is at most `tolerance`.

    It is interpolated linearly in the logarithm of `curve`, and nan if `curve` never comes down so far.
    ValueError unless `curve` is a list of nonnegative numbers, not empty, and `tolerance` finite and above 0.
    """
    curve = np.asarray(curve, dtype=np.float64)
    if curve.ndim != 1 or not curve.size or not np.all(curve >= 0):
        raise ValueError("curve must be a list of nonnegative numbers, and not empty")
    if not 0 < tolerance < math.inf:
        raise ValueError(f"tolerance must be finite and above 0, not {tolerance!r}")
    reached = np.flatnonzero(np.sqrt(curve) <= tolerance)
    if not reached.size:
        return math.nan
    last = int(reached[0])
    if last == 0 or curve[last] == 0 or curve[last - 1] == np.inf:
        return float(last)
    above, below = np.log(curve[last - 1 : last + 1])
    return float(last - (2 * math.log(tolerance) - below) / (above - below))


def _spectrum(eigenvalues: ArrayLike, weights: ArrayLike) -> tuple[Array, Array]:
    values, shares = np.asarray(eigenvalues, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    if values.ndim != 1 or not np.all((values >= 0) & (values < np.inf)):
        raise ValueError("eigenvalues must be a list of finite nonnegative numbers")
    if shares.shape != values.shape or not np.all(shares >= 0) or not abs(shares.sum() - 1) < 1e-6:
        raise ValueError("weights must be nonnegative, one for each of the eigenvalues, and of sum 1")
    return values, shares
