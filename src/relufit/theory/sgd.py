"""Steps of SGD on fresh samples: step sizes, contraction, batches; where it starts, and what n samples determine."""

from __future__ import annotations

import scipy

from relufit.theory._checks import nonnegative, whole, worker_batch


def critical_batch(d: int) -> int:
    """Return the mini-batch ``2 d + 3`` at which the best step takes off half of what it can at most.

    The best factor is ``1 - m / (m + 2 d + 3)``: far below, iterations fall as 1/m; far above, a larger batch
    buys little, the interpolation regime of Ma, Bassily and Belkin (2018, arXiv:1712.06559).
    """
    return 2 * whole("d", d) + 3


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
    return 1 - step + nonnegative("step", step) ** 2 * _curvature(d, m, omega, workers)


def log_error_variance(d: int, m: int, step: float, iterations: int) -> float:
    """Return the variance of ``ln ||h||^2`` after that many steps on fresh samples, near the solution.

    With P = h' M h / ||h||^2, M the mean of ``1{<w*, x> > 0} x x'`` over the batch, and C chi-squared with d - 1
    degrees of freedom, independent of P, the factor of one step is ``X = (1 - step P)^2 + (step^2 / m) P C``. As M
    has the same law in all directions, the factors of successive steps are independent: the variance is that of
    ``ln X``, times the steps. At leading order in 1/d it follows from ``Var P = 5 / (4 m)``, ``Var C = 2 (d - 1)``:

        v = {[2 step (1 - step/2) - step^2 (d - 1) / m]^2 5 / (4 m) + step^4 (d - 1) / (2 m^2)} / contraction^2.

    A typical run falls as ``ln contraction - v / 2`` a step, below the mean of the squared error. At the optimal step
    the standard deviation at the squared error e is ``sqrt(-2.5 ln(e) / d)`` for m << d, 8.3 / sqrt(d) at 1e-12, and
    6.7 / sqrt(d) for m = 2 d. Without compression. v is within 1% of simulations at d = 1000 and 10% at d = 100,
    for all m and steps to 1.5 times the optimal one.

    Parameters are those of `contraction`; `iterations` is 0 or more.
    """
    rate = contraction(d, m, step)
    by_projection = 2 * step * (1 - step / 2) - step**2 * (d - 1) / m
    variance = by_projection**2 * 5 / (4 * m) + step**4 * (d - 1) / (2 * m**2)
    return whole("iterations", iterations, least=0) * variance / rate**2


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


def _curvature(d: int, m: int, omega: float, workers: int) -> float:
    d, m, b = whole("d", d), whole("m", m), worker_batch(m, workers)
    omega = nonnegative("omega", omega)
    return (m + 2 * d + 3) / (4 * m) + omega / workers * (b + 2 * d + 3) / (4 * b)
