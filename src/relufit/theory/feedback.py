"""Error feedback: the rate of SGD whose ranks keep what a compressor left out, and add it to the next gradient.

Rank r sends ``C(p_r)`` of ``p_r = step * g_r + e_r`` and keeps the residual ``e_r+ = p_r - C(p_r)``; the weights move
by the mean of what was sent (Seide et al. 2014; Karimireddy et al. 2019, arXiv:1901.09847). Where the mean of the
decoded vectors is encoded once more, by its owner, that encoding has a residual f of its own (Tang et al. 2019,
arXiv:1905.05957): it sends ``C(q)`` of ``q = mean_r C(p_r) + f``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from relufit.numerics.blas import one_blas_thread
from relufit.theory._checks import nonnegative, spectrum, squared_start, whole, worker_batch
from relufit.theory._recursions import curve_of
from relufit.theory.encodings import EXACT, Encoding
from relufit.theory.sgd import GAUSSIAN, batch_curvature, contraction, optimal_step

#: ``(E|z|)^2`` of a standard normal number: the share of the squared norm that signs keep.
SIGN_DELTA = 2 / math.pi

#: Second moments of the recursion, see `feedback_rate`.
MOMENTS = 7

Array = NDArray[np.float64]


#: Magnitudes of normal numbers are integrated up to here, with so many nodes.
_LARGEST, _NODES = 9.0, 2**15


def feedback_rate(
    d: int,
    m: int,
    step: float,
    *,
    delta: float | Encoding,
    workers: int = 1,
    sum_delta: float | Encoding = EXACT,
    kurtosis: float = GAUSSIAN,
) -> float:
    """Return the factor on ``E||w - w*||^2`` of a step with error feedback, on fresh samples, near the solution.

    With the residual ``e = mean_r e_r + f`` and ``h~ = h - e``, which moves as SGD without compression does
    (``h~+ = h~ - step * g``), seven second moments have a linear recursion: ``S = E||h~||^2``, ``X = E<h~, e_r>``,
    ``Y = E<h~, f>``, ``E1 = E||e_r||^2``, ``E12 = E<e_r, e_s>`` of two ranks, ``F = E||f||^2`` and ``G = E<e_r, f>``.
    Without the second encoding Y, F and G are 0, and with ``E = (E1 + (K - 1) E12) / K``, ``H = S + 2 X + E``, the
    curvatures A and B of `contraction` for the batch of all ranks and of one, and a contraction,

        S+   = S - step (S + X) + step^2 A H
        X+   = (1 - delta) (X + step (S - E) / 2 - step^2 A H)
        E1+  = (1 - delta) (E1 + step (X + E) + step^2 B H)
        E12+ = (1 - delta)^2 (E12 + step (X + E) + step^2 H / 4).

    The factor is the spectral radius of this map. What a compressor leaves out is taken as in `Encoding`, independent
    between ranks. In simulations the logarithm is within 3 % for signs, and for the largest 5 % of the coordinates or
    more, where m is much smaller than d. It fails for the largest 1 %, whose residuals are far from Gaussian, and where
    m is near d.

    Parameters
    ----------
    d, m, workers : int
        Dimension; samples in a step, over all ranks; number of ranks, at most `m`.
    step : float
        Step size on the mean gradient, at least 0.
    delta : float or Encoding
        Share of the squared norm that a contraction keeps, above 0 and at most 1; or any compressor's moments. With
        1 nothing is left out, and the factor is that of `contraction`.
    sum_delta : float or Encoding
        That of the encoding of the mean; by default there is none.
    kurtosis : float
        As in `contraction`.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """
    first, second = _encoding(delta), _encoding(sum_delta)
    nonnegative("step", step)
    if first == second == EXACT:
        return contraction(d, m, step, workers=workers, kurtosis=kurtosis)
    own = worker_batch(whole("m", m), workers)
    scatter = _Scatter(lambda b, h: batch_curvature(whole("d", d), b, kurtosis) * h, m, own)
    advance = _recursion(np.array([0.5]), np.ones(1), step, workers, first, second, scatter)
    # Moments that stay at zero are left out: a rank alone has no other, and what loses nothing leaves no residual.
    moments = [0]
    if first != EXACT:
        moments += [1, 3, *([4] if workers > 1 else [])]
    if second != EXACT:
        moments += [2, 5, *([6] if first != EXACT else [])]
    matrix = advance(np.eye(MOMENTS)[:, :, None])[:, :, 0][np.ix_(moments, moments)]
    return float(np.abs(np.linalg.eigvals(matrix)).max())


def feedback_optimal_step(
    d: int,
    m: int,
    *,
    delta: float | Encoding,
    workers: int = 1,
    sum_delta: float | Encoding = EXACT,
    kurtosis: float = GAUSSIAN,
) -> float:
    """Return the step that minimises `feedback_rate`, whose parameters and errors these are."""
    longest = optimal_step(d, m, workers=workers, kurtosis=kurtosis)
    if _encoding(delta) == _encoding(sum_delta) == EXACT:
        return longest
    optimum = scipy.optimize.minimize_scalar(
        lambda step: feedback_rate(d, m, step, delta=delta, workers=workers, sum_delta=sum_delta, kurtosis=kurtosis),
        bounds=(0, 2 * longest),
        method="bounded",
    )
    return float(optimum.x)


@one_blas_thread()
def feedback_curve(
    eigenvalues: ArrayLike,
    weights: ArrayLike,
    d: int,
    m: int,
    step: float,
    iterations: int,
    *,
    initial_error_squared: ArrayLike,
    delta: float | Encoding,
    workers: int = 1,
    sum_delta: float | Encoding = EXACT,
    until: float | None = None,
) -> Array:
    """Return the expected squared error after 0, 1, ... steps with error feedback on a fixed data set.

    Samples are drawn with replacement. Each eigenvector of H has the seven moments of `feedback_rate`, with its
    eigenvalue in place of 1/2. Of b samples the squared gradient has ``(1 - 1/b) lambda_j^2 h_j + (2 d / b) w_j
    lambda_j sum_k lambda_k h_k`` along it, as in `fixed_data_curve`, and the errors of the compressor are even over all
    directions.

    Parameters
    ----------
    eigenvalues, weights, d, m, step, iterations, initial_error_squared, until
        As of `fixed_data_curve`.
    delta, workers, sum_delta
        As of `feedback_rate`.

    Returns
    -------
    array, shape (iterations + 1,), or shorter
        In the unit of `initial_error_squared`; infinite where it exceeds the range of floats.

    Raises
    ------
    ValueError
        If an argument is out of its range, or `eigenvalues` and `weights` are no spectrum.
    """
    eigenvalues, weights = spectrum(eigenvalues, weights)
    advance, squared = fixed_data_moments(
        eigenvalues, weights, d, m, step, delta=delta, workers=workers, sum_delta=sum_delta
    )
    start = np.zeros((MOMENTS, eigenvalues.size))
    start[0] = squared_start(initial_error_squared, weights)

    def errors() -> Iterator[float]:
        moments = start
        while True:
            yield squared(moments).sum()
            moments = advance(moments)

    return curve_of(errors(), iterations, until)


def fixed_data_moments(
    eigenvalues: Array,
    weights: Array,
    d: int,
    m: int,
    step: float,
    *,
    delta: float | Encoding,
    workers: int,
    sum_delta: float | Encoding,
) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
    """Return the recursion of `feedback_curve`, whose parameters and errors these are.

    It is a linear map of the moments, (`MOMENTS`, ..., nodes), to those after a step, and one to ``E||w - w*||^2`` by
    eigenvalue. All moments but the first are zero at the beginning of a run.
    """
    d, m, own = whole("d", d), whole("m", m), worker_batch(m, workers)

    curvature = eigenvalues**2

    def scattered(b: float, h: Array) -> Array:
        all_together = (2 * d / b * (h @ eigenvalues))[..., None] * weights * eigenvalues
        squares: Array = (1 - 1 / b) * curvature * h + all_together
        return squares

    advance = _recursion(
        eigenvalues,
        weights,
        nonnegative("step", step),
        workers,
        _encoding(delta),
        _encoding(sum_delta),
        _Scatter(scattered, m, own),
    )
    return advance, lambda moments: _squared(moments, workers)


class _Scatter(NamedTuple):
    """Squared gradients of a batch by eigenvalue, given its size and the squared errors; batches of all and of one."""

    of: Callable[[float, Array], Array]
    m: int
    own: float


def _encoding(delta: float | Encoding) -> Encoding:
    """Return moments, of a contraction where its share is given."""
    if not isinstance(delta, Encoding):
        return Encoding.contraction(delta)
    if not (math.isfinite(delta.gain) and delta.gain > 0):
        raise ValueError(f"gain must be a finite number above 0, not {delta.gain!r}")
    nonnegative("noise", delta.noise)
    return delta


def _squared(moments: Array, workers: int) -> Array:
    """Return ``E<v_j, h>^2`` by eigenvalue."""
    s, x, y, e1, e12, f, g = moments
    squares: Array = s + 2 * (x + y + g) + (e1 + (workers - 1) * e12) / workers + f
    return squares


def _recursion(
    eigenvalues: Array,
    weights: Array,
    step: float,
    workers: int,
    first: Encoding,
    second: Encoding,
    scatter: _Scatter,
) -> Callable[[Array], Array]:
    """Return the map of the seven moments, (7, ..., nodes), to those after a step."""
    move, left, left_again = step * eigenvalues, 1 - first.gain, 1 - second.gain
    twice, square = 2 * move, move**2

    def advance(moments: Array) -> Array:
        s, x, y, e1, e12, f, g = moments
        h = _squared(moments, workers)
        with_own, with_sum = x + (e1 + (workers - 1) * e12) / workers + g, y + g + f
        with_exact = s + x + y
        batch, own = step**2 * scatter.of(scatter.m, h), step**2 * scatter.of(scatter.own, h)
        # What a rank encodes: its square, its product with that of another rank, with the mean over ranks, and with f.
        pulled = twice * with_own
        one, two = e1 + pulled + own, e12 + pulled + square * h
        mean, summed = (one + (workers - 1) * two) / workers, g + move * with_sum
        errors = weights * (first.noise * one.sum(-1, keepdims=True))
        encoded = x + move * (with_exact - with_own) - batch
        total = first.gain**2 * mean + errors / workers + f + 2 * first.gain * summed
        after = np.empty_like(moments)
        after[0] = s - twice * with_exact + batch
        after[1] = left * encoded
        after[2] = left_again * (first.gain * encoded + y - move * with_sum)
        after[3] = left**2 * one + errors
        after[4] = left**2 * two
        after[5] = left_again**2 * total + weights * (second.noise * total.sum(-1, keepdims=True))
        after[6] = left_again * (left * (first.gain * mean + summed) - errors / workers)
        return after

    return advance


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


@lru_cache(maxsize=4096)
@one_blas_thread()
def top_k_delta(d: int, k: int, *, signs: bool = False) -> float:
    """Return the share of the squared norm of a Gaussian vector that its k largest coordinates keep, in the mean.

    For all d and k, where `top_delta` is the limit of many. A magnitude z is among the k largest of d if at most k - 1
    of the others exceed it, which ``P(Binomial(d - 1, p(z)) <= k - 1)`` has, with ``p(z) = P(|Z| > z)``; as values they
    keep the integral of ``z^2`` over that. As signs times their mean magnitude they keep ``E(sum)^2 / (k d)``: of two
    magnitudes both are among the k largest if at most k - 2 of the others exceed the lesser one.

    Parameters
    ----------
    d, k : int
        Dimension, and coordinates that are sent, at most d.
    signs : bool
        Whether signs are sent in place of values.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """
    if not whole("k", k) <= whole("d", d):
        raise ValueError(f"k must be at most d = {d}, not {k!r}")
    width = _LARGEST / _NODES
    z = (np.arange(_NODES) + 0.5) * width
    density = math.sqrt(2 / math.pi) * np.exp(-(z**2) / 2) * width
    exceeded = scipy.special.erfc(z / math.sqrt(2))

    def at_most(count: int, others: int) -> Array:
        """Return the probability that at most that many of the others exceed z."""
        if count >= others:
            return np.ones(_NODES)
        largest: Array = 1 - scipy.special.betainc(count + 1, others - count, exceeded)
        return largest

    squares = float(z**2 * density @ at_most(k - 1, d - 1))
    if not signs:
        return squares
    # The mean of what lies above z, times its probability, is the density at z.
    pairs = float(z * density**2 / width @ at_most(k - 2, d - 2)) if k > 1 else 0.0
    return (squares + 2 * (d - 1) * pairs) / k
