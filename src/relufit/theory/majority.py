"""signSGD with a majority vote: where it comes to rest at a constant step.

Source: J. Bernstein, J. Zhao, K. Azizzadenesheli, A. Anandkumar, *signSGD with Majority Vote is Communication Efficient
and Fault Tolerant*, 2019, arXiv:1810.05291.
"""

from __future__ import annotations

import numpy as np
import scipy

from relufit.theory._checks import nonnegative, whole, worker_batch

#: Of the Gauss-Hermite rule over the coordinates of the error.
_NODES = 128


def majority_floor(d: int, m: int, step: float, *, workers: int = 1) -> float:
    """Return the squared error at which SGD by the majority of the ranks' signs comes to rest, near the solution.

    A rank has b = m / workers fresh samples. Coordinate i of its gradient at the error h, that is of
    ``(1/b) sum_active <x, h> x``, has the sign of h_i with the probability ``P(T_A < |z| sqrt(A / d))``, with
    ``z = h_i sqrt(d) / ||h||``, A the number of active samples, which is binomial, and T_A Student's t with A degrees
    of freedom: given the products ``<x, h>`` the coordinate is normal. The majority of independent ranks is right with
    the probability P(z), an even vote half of the time. With z standard normal and ``c = E |z| (2 P(z) - 1)``, a step
    changes the squared error H by

        -2 step c sqrt(d H) + step^2 d,

    which is 0 at ``H = step^2 d / (4 c^2)``.

    Parameters
    ----------
    d, m, workers : int
        Dimension; samples in a step, over all ranks; number of ranks, at most `m`, each with as many samples.
    step : float
        What a coordinate of the weights moves by in a step, at least 0.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """
    d, b = whole("d", d), round(worker_batch(whole("m", m), workers))
    z, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    active = np.arange(b + 1)
    share = (
        np.exp(scipy.special.gammaln(b + 1) - scipy.special.gammaln(active + 1) - scipy.special.gammaln(b - active + 1))
        / 2.0**b
    )
    # Without an active sample there is no vote, which is neither right nor wrong.
    right = share[0] / 2 + share[1:] @ scipy.special.stdtr(active[1:, None], np.abs(z) * np.sqrt(active[1:, None] / d))
    votes = np.arange(workers + 1)
    counted = np.where(2 * votes == workers, 0.5, 2 * votes > workers)
    of_votes = (
        scipy.special.comb(workers, votes)[:, None]
        * right ** votes[:, None]
        * (1 - right) ** (workers - votes[:, None])
    )
    c = float(weights @ (np.abs(z) * (2 * (counted @ of_votes) - 1)) / weights.sum())
    return nonnegative("step", step) ** 2 * d / (4 * c**2)
