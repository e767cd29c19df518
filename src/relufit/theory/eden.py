"""EDEN and DRIVE: the least mean squared error of few levels, and the variance that they add to a random direction.

Sources: DRIVE, arXiv:2105.08339, which has one bit a coordinate, and EDEN, arXiv:2108.08842; J. Max, *Quantizing for
Minimum Distortion*, 1960, for the levels.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from relufit.numerics.blas import one_blas_thread
from relufit.theory._checks import whole

Array = NDArray[np.float64]

#: Levels above zero by bits, from the least on.
_LEVELS = {
    1: (0.7978845608028654,),
    2: (0.45278003463649197, 1.510417608499095),
    3: (0.24509417894422184, 0.7560052812058781, 1.3439092785050006, 2.1519457045369874),
    4: (
        *(0.12839502985114687, 0.3880482994902895, 0.6567591185324619, 0.9423404564869593),
        *(1.2562311973471738, 1.6180463860218788, 2.069017226531382, 2.7325895709951555),
    ),
}
#: From this dimension on the distance from the limit is taken to be in proportion to 1 / d.
_LARGE = 2**16


def lloyd_max(bits: int) -> Array:
    """Return the 2^bits levels, in their order, that represent a standard normal number with the least squared error.

    A number is represented by the nearest level, and each level is the mean of the numbers that it represents. `bits`
    is 1 to 4. The squared errors D are 0.3634, 0.1175, 0.03455 and 0.009501.
    """
    above = np.array(_LEVELS[_bits(bits)])
    return np.concatenate([-above[::-1], above])


@one_blas_thread()
def eden_variance(d: int, bits: int) -> float:
    """Return the relative variance omega of EDEN with 1 to 4 bits a coordinate, over uniformly distributed directions.

    The rotated direction times sqrt(d) is z, uniform on a sphere, and z_i is rounded to the level c_i. As the decoded
    vector has the inner product ``||v||^2`` with v, ``omega = d E[A / B^2] - 1`` with ``A = sum c_i^2`` and
    ``B = sum z_i c_i``. Its limit for large d is ``D / (1 - D)``, see `lloyd_max`: 0.5708, which is pi/2 - 1, 0.1331,
    0.03578 and 0.009592.

    With one bit it does not depend on the length of z, and the length of a Gaussian vector g is independent of its
    direction: for d above 2, ``omega = d (d - 2) E[1 / ||g||_1^2] - 1 = d (d - 2) int_0^inf t erfcx(t / sqrt 2)^d dt
    - 1``. With more, ``E[A / B^2] = int_0^inf t E[A exp(-t B)] dt``, and the mean over the sphere is the ratio of
    two Fourier integrals over w of Gaussian means, with a factor ``exp(i w (||g||^2 - d))``, whose terms are
    independent: numerator ``d psi phi^(d - 1)``, where ``phi = E exp(-t g c + i w (g^2 - 1))`` and psi has the factor
    c^2. Both integrals are sums at equal distances, in log t and in w. Below d = 7, where the second converges slowly,
    it is a mean over 2^18 points that fill the sphere evenly.

    The relative error of 1 + omega is below 1e-5 at d = 7, and 1e-7 from 10 on. Below 7 that of omega is about 1e-3.
    """
    d, bits = whole("d", d), _bits(bits)
    levels = np.array(_LEVELS[bits])
    if d == 1:
        return 0.0
    if bits == 1:
        return _with_signs(d)
    if d < 7:
        return _on_a_small_sphere(d, levels)
    if d <= _LARGE:
        return _on_a_sphere(d, levels)
    edges = np.append(0.0, (levels[1:] + levels[:-1]) / 2)
    mass = -np.diff(np.append(scipy.special.erfc(edges / math.sqrt(2)), 0.0))
    limit = 1 / float(mass @ levels**2) - 1
    return limit + (_on_a_sphere(_LARGE, levels) - limit) * _LARGE / d


def _bits(bits: int) -> int:
    bits = whole("bits", bits)
    if bits not in _LEVELS:
        raise ValueError(f"bits must be 1 to {max(_LEVELS)}, not {bits}")
    return bits


def _on_a_small_sphere(d: int, levels: Array) -> float:
    # Points that fill the cube evenly: multiples of powers of the root of x^(d + 1) = x + 1, modulo 1.
    root = 2.0
    for _ in range(60):
        root = (1 + root) ** (1 / (d + 1))
    points = np.arange(1, 2**18 + 1)[:, None] * root ** -np.arange(1.0, d + 1) % 1
    z = scipy.special.ndtri(points)
    z *= math.sqrt(d) / np.linalg.norm(z, axis=1, keepdims=True)
    c = levels[np.searchsorted((levels[1:] + levels[:-1]) / 2, np.abs(z))]
    return float(np.mean(d * np.sum(c * c, axis=1) / np.sum(np.abs(z) * c, axis=1) ** 2)) - 1


def _with_signs(d: int) -> float:
    if d == 2:
        return 4 / math.pi - 1
    # In log t the trapezoidal rule converges geometrically.
    step = 1 / 8
    t = np.exp(np.arange(-40, 40, step)) / d
    x = t / math.sqrt(2)
    # The logarithm of erfcx, accurate near 1 as well.
    small = np.minimum(x, 0.1)
    near = np.log1p(np.expm1(small**2) - scipy.special.erf(small) * np.exp(small**2))
    power = np.exp(d * np.where(x < 0.1, near, np.log(scipy.special.erfcx(x))))
    return float(d * (d - 2) * step * np.sum(t * t * power)) - 1


def _on_a_sphere(d: int, levels: Array) -> float:
    # Sums at equal distances are exact but for the density of ||g||^2 at a period from d, and in log t as above.
    step, period = 0.4, 60 + 11 * math.sqrt(d)
    t = np.exp(np.arange(-14, 5.2, step)) / d
    spacing = 2 * math.pi / period
    reach = min(100.0, math.sqrt(math.expm1(4 / d * math.log(1e13))) / 2)
    w = spacing * np.arange(math.ceil(reach / spacing) + 1)
    weight = np.where(w > 0, 2.0, 1.0)
    total = norm = 0.0
    for some in np.array_split(np.arange(w.size), -(-w.size // 256)):
        rate = 0.5 - 1j * w[some, None]
        phi, psi = _means(rate, t, levels)
        phase = np.exp(-1j * w[some])
        powers = np.exp((d - 1) * np.log(phi * phase[:, None]))
        norm += float(weight[some] @ np.exp(-d * (np.log(2 * rate[:, 0]) / 2 + 1j * w[some])).real)
        total += float(weight[some] @ ((psi * powers * phase[:, None]).real @ t**2))
    return d * d * step * total / norm - 1


def _means(rate: NDArray[Any], t: Array, levels: Array) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the means of ``exp(-t g c + (1/2 - rate) g^2)``, and of c^2 times that, g normal and c its level."""
    root = np.sqrt(rate)
    edges = np.append(0.0, (levels[1:] + levels[:-1]) / 2)
    means = np.zeros((2, rate.size, t.size), complex)
    for number, level in enumerate(levels):
        ends = edges[number : number + 2]
        tails = [
            np.exp(-rate * x * x - t * level * x) * scipy.special.erfcx(root * x + t * level / (2 * root)) for x in ends
        ]
        cell = (tails[0] - tails[1] if len(tails) == 2 else tails[0]) / (math.sqrt(2) * root)
        means[0] += cell
        means[1] += level**2 * cell
    return means[0], means[1]
