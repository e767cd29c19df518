"""Quantizers against Monte Carlo in plain numpy, other formulas of the same quantity, known numbers.

Statistical tests are seeded and pass if |z| < 4: a right prediction fails one with probability 6e-5.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_vectors import Array, quantize, reproducible, sphere, z_score
from scipy import integrate, special

from relufit import theory

dimensions = st.integers(1, 10**9)
level_counts = st.integers(1, 2**15 - 1)


def variance_by_incomplete_beta(d: int, levels: int) -> float:
    """Sum the tails E(|u| - l/s)_+ in closed form: exact, but cancelling where the variance is small."""
    mean = special.beta(d / 2, 0.5) / np.pi
    t = np.arange(1, levels) / levels
    above = special.betaincc(0.5, (d - 1) / 2, t**2)
    excess = mean * np.exp((d - 1) / 2 * np.log1p(-(t**2))) - t * above
    return float(d / levels * mean - 1 + 2 * d / levels * np.sum(excess))


def variance_by_fourier_series(d: int, levels: int) -> float:
    """Sum the series of f(1-f) with the characteristic function of a coordinate, for d of 8 or more."""
    k = np.arange(1, 400)
    order, half = d / 2 - 1, np.pi * k * levels
    log_scale = special.gammaln(d / 2) - order * np.log(half)
    characteristic = np.exp(log_scale) * special.jv(order, 2 * half)
    return float(d / levels**2 * (1 / 6 - np.sum(characteristic / k**2) / np.pi**2))


@pytest.mark.parametrize("norm", ["l2", "max"])
@pytest.mark.parametrize(("d", "levels"), [(2, 1), (2, 5), (3, 2), (7, 1), (40, 3), (40, 13), (300, 1), (300, 8)])
def test_the_quantizer_has_the_predicted_variance_and_levels(d: int, levels: int, norm: str) -> None:
    rng = np.random.default_rng(6)
    points = sphere(rng, 400_000 // d, d)
    rounded = quantize(rng, points, levels, norm)
    errors = np.sum((rounded - points) ** 2, axis=1)
    assert abs(z_score(errors, theory.qsgd_variance(d, levels, norm=norm))) < 4
    units = np.linalg.norm(points, ord=2 if norm == "l2" else np.inf, axis=1, keepdims=True)
    reached = np.rint(levels * rounded / units)
    probabilities = theory.level_probabilities(d, levels, norm=norm)
    for level, probability in enumerate(probabilities):
        if probability * reached.size > 30:
            assert abs(z_score(np.mean(abs(reached) == level, axis=1), probability)) < 4
    shares = np.unique(reached, return_counts=True)[1] / reached.size
    surprise = -np.log2(shares)
    entropy = np.sum(shares * surprise)
    # Coordinates of one point depend on each other: four standard errors for points, not for coordinates.
    slack = 4 * math.sqrt(np.sum(shares * (surprise - entropy) ** 2) / len(points)) + 1e-4
    assert theory.level_entropy(d, levels, norm=norm) == pytest.approx(entropy, abs=slack)


@reproducible
@given(d=dimensions, levels=level_counts)
def test_the_levels_have_the_moments_of_an_unbiased_rounding(d: int, levels: int) -> None:
    mean = 1 / (special.poch(d / 2, 0.5) * math.sqrt(math.pi))
    for norm in ("l2", "max"):
        probabilities = theory.level_probabilities(d, levels, norm=norm)
        assert len(probabilities) <= levels + 1
        assert np.all(probabilities >= 0)
        assert np.sum(probabilities) == pytest.approx(1, abs=1e-12)
    level = np.arange(len(probabilities := theory.level_probabilities(d, levels)))
    assert np.sum(probabilities * level) == pytest.approx(levels * mean, rel=1e-9)
    second = 1 + theory.qsgd_variance(d, levels)
    assert d / levels**2 * np.sum(probabilities * level**2) == pytest.approx(second, rel=1e-9)


@pytest.mark.parametrize("d", [2, 3, 4, 5, 10, 63, 64, 1000, 10**5, 10**7])
@pytest.mark.parametrize("ratio", [0, 0.1, 0.4, 0.49, 0.51, 0.9, 1.4, 2.0, 3.0])
def test_the_variance_equals_its_closed_form(d: int, ratio: float) -> None:
    levels = max(1, round(ratio * math.sqrt(d)))
    assert theory.qsgd_variance(d, levels) == pytest.approx(variance_by_incomplete_beta(d, levels), rel=1e-8)


@pytest.mark.parametrize(("d", "levels"), [(8, 3), (8, 300), (20, 5), (30, 2), (60, 4), (100, 7), (200, 10)])
def test_the_variance_equals_its_fourier_series(d: int, levels: int) -> None:
    assert theory.qsgd_variance(d, levels) == pytest.approx(variance_by_fourier_series(d, levels), rel=1e-10)


@pytest.mark.parametrize("levels", [1, 2, 3, 10, 1000, 2**15 - 1])
def test_in_three_dimensions_a_coordinate_is_uniform(levels: int) -> None:
    assert theory.qsgd_variance(3, levels) == pytest.approx(1 / (2 * levels**2), rel=1e-11)
    # Zero and the outermost level collect half a cell each, the others a whole one, in two signs.
    half, cell = 1 / (2 * levels), 1 / levels
    entropy = half * math.log2(1 / half) + half * math.log2(2 / half) + (levels - 1) * cell * math.log2(2 / cell)
    assert theory.level_entropy(3, levels) == pytest.approx(entropy, rel=1e-11)


def test_the_variance_and_the_entropy_have_their_known_values() -> None:
    assert theory.qsgd_variance(2, 1) == pytest.approx(4 / math.pi - 1, rel=1e-11)
    for levels, variance, digit in (
        (1, 24.24, 0.01),
        (4, 5.31, 0.01),
        (16, 0.649, 0.001),
        (64, 0.041, 0.001),
    ):
        assert theory.qsgd_variance(1000, levels) == pytest.approx(variance, abs=digit / 2)
    entropies = [theory.level_entropy(1000, s) for s in (1, 4, 16, 64)]
    np.testing.assert_allclose(entropies, [0.195, 0.573, 1.425, 3.093], rtol=0, atol=5.1e-4)


@pytest.mark.parametrize("d", [10**4, 10**6, 10**9])
def test_the_variance_has_its_two_limits_in_high_dimension(d: int) -> None:
    few, many = max(1, round(0.02 * math.sqrt(d))), min(2**15 - 1, math.ceil(1.01 * math.sqrt(d)))
    assert theory.qsgd_variance(d, few) == pytest.approx(math.sqrt(2 / math.pi * d) / few - 1, rel=2 / d + 1e-9)
    assert theory.qsgd_variance(d, many) == pytest.approx(d / (6 * many**2), rel=1e-8)


@pytest.mark.parametrize("levels", [1, 30, 200, 490, 510, 1500, 30_000])
def test_the_limit_is_reached_in_high_dimension(levels: int) -> None:
    d = 10**6
    omega, entropy = theory.qsgd_limit(levels / math.sqrt(d))
    assert theory.qsgd_variance(d, levels) == pytest.approx(omega, rel=1e-5)
    assert theory.level_entropy(d, levels) == pytest.approx(entropy, rel=1e-5)


@pytest.mark.parametrize("sigma", [1e-6, 0.01, 0.1, 0.4, 0.5, 0.6, 1.0, 3.0, 1000.0])
def test_the_limit_equals_its_series_and_its_known_limits(sigma: float) -> None:
    omega, entropy = theory.qsgd_limit(sigma)
    if sigma < 0.2:
        # Up to the first level the rounding is of sigma |g| to 0 or 1.
        assert omega == pytest.approx(math.sqrt(2 / math.pi) / sigma - 1, rel=1e-4)
    if sigma > 0.05:
        k = np.arange(1, 100)
        series = 1 / 6 - np.sum(np.exp(-2 * (np.pi * k * sigma) ** 2) / k**2) / np.pi**2
        assert omega == pytest.approx(series / sigma**2, rel=1e-9)
    if sigma >= 3:
        # The entropy of a normal number, and of a rounding at random, which spreads it by 1/6.
        assert entropy == pytest.approx(math.log2(2 * math.pi * math.e * (sigma**2 + 1 / 6)) / 2, abs=1e-3)


@reproducible
@given(levels=level_counts)
def test_in_one_dimension_only_the_sign_is_random(levels: int) -> None:
    for norm in ("l2", "max"):
        assert theory.qsgd_variance(1, levels, norm=norm) == 0
        assert theory.level_entropy(1, levels, norm=norm) == 1
        np.testing.assert_array_equal(theory.level_probabilities(1, levels, norm=norm), [0] * levels + [1])


@reproducible
@given(d=dimensions, levels=level_counts)
def test_the_variance_never_exceeds_its_bound(d: int, levels: int) -> None:
    for norm in ("l2", "max"):
        variance = theory.qsgd_variance(d, levels, norm=norm)
        assert 0 <= variance <= theory.qsgd_variance_bound(d, levels, norm=norm)


@reproducible
@given(
    shares=st.lists(st.floats(0, 1, allow_subnormal=False).map(lambda x: x**3), min_size=1, max_size=40),
    levels=st.integers(1, 20),
)
def test_no_vector_exceeds_the_bound_of_the_maximum_norm(shares: list[float], levels: int) -> None:
    scaled = levels * np.append(shares, 1.0)
    fraction = scaled - np.floor(scaled)
    omega = np.sum(fraction * (1 - fraction)) / np.sum(scaled**2)
    assert omega <= theory.qsgd_variance_bound(len(scaled), levels, norm="max") * (1 + 1e-12)


def test_the_bound_is_the_smaller_of_its_two_parts() -> None:
    assert theory.qsgd_variance_bound(1000, 64) == pytest.approx(1000 / 4096, rel=1e-15)
    assert theory.qsgd_variance_bound(100, 2) == pytest.approx(5, rel=1e-15)
    assert theory.qsgd_variance_bound(1000, 64, norm="max") == pytest.approx(1000 / 16384, rel=1e-15)
    assert theory.qsgd_variance_bound(100, 2, norm="max") == pytest.approx(5, rel=1e-15)


@reproducible
@given(d=st.integers(2, 10**9), levels=st.integers(1, 2**14 - 1))
def test_halving_the_cells_lowers_the_variance_and_raises_the_entropy(d: int, levels: int) -> None:
    assert theory.qsgd_variance(d, 2 * levels) < theory.qsgd_variance(d, levels)
    assert theory.level_entropy(d, levels) < theory.level_entropy(d, 2 * levels) < math.log2(4 * levels + 1)


# The unit of the largest magnitude.


def over_the_maximum(d: int, statistic: Callable[[float], float]) -> float:
    """Integrate over the largest of d normal magnitudes, by its density, between quantiles of 1e-20."""

    def integrand(m: float) -> float:
        above = special.erfc(m / math.sqrt(2))
        others = math.log(special.erf(m / math.sqrt(2))) if m < 1 else math.log1p(-above)
        return d * math.sqrt(2 / math.pi) * math.exp((d - 1) * others - m * m / 2) * statistic(m)

    low = math.sqrt(2) * special.erfcinv(-math.expm1(-46 / d))
    high = math.sqrt(2) * special.erfcinv(1e-20 / d)
    edges = np.linspace(low, high, 9)
    return float(sum(integrate.quad(integrand, *pair, epsabs=0, epsrel=1e-12)[0] for pair in pairwise(edges)))


@pytest.mark.parametrize("d", [2, 3, 10, 1000, 10**6, 10**9])
def test_with_one_level_of_the_maximum_the_variance_is_that_of_terngrad(d: int) -> None:
    def second_moment(m: float) -> float:
        below = math.sqrt(2 / math.pi) * -math.expm1(-m * m / 2) / special.erf(m / math.sqrt(2))
        return m * (m + (d - 1) * below)

    expected = over_the_maximum(d, second_moment) / d
    assert 1 + theory.qsgd_variance(d, 1, norm="max") == pytest.approx(expected, rel=1e-10)
    nonzero = 1 / d + (1 - 1 / d) * over_the_maximum(d, lambda m: (second_moment(m) / m**2 - 1) / (d - 1))
    np.testing.assert_allclose(theory.level_probabilities(d, 1, norm="max"), [1 - nonzero, nonzero], rtol=1e-10)


@pytest.mark.parametrize("d", [2, 3, 10, 1000, 10**6, 10**9])
def test_with_many_levels_of_the_maximum_roundings_are_uniform(d: int) -> None:
    expected = (1 - 1 / d) * over_the_maximum(d, lambda m: m * m) / 6
    for levels in (10_000, 2**15 - 1):
        assert levels**2 * theory.qsgd_variance(d, levels, norm="max") == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("levels", [1, 2, 3, 10, 40])
def test_in_the_plane_the_ratio_to_the_maximum_is_the_tangent_of_a_uniform_angle(levels: int) -> None:
    def cell(level: int, cost: Callable[[float], float]) -> float:
        edges = level / levels, (level + 1) / levels
        return float(4 / math.pi * integrate.quad(lambda t: cost(t) / (1 + t * t), *edges, epsrel=1e-12)[0])

    def error(t: float) -> float:
        fraction = levels * t % 1
        return fraction * (1 - fraction) / (1 + t * t) / levels**2

    variance = sum(cell(level, error) for level in range(levels))
    assert theory.qsgd_variance(2, levels, norm="max") == pytest.approx(variance, rel=1e-10)
    zero = cell(0, lambda t: 1 - levels * t) / 2
    highest = 1 / 2 + cell(levels - 1, lambda t: 1 - levels * (1 - t)) / 2
    probabilities = theory.level_probabilities(2, levels, norm="max")
    np.testing.assert_allclose(probabilities[[0, -1]], [zero, highest], rtol=1e-10)


def test_the_variance_in_the_unit_of_the_maximum_has_its_known_values() -> None:
    assert theory.qsgd_variance(2, 1, norm="max") == pytest.approx(2 / math.pi - 1 / 2, rel=1e-12)
    for d, variance in ((10, 0.564), (1000, 1.742), (10**6, 2.988), (10**9, 3.945)):
        assert theory.qsgd_variance(d, 1, norm="max") == pytest.approx(variance, abs=5.1e-4)


# Natural compression.


def exponents(rng: np.random.Generator, values: Array) -> Array:
    """Round magnitudes to powers of two at random, without bias; return the exponents."""
    mantissa, exponent = np.frexp(np.abs(values))
    return np.asarray(exponent - 1 + (rng.random(values.shape) < 2 * mantissa - 1), dtype=np.float64)


def test_natural_compression_has_the_predicted_variance() -> None:
    rng = np.random.default_rng(7)
    points = sphere(rng, 40_000, 10) * 2 ** rng.random((40_000, 1))
    rounded = np.sign(points) * 2 ** exponents(rng, points)
    errors = np.sum((rounded - points) ** 2, axis=1) / np.sum(points**2, axis=1)
    assert abs(z_score(errors, theory.natural_variance())) < 4
    assert theory.natural_variance() == pytest.approx(0.0820, abs=5e-5)


def test_the_bound_of_natural_compression_is_reached_at_four_thirds() -> None:
    t = np.linspace(1, 2, 3001)
    errors = (2 - t) * (t - 1) / t**2
    assert theory.natural_variance_bound() == pytest.approx(np.max(errors), rel=1e-12)
    assert t[np.argmax(errors)] == pytest.approx(4 / 3)


@pytest.mark.parametrize("d", [1, 2, 10, 1000])
def test_the_levels_of_natural_compression_are_about_as_frequent_as_predicted(d: int) -> None:
    rng = np.random.default_rng(8)
    points = rng.standard_normal((400_000 // d, d)) * 2 ** rng.random((400_000 // d, 1))
    top = 1 + np.floor(np.log2(np.max(np.abs(points), axis=1, keepdims=True)))
    level = (top - exponents(rng, points) + 1).astype(int)
    shares = np.bincount(level.ravel(), minlength=65)[1:65] / level.size
    probabilities = theory.natural_probabilities(d)
    np.testing.assert_allclose(probabilities, shares, rtol=0, atol=0.012)
    assert np.sum(probabilities) == pytest.approx(1, abs=1e-12)


def test_a_single_coordinate_is_rounded_to_one_of_the_two_highest_powers() -> None:
    up = 1 / math.log(2) - 1  # the mean of t - 1 over a log-uniform t
    np.testing.assert_allclose(theory.natural_probabilities(1)[:3], [up, 1 - up, 0], atol=1e-12)
