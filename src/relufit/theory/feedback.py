"""Error feedback: the rate of SGD whose ranks keep what a biased compressor left out, and add it to the next gradient.

Rank r sends ``C(p_r)`` of ``p_r = step * g_r + e_r`` and keeps the residual ``e_r+ = p_r - C(p_r)``; the weights move
by the mean of what was sent (Seide et al. 2014; Karimireddy et al. 2019, arXiv:1901.09847). `delta` is the fraction of
the squared norm that the compressor keeps: ``<C(p), p> = ||C(p)||^2 = delta ||p||^2`` for p of a Gaussian direction.
"""

from __future__ import annotations

import math

import numpy as np
import scipy

from relufit.theory._checks import nonnegative, whole, worker_batch
from relufit.theory.sgd import contraction, optimal_step

#: ``E|z|^2`` of a standard normal number: the share of the squared norm that signs keep.
SIGN_DELTA = 2 / math.pi


def feedback_rate(d: int, m: int, step: float, *, delta: float, workers: int = 1) -> float:
    """Return the factor on ``E||w - w*||^2`` of a step with error feedback, on fresh samples, near the solution.

    With the mean residual ``e`` and ``h~ = h - e``, which moves as SGD without compression does
    (``h~+ = h~ - step * g``), four second moments have a linear recursion of their own: ``S = E||h~||^2``,
    ``X = E<h~, e>``, ``E1 = E||e_r||^2`` and ``E12 = E<e_r, e_s>`` of two ranks. With ``E = (E1 + (K - 1) E12) / K``,
    ``H = S + 2 X + E``, and the curvatures A and B of `contraction` for the batch of all ranks and of one,

        S+   = S - step (S + X) + step^2 A H
        X+   = (1 - delta) (X + step (S - E) / 2 - step^2 A H)
        E1+  = (1 - delta) (E1 + step (X + E) + step^2 B H)
        E12+ = (1 - delta)^2 (E12 + step (X + E) + step^2 H / 4).

    The factor is the spectral radius of this map. The residuals of different ranks are taken as independent given
    their means, and what a compressor keeps as independent of the direction. In simulations its logarithm is within
    3 % for signs, and for the largest 5 % of the coordinates or more, where m is much smaller than d. It fails for the
    largest 1 %, whose residuals are far from Gaussian, and where m is near d.

    Parameters
    ----------
    d, m, workers : int
        Dimension; samples in a step, over all ranks; number of ranks, at most `m`.
    step : float
        Step size on the mean gradient, at least 0.
    delta : float
        Share of the squared norm that the compressor keeps, above 0 and at most 1. With 1 nothing is left out, and the
        factor is that of `contraction`.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """
    if not 0 < delta <= 1:
        raise ValueError(f"delta must be above 0 and at most 1, not {delta!r}")
    nonnegative("step", step)
    if delta == 1:
        return contraction(d, m, step, workers=workers)
    every, own = (_curvature(d, batch) for batch in (m, worker_batch(m, workers)))
    s, x, e1, e12 = np.eye(4)
    e = (e1 + (workers - 1) * e12) / workers
    h, left = s + 2 * x + e, 1 - delta
    moments = [
        s - step * (s + x) + step**2 * every * h,
        left * (x + step * (s - e) / 2 - step**2 * every * h),
        left * (e1 + step * (x + e) + step**2 * own * h),
        left**2 * (e12 + step * (x + e) + step**2 * h / 4),
    ]
    # A rank alone has no other whose residual could be like its own.
    count = 4 if workers > 1 else 3
    return float(np.abs(np.linalg.eigvals(np.array(moments)[:count, :count])).max())


def feedback_optimal_step(d: int, m: int, *, delta: float, workers: int = 1) -> float:
    """Return the step that minimises `feedback_rate`, whose parameters and errors these are."""
    longest = optimal_step(d, m, workers=workers)
    if delta == 1:
        return longest
    optimum = scipy.optimize.minimize_scalar(
        lambda step: feedback_rate(d, m, step, delta=delta, workers=workers), bounds=(0, 2 * longest), method="bounded"
    )
    return float(optimum.x)


def top_delta(fraction: float, *, signs: bool = False) -> float:
    """Return the share of the squared norm of a Gaussian vector that its largest coordinates keep.

    With ``t = Phi^-1(1 - q / 2)`` for the fraction q: as values ``2 (t phi(t) + Phi(-t))``, as signs times their mean
    magnitude ``(2 phi(t))^2 / q``.

    Parameters
    ----------
    fraction : float
        q, above 0 and at most 1.
    signs : bool
        Whether signs are sent in place of values.

    Raises
    ------
    ValueError
        If `fraction` is out of its range.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction must be above 0 and at most 1, not {fraction!r}")
    t = -float(scipy.special.ndtri(fraction / 2))
    density = math.exp(-(t**2) / 2) / math.sqrt(2 * math.pi)
    if signs:
        return (2 * density) ** 2 / fraction
    return 2 * t * density + fraction


def _curvature(d: int, b: float) -> float:
    """Return ``E||M h||^2 / ||h||^2`` of b samples, see `contraction`."""
    return (b + 2 * whole("d", d) + 3) / (4 * b)
