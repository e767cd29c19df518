"""Steps of SGD on fresh samples: step sizes, contraction, batches; where it starts, and what n samples determine."""

from __future__ import annotations

from scipy import special

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
    return float(special.betainc(d, n - d + 1, 0.5)) if n >= d else 0.0


def _curvature(d: int, m: int, omega: float, workers: int) -> float:
    d, m, b = whole("d", d), whole("m", m), worker_batch(m, workers)
    omega = nonnegative("omega", omega)
    return (m + 2 * d + 3) / (4 * m) + omega / workers * (b + 2 * d + 3) / (4 * b)
