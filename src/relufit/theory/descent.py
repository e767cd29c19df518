"""Full-batch gradient descent on a fixed data set, near w*: its rate, its curve, the samples that a budget needs.

There the active rows are those of w*, and a step takes ``h = w - w*`` to ``(I - step H) h`` with
``H = (1/n) sum_active x x'``. Nothing is random once the data are given.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from relufit.numerics.blas import one_blas_thread
from relufit.theory._checks import above_threshold, nonnegative, positive, spectrum, squared_start, whole

Array = NDArray[np.float64]


def descent_factor(ratio: float, step: float) -> float:
    """Return ``max |1 - step lambda|``, the factor of an iteration on the error, not squared, in the long run.

    lambda goes through the edges ``(1 +- sqrt(g))^2 / 2``, ``g = 2 / ratio``, of the spectrum of `marchenko_pastur`.
    It is exact as n, d grow and the error is small; before the slowest direction rules, a run is faster. At 1 or more
    it does not converge.

    Parameters
    ----------
    ratio : float
        n / d, finite and above 2 (else ValueError).
    step : float
        Step size on the mean gradient of all samples, at least 0.
    """
    step, root = nonnegative("step", step), math.sqrt(2 / above_threshold(ratio))
    return max(abs(1 - step * edge**2 / 2) for edge in (1 - root, 1 + root))


def descent_optimal_step(ratio: float) -> float:
    """Return the step ``2 / (1 + g)``, ``g = 2 / ratio``, at which `descent_factor` is least: ``2 sqrt(g) / (1 + g)``.

    It is 2 over the sum of the edges, where the slowest and the fastest direction have the same factor.
    """
    return 2 / (1 + 2 / above_threshold(ratio))


@one_blas_thread()
def descent_curve(
    eigenvalues: ArrayLike, weights: ArrayLike, step: float, iterations: int, *, initial_error_squared: ArrayLike
) -> Array:
    """Return the squared error after 0, 1, ... steps, ``sum_j p_j (1 - step lambda_j)^(2 t)``.

    p_j is the squared error along the eigenvectors of node j of H. It is `fixed_data_curve` as m grows, and exact
    for a data set's own `instance_spectrum` as long as the active rows are those of w*.

    Parameters
    ----------
    eigenvalues, weights : array, shape (nodes,)
        Spectrum of H: `marchenko_pastur`, or a data set's own eigenvalues with weights 1/d.
    step : float
        Step size on the mean gradient of all samples, at least 0.
    iterations : int
        Number of steps, 0 or more.
    initial_error_squared : float or array, shape (nodes,)
        A number is spread evenly over all directions; an array, as of `initial_profile`, is the p_j.

    Returns
    -------
    array, shape (iterations + 1,)
        In the unit of `initial_error_squared`; infinite where it exceeds the range of floats.

    Raises
    ------
    ValueError
        If an argument is out of its range, or `eigenvalues` and `weights` are no spectrum.
    """
    eigenvalues, weights = spectrum(eigenvalues, weights)
    p = squared_start(initial_error_squared, weights)
    kept = (1 - nonnegative("step", step) * eigenvalues[p > 0]) ** 2
    count = whole("iterations", iterations, least=0) + 1
    # Powers of t = i * stride + j are products of a power of i and one of j: a matrix product gives all t.
    stride = math.isqrt(count)
    with np.errstate(over="ignore"):
        coarse = p[p > 0] * kept ** np.arange(0, count, stride)[:, None]
        curve: Array = (coarse @ (kept ** np.arange(stride)[:, None]).T).ravel()[:count]
    return curve


def recovery_ratio(start: float, tolerance: float, step: float, iterations: int) -> float:
    """Return the n / d from which on gradient descent comes to `tolerance` within its budget of iterations.

    Of a factor f an iteration, ``f^iterations = tolerance / start`` is needed, and `descent_factor` at the returned
    ratio has that value: the least eigenvalue ``(1 - sqrt(2 / ratio))^2 / 2`` must be at least ``(1 - f) / step``,
    about ``ln(start / tolerance) / (step iterations)``, and the largest at most ``(1 + f) / step``. For a growing
    budget and a step up to 1 the ratio falls to 2, the threshold of `recovery_probability`; what lies between is an
    effect of the budget.

    It is on the safe side, for it takes the whole starting error to lie in the slowest direction, where about 1/d of
    it does. At 4000 iterations of step 1, from 1 to 1e-6, it is 2.38; the curve of `descent_curve` for the limiting
    spectrum and `initial_profile` comes to 1e-6 at 2.31, which is nearer to where half of the data sets succeed. It
    also neglects that the number of active rows of a finite data set fluctuates, by ``sqrt(2 / d)`` in the ratio, and
    with it the least eigenvalue; and the iterations until the active rows are those of w*.

    Parameters
    ----------
    start, tolerance : float
        Relative error at the start, and to be reached; not squared, ``0 < tolerance < start``.
    step : float
        Step size on the mean gradient of all samples, above 0.
    iterations : int
        The budget.

    Returns
    -------
    float
        Infinite if no ratio suffices.

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """
    if not positive("tolerance", tolerance) < positive("start", start):
        raise ValueError(f"start must be above tolerance = {tolerance!r}, not {start!r}")
    lost = -math.expm1(-math.log(start / tolerance) / whole("iterations", iterations))
    slow = math.sqrt(2 * lost / positive("step", step))
    fast = math.sqrt(2 * (2 - lost) / step)
    if slow >= 1 or fast <= 1:
        return math.inf
    return max(2 / (1 - slow) ** 2, 2 / (fast - 1) ** 2)
