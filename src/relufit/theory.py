"""What the experiments must show: closed forms and recursions without fitted constants.

Inputs are ``x ~ N(0, I_d)``, labels ``y = max(0, <w*, x>)``, and the gradient of one sample at ``w`` is
``(max(0, <w, x>) - y) 1{<w, x> > 0} x``. Errors are relative, squared: ``||w - w*||^2 / ||w*||^2``. A batch
of `m` samples is shared evenly by `workers`; each sends the mean gradient of its ``b = m / workers`` samples
through an unbiased compressor Q with ``E||Q(v) - v||^2 = omega ||v||^2``, and the receiver averages.

Every function raises ValueError, with the argument's name, where an argument is out of its range; dimensions,
counts and `levels`, the number s of quantization levels above zero, are positive whole numbers.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

Array = NDArray[np.float64]


def critical_batch(d: int) -> int:
    """Return the mini-batch ``2 d + 3`` at which the best step takes off half of what it can at most.

    The best factor is ``1 - m / (m + 2 d + 3)``: far below, iterations fall as 1/m; far above, a larger batch
    buys little, the interpolation regime of Ma, Bassily and Belkin (2018, arXiv:1712.06559).
    """
    return 2 * _whole("d", d) + 3


def optimal_step(d: int, m: int, *, omega: float = 0.0, workers: int = 1) -> float:
    """Return the step ``1 / (2 A_q)`` that minimises `contraction`; ``2 m / (m + 2 d + 3)`` if omega = 0.

    The least value is ``1 - 1 / (4 A_q)``. Parameters, validity and errors are those of `contraction`.
    """
    return 1 / (2 * _curvature(d, m, omega, workers))


def stability_limit(d: int, m: int, *, omega: float = 0.0, workers: int = 1) -> float:
    """Return the step ``1 / A_q`` from which on `contraction`, whose parameters these are, is 1 or more."""
    return 1 / _curvature(d, m, omega, workers)


def contraction(d: int, m: int, step: float, *, omega: float = 0.0, workers: int = 1) -> float:
    """Return the expected factor on the squared error of one step on fresh samples, near the solution.

    For small ``h = w - w*`` the active samples are those of w*, and ``h+ = h - step * mean_k Q(M_k h)`` with
    M_k the mean of ``1{<w*, x> > 0} x x'`` over one worker's samples. As ``x x'`` is the same for x and -x,
    ``E M_k = I / 2``, and a Gaussian's fourth moments give ``E||M_k h||^2 = B(b) ||h||^2``. Together

        E||h+||^2 / ||h||^2 = 1 - step + step^2 A_q,    A_q = B(m) + (omega / workers) B(b),
        B(b) = (b - 1) / (4 b) + (d + 2) / (2 b).

    It is exact for infinitesimal h if omega does not depend on the direction of the gradient; for QSGD
    (Alistarh et al. 2017, arXiv:1610.02132) `qsgd_variance` is its mean over directions.

    Parameters
    ----------
    d, m, workers : int
        Dimension; samples in a step, over all workers; number of workers, at most `m`.
    step, omega : float
        Step size on the mean gradient; relative variance of the compressor. At least 0 (else ValueError).
    """
    return 1 - step + _nonnegative("step", step) ** 2 * _curvature(d, m, omega, workers)


def initial_error(n: int, d: int) -> float:
    """Return the expected squared relative error ``(2 d + 3) / n`` of ``w0 = (2/n) sum_i y_i x_i``.

    Exact for all n and d: ``E[y x] = w* / 2`` and ``E[y^2 ||x||^2] = (d + 2) ||w*||^2 / 2``.
    """
    return (2 * _whole("d", d) + 3) / _whole("n", n)


def recovery_probability(n: int, d: int) -> float:
    """Return the probability ``P(Binomial(n, 1/2) >= d)`` that n samples determine the weights.

    A sample is active with probability 1/2; d active samples are almost surely d independent equations for
    w*, while fewer leave a segment of weights through w* with the same labels. Exact; the threshold is at
    ``n = 2 d``, its width in n / d of order ``sqrt(2 / d)``.
    """
    n, d = _whole("n", n), _whole("d", d)
    # Not bdtrc: it is off in the seventh digit at d = 1e6 and in the first at 1e8.
    return float(special.betainc(d, n - d + 1, 0.5)) if n >= d else 0.0


def qsgd_variance_bound(d: int, levels: int) -> float:
    """Return QSGD's bound on omega for every vector, ``min(d / s^2, sqrt(d) / s)`` (arXiv:1610.02132)."""
    d, levels = _whole("d", d), _whole("levels", levels)
    return min(d / levels**2, math.sqrt(d) / levels)


