"""Local steps: ranks that each take several steps on samples of their own before they exchange anything.

Known as local SGD (S. U. Stich, *Local SGD Converges Fast and Communicates Little*, ICLR 2019, arXiv:1805.09767) and as
federated averaging.
"""

from __future__ import annotations

import math

from relufit.theory._checks import nonnegative, whole, worker_batch
from relufit.theory._recursions import least_rate_step
from relufit.theory.sgd import GAUSSIAN, batch_curvature, optimal_step, stability_limit

#: Steps that are tried before the search between them, from the longest down to so many times less than it over H.
_TRIED, _FINEST = 400, 100


def local_contraction(
    d: int,
    m: int,
    step: float,
    local_steps: int,
    *,
    omega: float = 0.0,
    workers: int = 1,
    sum_omega: float = 0.0,
    kurtosis: float = GAUSSIAN,
) -> float:
    """Return the expected factor on the squared error of one exchange after H local steps, near the solution.

    From common weights with the error h each rank takes H steps ``h_k+ = h_k - step M_k h_k``, with fresh samples and
    M_k as in `contraction`, b = m / workers samples each. From ``E M_k = I / 2`` and ``E||M_k h||^2 = B(b) ||h||^2``,
    in units of ``||h||^2``,

        a = E||h_k||^2 = (1 - step + step^2 B(b))^H,    q = E<h, h_k> = (1 - step / 2)^H,

    and ``E<h_k, h_l> = q^2`` of two ranks, whose samples are independent. The mean of the ranks' weights has the error
    ``(a + (K - 1) q^2) / K``. Where ranks encode their differences ``h - h_k``, of mean square ``U = 1 - 2 q + a``,

        E||h+||^2 = 1 - 2 (1 - q) + (1 + sum_omega) [(1 + omega) U / K + (1 - 1 / K) (1 - q)^2].

    With one local step it is `contraction`.

    Parameters
    ----------
    d, m, step, omega, workers, sum_omega, kurtosis
        As in `contraction`; m are the samples of one local step, over all workers.
    local_steps : int
        H.

    Returns
    -------
    float
        Infinite where it exceeds the range of floats.

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """
    count, step, omega = whole("local_steps", local_steps), nonnegative("step", step), nonnegative("omega", omega)
    again, b = 1 + nonnegative("sum_omega", sum_omega), worker_batch(whole("m", m), workers)
    try:
        own = (1 - step + step**2 * batch_curvature(whole("d", d), b, kurtosis)) ** count
        along = (1 - step / 2) ** count
        change = (1 + omega) * (1 - 2 * along + own) / workers + (1 - 1 / workers) * (1 - along) ** 2
    except OverflowError:
        return math.inf
    return 1 - 2 * (1 - along) + again * change


def local_optimal_step(
    d: int,
    m: int,
    local_steps: int,
    *,
    omega: float = 0.0,
    workers: int = 1,
    sum_omega: float = 0.0,
    kurtosis: float = GAUSSIAN,
) -> float:
    """Return the step that minimises `local_contraction`, to six digits; `optimal_step` for one local step.

    Parameters and errors are those of `local_contraction`.
    """
    if whole("local_steps", local_steps) == 1:
        return optimal_step(d, m, omega=omega, workers=workers, sum_omega=sum_omega, kurtosis=kurtosis)

    def factor(step: float) -> float:
        return local_contraction(
            d, m, step, local_steps, omega=omega, workers=workers, sum_omega=sum_omega, kurtosis=kurtosis
        )

    # The factor is at most 1 there: of a rank a <= 2 K + 1.
    curvature = batch_curvature(d, worker_batch(m, workers), kurtosis)
    growth = (2 * workers + 1) ** (1 / local_steps) - 1
    own = (1 + math.sqrt(1 + 4 * curvature * growth)) / (2 * curvature)
    longest = min(own, stability_limit(d, m, omega=omega, workers=workers, sum_omega=sum_omega, kurtosis=kurtosis))
    # With many local steps the factor is flat on both sides of its minimum.
    return least_rate_step(factor, longest / (_FINEST * local_steps), longest, _TRIED)
