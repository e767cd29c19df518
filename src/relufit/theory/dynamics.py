"""SGD on fresh samples from any start: the mean-field recursion, and the moments that it begins with.

For Gaussian inputs all expectations depend on w only through ``||w||^2`` and ``<w, w*>``, ``||w*|| = 1``. With theta
the angle between w and w*, ``h = w - w*``, the residual ``r = max(0, <w, x>) - max(0, <w*, x>)``,
``phi(t) = t - sin t cos t`` and ``k(t) = sin t - t cos t``,

    E[r 1{<w, x> > 0} x] = h / 2 + (theta w* - sin(theta) w / ||w||) / (2 pi),
    E[r^2 1{<w, x> > 0}] = ||h||^2 / 2 - ||w|| k(theta) / pi - phi(theta) / (2 pi),
    E[r^2] / 2           = ||h||^2 / 4 - ||w|| k(theta) / (2 pi).

In this form nothing cancels near w*, where phi and k are of third order. For obtuse angles, with t = pi - theta, the
second is ``||w||^2 / 2 - ||w|| k(t) / pi + phi(t) / (2 pi)`` and the third ``(||w||^2 + 1) / 4 - ||w|| k(t) / (2 pi)``.
They follow from integrals over the plane of w and w* in polar coordinates; the first and the third are in
A. Brutzkus, A. Globerson (2017, arXiv:1702.07966), section 3.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from relufit.theory._checks import nonnegative, whole, worker_batch
from relufit.theory._recursions import curve_of

Array = NDArray[np.float64]


class _Expectations(NamedTuple):
    second: float  # E[r^2 1{<w, x> > 0}]
    along: float  # population gradient along w*
    across: float  # and perpendicular to it, towards w
    loss: float


def initial_moments(n: int, d: int) -> tuple[float, float]:
    """Return the expected ``||w0||^2 = 1 + (2 d + 3) / n`` and ``<w0, w*> = 1`` of ``w0 = (2/n) sum_i y_i x_i``.

    Exact for all n and d: w0 has the mean w*, and `initial_error` is its squared distance.
    """
    return 1 + (2 * whole("d", d) + 3) / whole("n", n), 1.0


def population_loss(norm_squared: float, inner: float) -> float:
    """Return ``E[(max(0, <w, x>) - max(0, <w*, x>))^2] / 2`` for ``||w||^2`` and ``<w, w*>``, ``||w*|| = 1``.

    Exact, for ``inner^2 <= norm_squared`` (else ValueError), up to the rounding of the two numbers: near w* that is
    1e-16, not relative to the loss. Samples with ``<w, x> <= 0 < <w*, x>`` are in it, though they have no gradient.
    """
    gap, across = _coordinates(norm_squared, inner)
    return _expectations(inner, gap, across).loss


def global_curve(
    d: int,
    m: int,
    step: float,
    iterations: int,
    *,
    norm_squared: float,
    inner: float,
    omega: float = 0.0,
    workers: int = 1,
    sum_omega: float = 0.0,
    until: float | None = None,
) -> Array:
    """Return the squared relative error of SGD on fresh samples after 0, 1, ... steps, from anywhere.

    With g the population gradient at w and ``G = (d + 2) E[r^2 1{<w, x> > 0}]``, one step takes, exactly in the mean,

        <w, w*>+ = <w, w*> - step <g, w*>,
        ||w||^2+ = ||w||^2 - 2 step <g, w> + step^2 (1 + sum_omega) [G / m + (1 - 1/m) ||g||^2
                   + (omega / workers) (G / b + (1 - 1/b) ||g||^2)].

    G is the mean squared gradient of one sample: r is homogeneous in x, hence ``r^2 / ||x||^2`` independent of
    ``||x||``, and ``E||x||^4 / E||x||^2 = d + 2``. The recursion goes on with these means as if they were the values,
    which is the leading order in 1/d; for a start that is random itself take its means, as of `initial_moments`.
    Near w* the squared error falls by `contraction`, to rounding. Weights of zero do not move.

    What is followed are ``<h, w*>`` and the part of w perpendicular to w*, so that digits are kept at any error.

    Parameters
    ----------
    d, m, step, omega, workers, sum_omega
        As in `contraction`.
    iterations : int
        Number of steps, 0 or more.
    norm_squared, inner : float
        ``||w||^2`` and ``<w, w*>`` at the start, for ``||w*|| = 1``; ``inner^2 <= norm_squared``.
    until : float, optional
        The curve ends with the first squared error that is at most that.

    Returns
    -------
    array, shape (iterations + 1,), or shorter
        Infinite where it exceeds the range of floats.

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """
    d, m, b = whole("d", d), whole("m", m), worker_batch(m, workers)
    step, noise = nonnegative("step", step), nonnegative("omega", omega) / workers
    again = nonnegative("sum_omega", sum_omega)
    start = _coordinates(norm_squared, inner)

    def errors() -> Iterator[float]:
        # Both are kept: one has the digits near 0, the other near w*.
        along, (gap, across) = inner, start
        while (error := gap * gap + across * across) < math.inf:
            yield error
            mean = _expectations(along, gap, across)
            sample, batch = (d + 2) * mean.second, mean.along * mean.along + mean.across * mean.across
            spread = (sample - batch) / m + noise * (sample / b + (1 - 1 / b) * batch)
            spread += again * (spread + batch)
            along, gap = along - step * mean.along, gap - step * mean.along
            across = math.hypot(across - step * mean.across, step * math.sqrt(spread))

    return curve_of(errors(), iterations, until)


def _coordinates(norm_squared: float, inner: float) -> tuple[float, float]:
    """Return ``<h, w*>`` and the length of the part of w that is perpendicular to w*."""
    norm_squared = nonnegative("norm_squared", norm_squared)
    square = norm_squared - inner * inner
    if not square >= -1e-12 * norm_squared:
        raise ValueError(f"inner must be at most the root of norm_squared = {norm_squared!r} in size, not {inner!r}")
    return inner - 1, math.sqrt(max(square, 0.0))


def _expectations(inner: float, gap: float, across: float) -> _Expectations:
    norm = math.hypot(inner, across)
    if norm == 0:
        return _Expectations(0.0, 0.0, 0.0, 0.25)
    angle = math.atan2(across, abs(inner))
    phi = _minus_sine(2 * angle) / (4 * math.pi)
    k = norm / math.pi * (2 * angle * math.sin(angle / 2) ** 2 - _minus_sine(angle))
    turned = across / 2 - (across / norm) ** 2 / (2 * math.pi)
    if inner >= 0:
        half = (gap * gap + across * across) / 2
        return _Expectations(half - k - phi, gap / 2 + phi, turned, (half - k) / 2)
    half = norm * norm / 2
    return _Expectations(half - k + phi, inner / 2 - phi, turned, (half + 0.5 - k) / 2)


def _minus_sine(x: float) -> float:
    """Return ``x - sin x``, x >= 0, to full relative accuracy."""
    if x > 1:
        return x - math.sin(x)
    series = 1.0
    for k in range(16, 3, -2):
        series = 1 - x * x / (k * (k + 1)) * series
    return x**3 / 6 * series