def qsgd_variance(d: int, levels: int) -> float:
    """Return the relative variance omega of QSGD's quantizer, averaged over uniformly distributed directions.

    A coordinate u of the direction is rounded at random, without bias, to a neighbouring multiple of 1/s,
    which costs ``f (1 - f) / s^2``, f the fractional part of ``s |u|`` and ``u^2 ~ Beta(1/2, (d-1)/2)``. So
    ``omega = (d / s^2) E[f (1 - f)]``, computed by Gauss-Legendre rules between the levels: all terms are
    positive, and nothing cancels. With the characteristic function ``C(k) = 0F1(; d/2; -k^2/4)`` of u,

        omega = (d / s^2) [1/6 - pi^-2 sum_k C(2 pi k s) / k^2],

    with the limits, at large d and in ``sigma = s / sqrt(d)``, of ``sqrt(2/pi) / sigma - 1`` (sigma -> 0) and
    ``d / (6 s^2)`` (from sigma = 1/2 on, up to ``exp(-2 pi^2 sigma^2)``). With buckets, d is their length.
    Checked to a relative 1e-11 for d to 1e9 and s to 2^15 - 1.
    """
    fraction, mass = _cells(d, levels)
    return float(d / float(levels) ** 2 * np.sum(mass * fraction * (1 - fraction)))


def level_entropy(d: int, levels: int) -> float:
    """Return the entropy of one coordinate's signed QSGD level in bits, on uniformly distributed directions.

    Level l, of either sign, has the probability ``E max(0, 1 - |s |u| - l|)``; law of u, method, range
    and errors as in `qsgd_variance`. Levels where the density of u is below e^-40 of its peak are left out.
    An ideal entropy coder that knows this law spends so much on a coordinate; the norm is not counted.
    """
    fraction, mass = _cells(d, levels)
    up, down = np.sum(mass * fraction, axis=1), np.sum(mass * (1 - fraction), axis=1)
    probability = np.append(down, 0.0) + np.append(0.0, up)
    return float(np.sum(special.entr(probability)) / math.log(2) + np.sum(probability[1:]))


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
    t = np.arange(1, _whole("nodes", nodes) + 1) * (np.pi / (nodes + 1))
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
    d, m, b = _whole("d", d), _whole("m", m), _batch(m, workers)
    scale = _nonnegative("step", step) ** 2
    noise = scale * _nonnegative("omega", omega) / workers
    start = np.asarray(initial_error_squared, dtype=np.float64)
    if start.shape not in ((), weights.shape) or not np.all((start >= 0) & (start < np.inf)):
        raise ValueError("initial_error_squared must be finite and nonnegative: a number, or one a node")
    p = start * weights if start.ndim == 0 else start
    curve = np.empty(_whole("iterations", iterations, least=0) + 1)
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


def _curvature(d: int, m: int, omega: float, workers: int) -> float:
    d, m, b = _whole("d", d), _whole("m", m), _batch(m, workers)
    omega = _nonnegative("omega", omega)
    return (m + 2 * d + 3) / (4 * m) + omega / workers * (b + 2 * d + 3) / (4 * b)


def _cells(d: int, levels: int) -> tuple[Array, Array]:
    """Return fractional parts of ``s |u|`` and their probabilities, a row between two levels."""
    d, levels = _whole("d", d), _whole("levels", levels)
    if d == 1:
        return np.ones((1, 1)), np.ones((1, 1))
    # With u = sin(angle) the density is cos(angle)^(d-2), smooth up to |u| = 1 in every dimension.
    reach = 1.0 if d == 2 else math.sqrt(-math.expm1(-80 / (d - 2)))
    cell = np.arange(min(levels, math.ceil(levels * reach)) + 1)
    edges = np.arcsin(np.minimum(cell / levels, reach))
    # Six nodes on at most half a standard deviation of u leave an error of about 1e-13.
    parts = math.ceil(2 * math.sqrt(d) * min(reach, 1 / levels))
    nodes, weights = np.polynomial.legendre.leggauss(6)
    place = ((np.arange(parts)[:, None] + (nodes + 1) / 2) / parts).ravel()
    width = np.diff(edges)[:, None]
    u = np.sin(edges[:-1, None] + width * place)
    mass = width * np.tile(weights, parts) * np.exp((d - 2) / 2 * np.log1p(-u * u))
    return levels * u - cell[:-1, None], mass / mass.sum()


def _spectrum(eigenvalues: ArrayLike, weights: ArrayLike) -> tuple[Array, Array]:
    values, shares = np.asarray(eigenvalues, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    if values.ndim != 1 or not np.all((values >= 0) & (values < np.inf)):
        raise ValueError("eigenvalues must be a list of finite nonnegative numbers")
    if shares.shape != values.shape or not np.all(shares >= 0) or not abs(shares.sum() - 1) < 1e-6:
        raise ValueError("weights must be nonnegative, one for each of the eigenvalues, and of sum 1")
    return values, shares


def _batch(m: int, workers: int) -> float:
    """Return b = m / workers, the mean batch of a worker where they do not divide it."""
    if _whole("workers", workers) > m:
        raise ValueError(f"workers must be at most m = {m}, not {workers}")
    return m / workers


def _whole(name: str, value: int, least: int = 1) -> int:
    if not (least <= value < math.inf and value == int(value)):
        raise ValueError(f"{name} must be a whole number from {least} on, not {value!r}")
    return int(value)


def _nonnegative(name: str, value: float) -> float:
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} must be finite and at least 0, not {value!r}")
    return float(value)
