"""Label noise: the error at which SGD on fresh samples comes to rest, and the way there.

Labels are ``y = max(0, <w*, x>) + z`` with ``z ~ N(0, noise_std^2)``, and ``||w*|| = 1``.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from relufit.theory._checks import nonnegative, whole
from relufit.theory.sgd import contraction, stability_limit

Array = NDArray[np.float64]


def label_noise_floor(
    d: int,
    m: int,
    step: float,
    noise_std: float,
    *,
    omega: float = 0.0,
    workers: int = 1,
    sum_omega: float = 0.0,
) -> float:
    """Return the squared relative error that SGD on fresh samples tends to, in the mean, at a constant step.

    The noise adds ``-z 1{<w, x> > 0} x`` to a sample's gradient: of mean zero, independent of the rest, and with the
    mean square ``noise_std^2 d / 2``. Averaging and compression leave ``C / m`` of it, with
    ``C = (1 + omega) (1 + sum_omega)``. Each step therefore adds ``step^2 noise_std^2 (d / 2 m) C`` to the squared
    error, and the floor is, with A_q of `contraction`,

        noise_std^2 (d / 2 m) C step / (1 - step A_q).

    Valid while the floor is much less than 1, as `contraction` is; the law of the noise does not matter. Infinite from
    `stability_limit` on.

    Parameters
    ----------
    noise_std : float
        Standard deviation of a label's noise in units of ``||w*||``, at least 0.
    d, m, step, omega, workers, sum_omega
        As in `contraction`.

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """
    added = _added(d, m, step, noise_std, omega, workers, sum_omega)
    left = 1 - step / stability_limit(d, m, omega=omega, workers=workers, sum_omega=sum_omega)
    if left <= 0:
        return math.inf
    return added / (step * left) if step else 0.0


def label_noise_curve(
    d: int,
    m: int,
    step: float,
    noise_std: float,
    iterations: int,
    *,
    initial_error_squared: float,
    omega: float = 0.0,
    workers: int = 1,
    sum_omega: float = 0.0,
) -> Array:
    """Return the expected squared relative error after 0, 1, ... steps on fresh samples with label noise.

    It is ``floor + (initial - floor) contraction^t`` with `label_noise_floor`, whose parameters and validity these are;
    beyond the stability limit the same recursion is followed. Shape (iterations + 1,); infinite where it exceeds the
    range of floats.
    """
    added = _added(d, m, step, noise_std, omega, workers, sum_omega)
    start = nonnegative("initial_error_squared", initial_error_squared)
    limit = stability_limit(d, m, omega=omega, workers=workers, sum_omega=sum_omega)
    growth = -step * (1 - step / limit)
    t = np.arange(whole("iterations", iterations, least=0) + 1, dtype=np.float64)
    with np.errstate(over="ignore"):
        # The factor is 1 + growth; its powers to t - 1 add up to `terms`, also where it is near 1.
        powers = np.exp(t * math.log1p(growth))
        terms = np.expm1(t * math.log1p(growth)) / growth if growth else t
        # A part that is zero stays so after an overflow of the other factor.
        curve: Array = (start * powers if start else 0 * t) + (added * terms if added else 0 * t)
    return curve


def _added(d: int, m: int, step: float, noise_std: float, omega: float, workers: int, sum_omega: float) -> float:
    """Return what a step adds to the squared error; the arguments are checked by `contraction`."""
    contraction(d, m, step, omega=omega, workers=workers, sum_omega=sum_omega)
    return (step * nonnegative("noise_std", noise_std)) ** 2 * d / (2 * m) * (1 + omega) * (1 + sum_omega)
