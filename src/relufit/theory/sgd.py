"""Steps of SGD on fresh samples: step sizes, contraction, batches; where it starts, and what n samples determine."""

from __future__ import annotations

import math

import scipy

from relufit.theory._checks import nonnegative, whole, worker_batch

#: ``E x^4`` of a Gaussian coordinate with unit variance.
GAUSSIAN = 3.0


def critical_batch(d: int) -> int:
    """Return the mini-batch ``2 d + 3`` at which the best step takes off half of what it can at most.

    The best factor is ``1 - m / (m + 2 d + 3)``: far below, iterations fall as 1/m; far above, a larger batch
    buys little, the interpolation regime of Ma, Bassily and Belkin (2018, arXiv:1712.06559).
    """
    return 2 * whole("d", d) + 3


def optimal_step(
    d: int, m: int, *, omega: float = 0.0, workers: int = 1, sum_omega: float = 0.0, kurtosis: float = GAUSSIAN
) -> float:
    """Return the step ``1 / (2 A_q)`` that minimises `contraction`; ``2 m / (m + 2 d + 3)`` if omega = 0.

    The least value is ``1 - 1 / (4 A_q)``. Parameters, validity and errors are those of `contraction`.
    """
    return 1 / (2 * _curvature(d, m, omega, workers, kurtosis, sum_omega))


def stability_limit(
    d: int, m: int, *, omega: float = 0.0, workers: int = 1, sum_omega: float = 0.0, kurtosis: float = GAUSSIAN
) -> float:
    """Return the step ``1 / A_q`` from which on `contraction`, whose parameters these are, is 1 or more."""
    return 1 / _curvature(d, m, omega, workers, kurtosis, sum_omega)


def contraction(
    d: int,
    m: int,
    step: float,
    *,
    omega: float = 0.0,
    workers: int = 1,
    kurtosis: float = GAUSSIAN,
    sum_omega: float = 0.0,
) -> float:
    """Return the expected factor on the squared error of one step on fresh samples, near the solution.

    For small ``h = w - w*`` the active samples are those of w*, and ``h+ = h - step * mean_k Q(M_k h)`` with
    M_k the mean of ``1{<w*, x> > 0} x x'`` over one worker's samples. As ``x x'`` is the same for x and -x,
    ``E M_k = I / 2``, and the fourth moments of x give ``E||M_k h||^2 = B(b) ||h||^2``. Together

        E||h+||^2 / ||h||^2 = 1 - step + step^2 A_q,    A_q = (1 + sum_omega) [B(m) + (omega / workers) B(b)],
        B(b) = (b - 1) / (4 b) + (d - 1 + kurtosis) / (2 b).

    `sum_omega` is the relative variance of a second encoding, that of the average of the decoded gradients, in an
    exchange that has one: it adds ``sum_omega`` times the mean square of what it encodes.

    It is exact for infinitesimal h if omega does not depend on the direction of the gradient; for QSGD
    (Alistarh et al. 2017, arXiv:1610.02132) `qsgd_variance` is its mean over directions.

    Parameters
    ----------
    d, m, workers : int
        Dimension; samples in a step, over all workers; number of workers, at most `m`.
    step, omega : float
        Step size on the mean gradient; relative variance of the compressor. At least 0 (else ValueError).
    kurtosis : float
        ``E x_i^4`` of independent, symmetric coordinates with unit variance, at least 1 (else ValueError): 3 of
        Gaussian ones.
    sum_omega : float
        Relative variance of the encoding of the average, at least 0 (else ValueError).
    """
    return 1 - step + nonnegative("step", step) ** 2 * _curvature(d, m, omega, workers, kurtosis, sum_omega)


def log_contraction(
    d: int,
    m: int,
    step: float,
    *,
    omega: float = 0.0,
    workers: int = 1,
    kurtosis: float = GAUSSIAN,
    sum_omega: float = 0.0,
) -> float:
    """Return the expected logarithm of the factor on the squared error of one step on fresh samples, near the solution.

    A run goes down by it a step, since factors of successive steps are independent; the mean over runs of the squared
    error is ruled by `contraction`, which is larger. At second order in the spread of the factor it is
    ``ln contraction - v / 2`` with v of `log_error_variance`: at the optimal step about ``1 + 1.25 / d`` times
    ``ln contraction``. It is within 1 % of simulations for d from 30 on, with QSGD too, at steps of up to 1.5 times the
    optimal one, and within 2 % at 1.9 times.

    Parameters and errors are those of `contraction`; minus infinity where that is 0.
    """
    change = -step + nonnegative("step", step) ** 2 * _curvature(d, m, omega, workers, kurtosis, sum_omega)
    if change <= -1:
        return -math.inf
    # Keeps its digits where the factor is near 1.
    variance = log_error_variance(d, m, step, 1, omega=omega, workers=workers, kurtosis=kurtosis, sum_omega=sum_omega)
    return math.log1p(change) - variance / 2


