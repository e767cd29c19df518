"""Quantizers on random directions: the variance they add, and how often each level occurs.

QSGD (Alistarh et al. 2017, arXiv:1610.02132) rounds a coordinate at random, without bias, to a neighbouring
multiple of ``unit / s``. The unit is the norm `norm` of the vector: ``"l2"``, the Euclidean one, as in the paper, or
``"max"``, the largest magnitude, with which one level is TernGrad (Wen et al. 2017, arXiv:1705.07878).
Natural compression (Horvath et al. 2019, arXiv:1905.10988) rounds likewise to neighbouring powers of two.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy
from numpy.polynomial import Chebyshev
from numpy.typing import NDArray

from relufit.numerics.blas import one_blas_thread
from relufit.theory._checks import positive, whole

Array = NDArray[np.float64]

#: Powers of two down to which natural compression is followed.
_OCTAVES = 64


class _Cells(NamedTuple):
    """A coordinate u of the direction, in the unit of the levels; a row between two levels, a column a node."""

    fraction: Array  # f, the fractional part of s |u|
    mass: Array  # probability
    square: Array  # mass times the expected square of the unit there, if ||v||^2 = d
    top: float  # probability of |u| = 1, which is in no cell


def qsgd_variance_bound(d: int, levels: int, *, norm: str = "l2") -> float:
    """Return a bound on omega for every vector: for ``"l2"`` that of arXiv:1610.02132, ``min(d / s^2, sqrt(d) / s)``.

    For ``"max"`` it is ``min(d / (4 s^2), sqrt(d) / s)``. With M the largest magnitude the error is
    ``(M / s)^2 sum_i f_i (1 - f_i)``; in it ``f (1 - f) <= 1/4`` and ``M <= ||v||`` give the first part, and
    ``f_i (1 - f_i) <= f_i <= s |v_i| / M`` with ``M ||v||_1 <= sqrt(d) ||v||^2`` the second.
    """
    d, levels = whole("d", d), whole("levels", levels)
    return min(_law(norm).most_error * d / levels**2, math.sqrt(d) / levels)


def qsgd_variance(d: int, levels: int, *, norm: str = "l2") -> float:
    """Return the relative variance omega of QSGD's quantizer, averaged over uniformly distributed directions.

    A coordinate u of the direction is rounded at random, without bias, to a neighbouring multiple of 1/s,
    which costs ``f (1 - f) / s^2``, f the fractional part of ``s |u|``. For ``"l2"``, ``u^2 ~ Beta(1/2, (d-1)/2)``:
    ``omega = (d / s^2) E[f (1 - f)]``, computed by Gauss-Legendre rules between the levels: all terms are
    positive, and nothing cancels. With the characteristic function ``C(k) = 0F1(; d/2; -k^2/4)`` of u,

        omega = (d / s^2) [1/6 - pi^-2 sum_k C(2 pi k s) / k^2],

    with the limits, at large d and in ``sigma = s / sqrt(d)``, of ``sqrt(2/pi) / sigma - 1`` (sigma -> 0) and
    ``d / (6 s^2)`` (from sigma = 1/2 on, up to ``exp(-2 pi^2 sigma^2)``). With buckets, d is their length.

    For ``"max"`` the error is homogeneous of degree 2, and the norm of a Gaussian vector g is independent of its
    direction: ``omega = (d - 1) / (d s^2) E[M^2 f (1 - f)]``, where M is the largest of d normal magnitudes and
    ``M |u|`` a normal magnitude below M; the maximum itself is not rounded. It is ``E[M ||g||_1] / d - 1`` at s = 1,
    and about ``(1 - 1/d) E[M^2] / (6 s^2)`` for many levels, with ``E[M^2]`` about ``2 log d``.

    Checked to a relative 1e-11 for d to 1e9 and s to 2^15 - 1.
    """
    cells = _cells(d, levels, norm)
    return float(np.sum(cells.square * cells.fraction * (1 - cells.fraction))) / float(levels) ** 2


def level_probabilities(d: int, levels: int, *, norm: str = "l2") -> Array:
    """Return ``P(|level| = l)``, l = 0 .. L, of one coordinate of QSGD on uniformly distributed directions.

    It is ``E max(0, 1 - |s |u| - l|)``; law of u, method and range as in `qsgd_variance`. With ``"l2"``, levels
    where the density of u is below e^-40 of its peak are left out, so that L may be less than s; with ``"max"``
    one coordinate in d is the maximum, which is at level s. Both signs of a level are equally likely.
    """
    return _probabilities(_cells(d, levels, norm))


def level_entropy(d: int, levels: int, *, norm: str = "l2") -> float:
    """Return the entropy of one coordinate's signed QSGD level in bits, on uniformly distributed directions.

    The levels are those of `level_probabilities`. An ideal entropy coder that knows their law, coordinate by
    coordinate, spends so much on one; the norm is not counted.
    """
    return _entropy(level_probabilities(d, levels, norm=norm))


def qsgd_limit(sigma: float) -> tuple[float, float]:
    """Return omega and the entropy of a level in bits of QSGD at ``s = sigma sqrt(d)`` levels as d grows.

    A coordinate of the direction times sqrt(d) is a standard normal g, and ``sigma |g|`` is rounded at random:
    ``omega = E[f (1 - f)] / sigma^2``, f its fractional part. It is the limit of `qsgd_variance` and `level_entropy`
    with the Euclidean norm, by the same rules; the relative distance is about 1/d. Memory grows as sigma.
    """
    sigma = positive("sigma", sigma)
    cells = _gaussian(sigma)
    omega = float(np.sum(cells.square * cells.fraction * (1 - cells.fraction))) / sigma**2
    return omega, _entropy(_probabilities(cells))


def natural_variance() -> float:
    """Return the relative variance omega of natural compression, ``3 / (4 log 2) - 1 = 0.0820``.

    A magnitude ``t 2^e``, 1 <= t < 2, is rounded to ``2^e`` or ``2^(e+1)`` without bias, and its error relative to
    its square is ``(2 - t) (t - 1) / t^2``. The mean is over a log-uniform t, of density ``1 / (t log 2)``: exact
    for every vector whose scale is log-uniform over an octave, as that of a gradient which falls geometrically
    nearly is. At a fixed scale a Gaussian vector's omega is within 0.7% of it.
    """
    return 3 / (4 * math.log(2)) - 1


def natural_variance_bound() -> float:
    """Return natural compression's omega for the worst vector, 1/8, at ``t = 4/3`` (arXiv:1905.10988)."""
    return 1 / 8


