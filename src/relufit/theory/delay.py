"""Delayed gradients: the rate of SGD whose steps are along gradients at the weights of some iterations before.

Such delays are those of asynchronous SGD (F. Niu, B. Recht, C. Re, S. J. Wright, *Hogwild*, 2011, arXiv:1106.5730;
J. Dean et al., 2012, Downpour SGD), the same one at every step.
"""

from __future__ import annotations

import numpy as np

from relufit.theory._checks import whole
from relufit.theory._recursions import least_rate_step
from relufit.theory.sgd import GAUSSIAN, contraction, optimal_step

#: Steps that are tried before the search between them, from the longest down to so many times less than it.
_TRIED, _FINEST = 60, 50


def delayed_rate(
    d: int,
    m: int,
    step: float,
    delay: int,
    *,
    omega: float = 0.0,
    workers: int = 1,
    sum_omega: float = 0.0,
    kurtosis: float = GAUSSIAN,
) -> float:
    """Return the factor on ``E||w - w*||^2`` of a step along a delayed gradient, on fresh samples, near the solution.

    With ``h_t+1 = h_t - step g_t``, where g_t is the gradient of new samples at ``h_s``, s = t - delay, the products
    ``C_ij = E<h_t-i, h_t-j>`` for i, j from 0 to the delay T have a linear recursion: as ``E[g_t | past] = h_s / 2``
    and ``E||g_t||^2 = A_q E||h_s||^2`` with A_q of `contraction`,

        E<h_t+1, h_t+1> = C_00 - step C_0T + step^2 A_q C_TT,    E<h_t+1, h_t-j> = C_0j - (step / 2) C_Tj.

    The factor is the spectral radius of this map; without a delay it is `contraction`. Where step times the delay is
    much less than 1, as for m << d, a delay changes little.

    Parameters
    ----------
    d, m, step, omega, workers, sum_omega, kurtosis
        As in `contraction`.
    delay : int
        T, at least 0.

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """
    factor = contraction(d, m, step, omega=omega, workers=workers, sum_omega=sum_omega, kurtosis=kurtosis)
    last = whole("delay", delay, least=0)
    if not last:
        return factor
    pairs = [(i, j) for i in range(last + 1) for j in range(i, last + 1)]
    row_of = {pair: number for number, pair in enumerate(pairs)}
    matrix = np.zeros((len(pairs), len(pairs)))
    for (i, j), row in row_of.items():
        if i:
            matrix[row, row_of[i - 1, j - 1]] = 1.0
        elif j:
            matrix[row, row_of[0, j - 1]] += 1.0
            matrix[row, row_of[j - 1, last]] -= step / 2
        else:
            matrix[row, row_of[0, 0]] = 1.0
            matrix[row, row_of[0, last]] = -step
            # 1 - step + step^2 A_q is the factor without a delay.
            matrix[row, row_of[last, last]] = factor - 1 + step
    return float(np.abs(np.linalg.eigvals(matrix)).max())


def delayed_optimal_step(
    d: int,
    m: int,
    delay: int,
    *,
    omega: float = 0.0,
    workers: int = 1,
    sum_omega: float = 0.0,
    kurtosis: float = GAUSSIAN,
) -> float:
    """Return the step that minimises `delayed_rate`, to six digits; `optimal_step` without a delay.

    Parameters and errors are those of `delayed_rate`.
    """
    longest = optimal_step(d, m, omega=omega, workers=workers, sum_omega=sum_omega, kurtosis=kurtosis)
    if not whole("delay", delay, least=0):
        return longest

    def rate(step: float) -> float:
        return delayed_rate(d, m, step, delay, omega=omega, workers=workers, sum_omega=sum_omega, kurtosis=kurtosis)

    # A delay never makes a longer step the best one.
    return least_rate_step(rate, longest / (_FINEST * (1 + delay * longest)), longest, _TRIED)
