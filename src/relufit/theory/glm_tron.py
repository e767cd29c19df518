"""GLM-tron: SGD without the indicator ``1{<w, x> > 0}`` in its gradient, ``(max(0, <w, x>) - y) x`` for a row.

Source: S. Kakade, A. Kalai, V. Kanade, O. Shamir, *Efficient Learning of Generalized Linear and Single Index Models
with Isotonic Regression*, 2011, arXiv:1104.2018.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from relufit.theory._checks import nonnegative, worker_batch
from relufit.theory._recursions import curve_of
from relufit.theory.sgd import contraction

Array = NDArray[np.float64]
#: By which the square of a part of an error may exceed that of the whole.
_ROUNDING = 1e-9


def glm_tron_curve(
    d: int,
    m: int,
    step: float,
    iterations: int,
    *,
    initial_error_squared: float,
    along: float = 0.0,
    omega: float = 0.0,
    workers: int = 1,
    sum_omega: float = 0.0,
) -> Array:
    """Return the expected squared relative error after 0, 1, ... steps of GLM-tron on fresh samples, from anywhere.

    As ``E max(0, <w, x>) x = w / 2``, the mean of the gradient is h / 2 for every w, not only near w*. With ||w*|| = 1,
    ``c = <h, w*>``, p the length of h perpendicular to w*, and the angle ``theta = atan2(p, 1 + c)`` of w and w*, the
    arc-cosine kernel (Y. Cho, L. K. Saul, 2009) has the residual ``r = max(0, <w, x>) - y``:

        E r^2 = ||h||^2 / 2 - (p - (1 + c) theta) / pi,    E r^2 ||x||^2 = (d + 2) E r^2,

    the latter exact for w along w*, and elsewhere but for a share of order ``1 / d`` of the second term. The mean
    square of the gradient of b samples is ``Q(b) = (d + 2) E r^2 / b + (1 - 1 / b) ||h||^2 / 4``, and

        ||h||^2+ = (1 - step) ||h||^2 + step^2 (1 + sum_omega) [Q(m) + (omega / workers) Q(b)],  c+ = (1 - step / 2) c.

    Near w*, where the second term of E r^2 is of order p^3, it is `contraction`; from zero, too, at first. The
    recursion is of means: fluctuations of theta are left out.

    Parameters
    ----------
    d, m, step, omega, workers, sum_omega
        As in `contraction`.
    iterations : int
    initial_error_squared : float
        ||h||^2 at first: 1 at zero, `initial_error` for the moment estimate.
    along : float
        c at first, with ``along^2`` at most ||h||^2: -1 at zero, 0 in the mean for the moment estimate.

    Returns
    -------
    array, shape (iterations + 1,)
        Infinite where it exceeds the range of floats.

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """
    contraction(d, m, step, omega=omega, workers=workers, sum_omega=sum_omega)  # which checks its arguments
    start, own = nonnegative("initial_error_squared", initial_error_squared), worker_batch(m, workers)
    if not along**2 <= start * (1 + _ROUNDING):
        raise ValueError(f"along must be at most the error in magnitude, not {along!r}")

    def errors() -> Iterator[float]:
        square, c = start, along
        while square < math.inf:
            yield square
            across = math.sqrt(max(0.0, square - c**2))
            residual = square / 2 - (across - (1 + c) * math.atan2(across, 1 + c)) / math.pi
            encoded = sum(
                share * ((d + 2) * residual / b + (1 - 1 / b) * square / 4)
                for share, b in ((1.0, m), (omega / workers, own))
            )
            square, c = (1 - step) * square + step**2 * (1 + sum_omega) * encoded, (1 - step / 2) * c

    return curve_of(errors(), iterations)