@one_blas_thread()
def natural_probabilities(d: int) -> Array:
    """Return P(level = l), l = 1 .. 64, of one coordinate of natural compression on Gaussian vectors: an approximation.

    Level 1 is the least power of two above the largest magnitude, and each further level is half of the one
    before. The largest magnitude is taken at its median, the others as normal magnitudes below it, and the scale
    as log-uniform over an octave; coordinates below 2^-64 of the largest are left out. The first element is level 1:
    level 0, an exact zero, does not occur. It is there to choose a coding, not to be tested against.
    """
    d = whole("d", d)
    largest = math.sqrt(2) * scipy.special.erfcinv(-math.expm1(-math.log(2) / d))
    nodes, weights = np.polynomial.legendre.leggauss(16)
    scale = 2 ** ((nodes[:, None] + 1) / 2)
    # In units of a normal coordinate: the largest is 1 to 2, of log-uniform scale, times the power of two of row 0.
    power = largest / scale * 2.0 ** -np.arange(_OCTAVES)
    upper = np.minimum(2 * power, largest)
    mass = scipy.special.erf(upper / math.sqrt(2)) - scipy.special.erf(power / math.sqrt(2))
    moment = math.sqrt(2 / math.pi) * (np.expm1(-(power**2) / 2) - np.expm1(-(upper**2) / 2))
    share = (1 - 1 / d) / scipy.special.erf(largest / math.sqrt(2))
    up, down = share * (moment / power - mass), share * (2 * mass - moment / power)
    up[:, 0] += (scale[:, 0] - 1) / d
    down[:, 0] += (2 - scale[:, 0]) / d
    probability: Array = weights @ (up + np.roll(down, 1, axis=1) * (np.arange(_OCTAVES) > 0))
    probability /= probability.sum()
    return probability


def _cells(d: int, levels: int, norm: str) -> _Cells:
    d, levels, law = whole("d", d), whole("levels", levels), _law(norm)
    if d == 1:
        nothing = np.zeros((levels, 1))
        return _Cells(nothing, nothing, nothing, 1.0)
    return law.cells(d, levels)


