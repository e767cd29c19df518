"""Every compressor of this package against its definition, in distribution; see test_conformance for the rest.

All tests are seeded. Together they give a false alarm with probability at most 1e-6, shared evenly by the tests
and the compressors: Bernstein's inequality and the exact binomial law need no approximation; the mean squared error
over directions and the chi-square sum are compared under their normal and chi-square limits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from references import (
    Array,
    Case,
    Rounding,
    bernstein,
    biased,
    draws,
    in_one_coding,
    reference_draw,
    rounding,
    sparse,
    uneven,
    went_up,
    with_reference,
)
from scipy import stats

from relufit import streams
from relufit.compression import Compressor

#: What rounds each coordinate by itself. Coordinates that are drawn together are tested in `test_sparse`.
RANDOM = [case for case in in_one_coding() if draws(case) and not sparse(case) and not biased(case)]
#: For tests of the tests.
SOME = RANDOM[:: max(1, len(RANDOM) // 6)]
FIXED = [case for case in with_reference() if not draws(case)]
SUITE_LEVEL = 1e-6
#: Of one test on one compressor; there are at most eight tests that a right one can fail by chance.
LEVEL = SUITE_LEVEL / (8 * len(RANDOM))
TRIALS = 2000


class Drawn(NamedTuple):
    """Many decoded draws, (trials, d), of one vector, what is expected of them, and which coordinates went up."""

    vector: Array
    expected: Rounding
    decoded: Array
    up: NDArray[np.bool_]


def gaussian(size: int, seed: int, decades: float = 0.0) -> Array:
    """A vector of normal numbers whose scale falls by so many powers of ten."""
    return np.random.default_rng(seed).standard_normal(size) * np.logspace(0, -decades, size)


def decode_of(case: Case, vector: Array, seed: int = 1, rank: int = 0, iteration: int = 0) -> Array:
    payload = case.compressor.encode(vector, streams.key(seed, rank=rank, iteration=iteration))
    return case.compressor.decode(payload, vector.size)


@pytest.fixture(scope="module", params=RANDOM, ids=str)
def drawn(request: pytest.FixtureRequest) -> Drawn:
    vector = gaussian(150, 1, decades=2)
    expected = rounding(request.param, vector)
    decoded = np.array([decode_of(request.param, vector, iteration=t) for t in range(TRIALS)])
    return Drawn(vector, expected, decoded, went_up(decoded, expected))


def from_reference(case: Case) -> Drawn:
    vector, rng = gaussian(150, 1, decades=2), np.random.default_rng(5)
    expected = rounding(case, vector)
    decoded = np.array([reference_draw(case, vector, rng) for _ in range(TRIALS)])
    return Drawn(vector, expected, decoded, went_up(decoded, expected))


@pytest.mark.parametrize("case", RANDOM, ids=str)
def test_the_references_are_unbiased_themselves(case: Case) -> None:
    for decades in (0, 3):
        vector = gaussian(150, 2, decades)
        low, high, up = rounding(case, vector)
        np.testing.assert_allclose(low + up * (high - low), vector, rtol=1e-9, atol=1e-15)


def test_every_draw_is_one_of_the_two_neighbours(drawn: Drawn) -> None:
    for decoded in drawn.decoded[:200]:
        assert not uneven(decoded, drawn.expected).size


@pytest.mark.parametrize("case", FIXED, ids=str)
def test_what_draws_nothing_rounds_as_defined_and_has_no_variance(case: Case) -> None:
    for seed in range(20):
        vector = gaussian(500, seed, decades=seed)
        # A mean is rounded as it is added up.
        exact = case.name not in ("sign", "one_bit", "top_k_sign")
        np.testing.assert_allclose(decode_of(case, vector), rounding(case, vector).low, rtol=0 if exact else 1e-13)
    assert case.compressor.variance(500) == (None if biased(case) else 0)


def check_unbiased(drawn: Drawn) -> None:
    """The mean error of each coordinate, of their sum towards zero, and of the inner product with the vector."""
    errors = (drawn.decoded - drawn.vector).sum(axis=0)
    gap, variances, level = drawn.expected.gap, drawn.expected.variances, LEVEL / (errors.size + 2)
    rounded = 1e-12 * TRIALS * np.abs(drawn.vector)
    assert np.all(np.abs(errors) <= bernstein(TRIALS * variances, gap, level) + rounded)
    for weights in (np.sign(drawn.vector), drawn.vector):
        limit = bernstein(TRIALS * np.sum(weights**2 * variances), np.max(np.abs(weights) * gap), level)
        assert abs(errors @ weights) <= limit + rounded @ np.abs(weights)


def test_every_coordinate_and_the_inner_product_are_unbiased(drawn: Drawn) -> None:
    check_unbiased(drawn)


def check_frequencies(drawn: Drawn) -> None:
    """How often each coordinate went up, by the exact binomial law, and all of them by the sum of squares."""
    counts, up = drawn.up.sum(axis=0), drawn.expected.up
    p_values = 2 * np.minimum(stats.binom.cdf(counts, TRIALS, up), stats.binom.sf(counts - 1, TRIALS, up))
    # Probabilities within 1e-9 of certainty are a matter of the norm's last digits.
    drawn_at_all = (up > 1e-9) & (up < 1 - 1e-9)
    assert p_values[drawn_at_all].min() >= LEVEL / (2 * up.size)
    often = TRIALS * np.minimum(up, 1 - up) >= 25
    square = np.sum((counts - TRIALS * up)[often] ** 2 / (TRIALS * up * (1 - up))[often])
    assert often.sum() >= 20
    assert 2 * min(stats.chi2.cdf(square, often.sum()), stats.chi2.sf(square, often.sum())) >= LEVEL / 2


def test_each_coordinate_goes_up_as_often_as_defined(drawn: Drawn) -> None:
    check_frequencies(drawn)


def check_uncorrelated(drawn: Drawn) -> None:
    """The covariance of roundings at several distances in one vector, and of one place in successive draws."""
    up = drawn.expected.up
    scale = np.where((up > 0.02) & (up < 0.98), np.sqrt(up * (1 - up)), np.inf)
    scores = (drawn.up - up) / scale
    bound = np.where(scale < np.inf, np.maximum(up, 1 - up) / scale, 0)
    pairs = [(scores[:, lag:], scores[:, :-lag], bound[lag:] * bound[:-lag]) for lag in (*range(1, 18), 32, 64)]
    pairs += [(scores[lag:], scores[:-lag], bound**2) for lag in (1, 2, 16)]
    for one, other, largest in pairs:
        products = one * other
        count = np.count_nonzero(largest) * len(products)
        assert abs(products.sum()) <= bernstein(count, largest.max(), LEVEL / len(pairs))


def test_roundings_are_uncorrelated_within_a_vector_and_between_draws(drawn: Drawn) -> None:
    check_uncorrelated(drawn)


@pytest.mark.parametrize("case", SOME, ids=str)
def test_draws_from_the_definition_pass_the_same_checks(case: Case) -> None:
    right = from_reference(case)
    check_unbiased(right)
    check_frequencies(right)
    check_uncorrelated(right)


BREAKS: dict[str, tuple[Callable[[Drawn], None], Callable[[Drawn], Array]]] = {
    "to nearest": (check_unbiased, lambda it: np.where(it.expected.up > 0.5, it.expected.high, it.expected.low)),
    "half and half": (
        check_frequencies,
        lambda it: np.where(np.arange(TRIALS)[:, None] % 2 == 1, it.expected.high, it.expected.low),
    ),
    "one number for all coordinates": (
        check_uncorrelated,
        lambda it: np.where(
            np.random.default_rng(0).random((TRIALS, 1)) < it.expected.up, it.expected.high, it.expected.low
        ),
    ),
    "one number for all draws": (
        check_uncorrelated,
        lambda it: np.where(
            np.random.default_rng(0).random((1, it.vector.size)) < it.expected.up, it.expected.high, it.expected.low
        ),
    ),
    "too small by a fiftieth": (check_unbiased, lambda it: it.decoded * 0.98),
}


@pytest.mark.parametrize("wrong", BREAKS)
def test_wrong_roundings_fail_the_checks(wrong: str) -> None:
    check, make = BREAKS[wrong]
    right = from_reference(Case("qsgd", (("levels", 4),)))
    decoded = np.broadcast_to(make(right), right.decoded.shape)
    with pytest.raises(AssertionError):
        check(right._replace(decoded=decoded, up=went_up(decoded, right.expected)))


@pytest.mark.parametrize("case", RANDOM, ids=str)
@pytest.mark.parametrize("size", [1, 2, 7, 100, 1000])
def test_the_published_bound_is_above_the_variance_and_the_error_of_every_vector(case: Case, size: int) -> None:
    bound, omega = case.compressor.variance_bound(size), case.compressor.variance(size)
    assert bound is not None
    assert omega is None or omega <= bound * (1 + 1e-12)
    for seed in range(0, 10, 3):
        # One large coordinate among equal ones is where the error of norms is largest.
        spike = np.ones(size)
        spike[0] = 2.0**seed
        for vector in (
            gaussian(size, seed),
            gaussian(size, seed, decades=seed),
            spike,
            1.5 * np.ones(size) * 1.1**seed,
        ):
            assert rounding(case, vector).variances.sum() <= bound * np.sum(vector**2) * (1 + 1e-9)


def check_ranks(compressor: Compressor, case: Case) -> None:
    """The mean over 16 ranks has a sixteenth of the variance of one of them.

    The squared error of the mean is a sum of independent terms, whose variances follow from the fourth cumulants of
    the roundings. Over 60 iterations and 100 coordinates it is normal to the accuracy that is needed here.
    """
    ranks, iterations, vector = 16, 60, gaussian(100, 4)
    expected, squares = rounding(case, vector), np.empty(iterations)
    for t in range(iterations):
        keys = [streams.key(1, rank=rank, iteration=t) for rank in range(ranks)]
        mean = np.mean([compressor.decode(compressor.encode(vector, key), 100) for key in keys], axis=0)
        squares[t] = np.sum((mean - vector) ** 2)
    variances, spread = expected.variances, expected.up * (1 - expected.up)
    fourth = expected.gap**4 * spread * (1 - 6 * spread)
    deviation = math.sqrt(np.sum(2 * variances**2 / ranks**2 + fourth / ranks**3) / iterations)
    assert abs(squares.mean() - variances.sum() / ranks) <= stats.norm.isf(LEVEL / 2) * deviation


@pytest.mark.parametrize("case", RANDOM, ids=str)
def test_ranks_round_independently(case: Case) -> None:
    check_ranks(case.compressor, case)


class SharedStream:
    """Broken: all ranks draw the same numbers."""

    def __init__(self, compressor: Compressor) -> None:
        self._compressor = compressor
        self.decode, self.variance = compressor.decode, compressor.variance

    def encode(self, vector: Array, key: int) -> bytes:
        return self._compressor.encode(vector, streams.key(1))


@pytest.mark.parametrize("case", SOME, ids=str)
def test_ranks_that_share_a_stream_would_be_found(case: Case) -> None:
    with pytest.raises(AssertionError):
        check_ranks(SharedStream(case.compressor), case)
