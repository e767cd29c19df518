"""The levels and the variance of EDEN against Monte Carlo in plain numpy, other formulas, known numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from random_vectors import z_score
from scipy import integrate, stats

from relufit import theory

BITS = (1, 2, 3, 4)


def errors(d: int, bits: int, count: int) -> np.ndarray:
    """Relative squared errors of random directions."""
    levels = theory.lloyd_max(bits)
    z = np.random.default_rng([d, bits]).standard_normal((count, d))
    z *= math.sqrt(d) / np.linalg.norm(z, axis=1, keepdims=True)
    c = levels[np.searchsorted((levels[1:] + levels[:-1]) / 2, z)]
    decoded = c * (d / np.sum(z * c, axis=1, keepdims=True))
    return np.asarray(np.sum((decoded - z) ** 2, axis=1) / d)


@pytest.mark.parametrize(("bits", "distortion"), [(1, 0.36338), (2, 0.11748), (3, 0.034548), (4, 0.0095010)])
def test_each_level_is_the_mean_of_the_numbers_that_it_represents(bits: int, distortion: float) -> None:
    levels = theory.lloyd_max(bits)
    assert levels.shape == (2**bits,)
    np.testing.assert_array_equal(levels, -levels[::-1])
    edges = np.concatenate([[-np.inf], (levels[1:] + levels[:-1]) / 2, [np.inf]])
    means = -np.diff(stats.norm.pdf(edges)) / np.diff(stats.norm.cdf(edges))
    np.testing.assert_allclose(means, levels, atol=1e-13)
    square = 1 - np.diff(stats.norm.cdf(edges)) @ levels**2
    assert square == pytest.approx(distortion, rel=5e-5)
    assert theory.eden_variance(10**9, bits) == pytest.approx(square / (1 - square), rel=1e-7)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("d", [2, 3, 5, 7, 30, 100, 1000])
def test_random_directions_have_the_predicted_error(d: int, bits: int) -> None:
    assert abs(z_score(errors(d, bits, min(10**5, 10**7 // d)), theory.eden_variance(d, bits))) < 4


def test_one_bit_has_known_values() -> None:
    assert [theory.eden_variance(1, bits) for bits in BITS] == [0.0] * 4
    assert theory.eden_variance(2, 1) == pytest.approx(4 / math.pi - 1, rel=1e-14)
    # In three dimensions the mean of 1 / (x + y + z)^2 over an octant of the sphere.
    octant = integrate.dblquad(
        lambda up, turn: math.sin(up) / (math.cos(up) + math.sin(up) * (math.cos(turn) + math.sin(turn))) ** 2,
        0,
        math.pi / 2,
        0,
        math.pi / 2,
    )[0]
    assert theory.eden_variance(3, 1) == pytest.approx(3 * octant / (math.pi / 2) - 1, rel=1e-9)


@pytest.mark.parametrize("bits", BITS)
def test_the_error_rises_to_its_limit_like_one_over_the_dimension(bits: int) -> None:
    limit = theory.eden_variance(10**9, bits)
    near, far = (limit - theory.eden_variance(d, bits) for d in (2**12, 2**16))
    assert near / far == pytest.approx(16, rel=0.01)
    assert theory.eden_variance(2**16 + 1, bits) == pytest.approx(theory.eden_variance(2**16, bits), rel=1e-7)