def _probabilities(cells: _Cells) -> Array:
    up = np.sum(cells.mass * cells.fraction, axis=1)
    down = np.sum(cells.mass * (1 - cells.fraction), axis=1)
    probability: Array = np.append(down, cells.top) + np.append(0.0, up)
    return probability


def _entropy(probability: Array) -> float:
    return float(np.sum(scipy.special.entr(probability)) / math.log(2) + np.sum(probability[1:]))


def _euclidean(d: int, levels: int) -> _Cells:
    # With u = sin(angle) the density is cos(angle)^(d-2), smooth up to |u| = 1 in every dimension.
    reach = 1.0 if d == 2 else math.sqrt(-math.expm1(-80 / (d - 2)))
    cell = np.arange(min(levels, math.ceil(levels * reach)) + 1)
    edges = np.arcsin(np.minimum(cell / levels, reach))
    nodes, weights = _rule(2 * math.sqrt(d) * min(reach, 1 / levels))
    width = np.diff(edges)[:, None]
    u = np.sin(edges[:-1, None] + width * nodes)
    mass = width * weights * np.exp((d - 2) / 2 * np.log1p(-u * u))
    mass /= mass.sum()
    return _Cells(levels * u - cell[:-1, None], mass, d * mass, 0.0)


def _gaussian(sigma: float) -> _Cells:
    reach = math.sqrt(80)
    cell = np.arange(math.ceil(sigma * reach) + 1)
    edges = np.minimum(cell / sigma, reach)
    nodes, weights = _rule(2 * min(reach, 1 / sigma))
    width = np.diff(edges)[:, None]
    g = edges[:-1, None] + width * nodes
    mass = width * weights * np.exp(-g * g / 2)
    mass /= mass.sum()
    return _Cells(sigma * g - cell[:-1, None], mass, mass, 0.0)


@one_blas_thread()
def _maximum(d: int, levels: int) -> _Cells:
    # The largest M of d normal magnitudes has P(M < m) = erf(m / sqrt 2)^d = exp(-e^-y), with y from -inf to inf:
    # in y the trapezoidal rule converges geometrically, and at this step, 1/4, to about e^-39.
    y = np.arange(-15, 161) / 4
    chance = np.exp(-y - np.exp(-y))
    below = np.exp(-np.exp(-y) / d)
    m = math.sqrt(2) * scipy.special.erfcinv(-np.expm1(-np.exp(-y) / d))
    chance *= m / below / chance.sum()

    def log_density(power: int) -> Chebyshev:
        """Return the logarithm of ``E[M^power; u]``, u in [0, 1], as a polynomial in u^2."""
        return Chebyshev.interpolate(
            lambda r: np.log(np.exp(-np.outer(r, m * m) / 2) @ (chance * m**power)), 30, [0, 1]
        )

    cell = np.arange(levels)[:, None]
    # Cells of 1/200 of a standard deviation, over which the density is smooth to the end, need three nodes.
    nodes, weights = _rule(2 * float(m[-1]) / levels, 6 if levels < 2500 else 3)
    u = (cell + nodes) / levels
    mass = weights * np.exp(log_density(0)(u * u))
    scale = (1 - 1 / d) / mass.sum()
    return _Cells(levels * u - cell, scale * mass, scale * weights * np.exp(log_density(2)(u * u)), 1 / d)


def _rule(halves: float, degree: int = 6) -> tuple[Array, Array]:
    """Return nodes in [0, 1] and weights of a cell, given its width in half standard deviations of u."""
    # Six nodes on at most half a standard deviation of u leave an error of about 1e-13.
    parts = math.ceil(halves)
    nodes, weights = np.polynomial.legendre.leggauss(degree)
    return ((np.arange(parts)[:, None] + (nodes + 1) / 2) / parts).ravel(), np.tile(weights, parts)


class _Law(NamedTuple):
    cells: Callable[[int, int], _Cells]
    most_error: float  # the constant c of the bound c d / s^2


_LAWS = {"l2": _Law(_euclidean, 1.0), "max": _Law(_maximum, 0.25)}


def _law(norm: str) -> _Law:
    if norm not in _LAWS:
        raise ValueError(f"norm must be one of {', '.join(_LAWS)}, not {norm!r}")
    return _LAWS[norm]