def log_error_variance(
    d: int,
    m: int,
    step: float,
    iterations: int,
    *,
    omega: float = 0.0,
    workers: int = 1,
    kurtosis: float = GAUSSIAN,
    sum_omega: float = 0.0,
) -> float:
    """Return the variance of ``ln ||h||^2`` after that many steps on fresh samples, near the solution.

    With ``P = h' M h / ||h||^2``, M the mean of ``1{<w*, x> > 0} x x'`` over the batch, and C chi-squared with d - 1
    degrees of freedom, independent of P, the factor of one step without compression is
    ``X = (1 - step P)^2 + (step^2 / m) P C``. As M has the same law in all directions, the factors of successive steps
    are independent: the variance is that of ``ln X``, times the steps. ``Var X`` follows from the first four moments of
    P, a mean of m squares of normal numbers each of which counts with probability 1/2, and ``Var C = 2 (d - 1)``;
    divided by ``contraction^2`` it is that of ``ln X`` where it is small.

    Compression adds an error with the mean square ``T ||h||^2``, ``T = A_q - B(m)`` as in `contraction`,
    taken as Gaussian, evenly spread over all directions and in proportion to P: what is perpendicular to h becomes
    ``step^2 P (1 / m + 2 T / d) C``, and what lies along h has the variance ``step^2 T / d``.

    At the optimal step the standard deviation at the squared error e is ``sqrt(-2.5 ln(e) / d)`` for m << d,
    8.3 / sqrt(d) at 1e-12, and 6.7 / sqrt(d) for m = 2 d. It is within 12 % of simulations for d from 30 on.

    Parameters are those of `contraction`; `iterations` is 0 or more.
    """
    rate = contraction(d, m, step, omega=omega, workers=workers, kurtosis=kurtosis, sum_omega=sum_omega)
    error = _curvature(d, m, omega, workers, kurtosis, sum_omega) - batch_curvature(d, m, kurtosis)
    # Central moments of P: the cumulants of one term are 5/4, 11/2, 279/8, and fall as m^(1 - order) for their mean.
    second, third = 1.25 / m, 5.5 / m**2
    fourth = 34.875 / m**3 + 3 * second**2
    perpendicular = (1 / m + 2 * error / d) * (d - 1)
    linear = step**2 * perpendicular - 2 * step
    # Var(linear P + step^2 P^2), with P = 1/2 + p: P^2 = 1/4 + p + p^2.
    slope = linear + step**2
    by_projection = slope**2 * second + 2 * slope * step**2 * third + step**4 * (fourth - second**2)
    by_length = 2 * (d - 1) * step**4 * (1 / m + 2 * error / d) ** 2 * (0.25 + second)
    along = (2 * step * (1 - step / 2)) ** 2 * error / d
    return whole("iterations", iterations, least=0) * (by_projection + by_length + along) / rate**2


def initial_error(n: int, d: int) -> float:
    """Return the expected squared relative error ``(2 d + 3) / n`` of ``w0 = (2/n) sum_i y_i x_i``.

    Exact for all n and d: ``E[y x] = w* / 2`` and ``E[y^2 ||x||^2] = (d + 2) ||w*||^2 / 2``.
    """
    return (2 * whole("d", d) + 3) / whole("n", n)


def recovery_probability(n: int, d: int) -> float:
    """Return the probability ``P(Binomial(n, 1/2) >= d)`` that n samples determine the weights.

    A sample is active with probability 1/2; d active samples are almost surely d independent equations for
    w*, while fewer leave a segment of weights through w* with the same labels. Exact; the threshold is at
    ``n = 2 d``, its width in n / d of order ``sqrt(2 / d)``.
    """
    n, d = whole("n", n), whole("d", d)
    # Not bdtrc: it is off in the seventh digit at d = 1e6 and in the first at 1e8.
    return float(scipy.special.betainc(d, n - d + 1, 0.5)) if n >= d else 0.0


def _curvature(d: int, m: int, omega: float, workers: int, kurtosis: float = GAUSSIAN, sum_omega: float = 0.0) -> float:
    d, m, b = whole("d", d), whole("m", m), worker_batch(m, workers)
    omega, again = nonnegative("omega", omega), 1 + nonnegative("sum_omega", sum_omega)
    if not (math.isfinite(kurtosis) and kurtosis >= 1):
        raise ValueError(f"kurtosis must be a finite number of at least 1, not {kurtosis!r}")
    return again * (batch_curvature(d, m, kurtosis) + omega / workers * batch_curvature(d, b, kurtosis))


def batch_curvature(d: int, b: float, kurtosis: float = GAUSSIAN) -> float:
    """Return ``E||M h||^2 / ||h||^2`` of b samples, B(b) of `contraction`."""
    return (b + 2 * d - 3 + 2 * kurtosis) / (4 * b)
