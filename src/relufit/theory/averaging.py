"""The mean of the weights under label noise: the floor of a constant step goes away as one over the iterations.

Known as Polyak-Ruppert averaging (B. T. Polyak, A. B. Juditsky, SIAM J. Control and Optimization 30, 1992; D. Ruppert,
1988). Labels are those of `relufit.theory.noise`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from relufit.theory._checks import whole
from relufit.theory.noise import label_noise_curve, label_noise_floor

Array = NDArray[np.float64]


def averaged_noise_curve(
    d: int,
    m: int,
    step: float,
    noise_std: float,
    iterations: int,
    *,
    initial_error_squared: float,
    average_from: int = 0,
    omega: float = 0.0,
    workers: int = 1,
    sum_omega: float = 0.0,
) -> Array:
    """Return the expected squared relative error of the mean of the weights after 0, 1, ... steps with label noise.

    The mean is that of the weights after `average_from`, `average_from` + 1, ... steps. With the error h_i after i
    steps, ``F_i = E||h_i||^2`` of `label_noise_curve` and ``r = 1 - step / 2``, every step has the mean
    ``E[h+ | h] = r h``: the Hessian is I / 2, noise and unbiased compressors add nothing to a mean. So
    ``E<h_i, h_j> = r^(j - i) F_i`` for ``i <= j``, and of n weights

        E||mean - w*||^2 = (1 / n^2) [sum_i F_i + 2 sum_{i < j} r^(j - i) F_i].

    The compressor's part is in F_i, that of the noise and that of h alike. What is neglected is what `contraction`
    neglects: rows that are active at w and not at w*, of relative order ||h||, so that the weights should be near w*
    when the mean begins. From far away it is only as good as F_i.

    Parameters
    ----------
    d, m, step, noise_std, iterations, initial_error_squared, omega, workers, sum_omega
        As of `label_noise_curve`.
    average_from : int
        At least 0, at most `iterations`.

    Returns
    -------
    array, shape (iterations + 1,)
        NaN before `average_from`; infinite or NaN from where it exceeds the range of floats.

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """
    curve = label_noise_curve(
        d,
        m,
        step,
        noise_std,
        iterations,
        initial_error_squared=initial_error_squared,
        omega=omega,
        workers=workers,
        sum_omega=sum_omega,
    )
    first = whole("average_from", average_from, least=0)
    if first > iterations:
        raise ValueError(f"average_from must be at most iterations = {iterations}, not {average_from!r}")
    averaged = np.full(iterations + 1, math.nan)
    # The square of the sum of errors, and its product with the next one.
    square = product = 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        for t in range(first, iterations + 1):
            square += 2 * product + curve[t]
            product = (1 - step / 2) * (product + curve[t])
            averaged[t] = square / (t - first + 1) ** 2
    return averaged


def averaged_noise_limit(
    d: int, m: int, step: float, noise_std: float, *, omega: float = 0.0, workers: int = 1, sum_omega: float = 0.0
) -> float:
    """Return the limit of the squared relative error of the mean of n weights, times n, as n grows.

    It is ``4 F (1 - step / 4) / step`` with F of `label_noise_floor`, so that with A_q of `contraction`

        (2 d noise_std^2 / m) (1 + omega) (1 + sum_omega) (1 - step / 4) / (1 - step A_q).

    The last factor is 1 for a short step. It is the part of h in the variance of the gradient, by rows and by the
    compressor, which does not go away: at a constant step h stays at its floor. Infinite from `stability_limit` on.

    Parameters and errors are those of `label_noise_floor`; `step` is above 0.
    """
    if not step > 0:
        raise ValueError(f"step must be above 0, not {step!r}")
    floor = label_noise_floor(d, m, step, noise_std, omega=omega, workers=workers, sum_omega=sum_omega)
    return 4 * floor * (1 - step / 4) / step
