"""Intervals and fits against independent computations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from relufit.claims.statistics import line_fit, mean_interval, normal_interval


def test_the_interval_is_students_as_scipy_computes_it() -> None:
    values = np.random.default_rng(1).standard_normal(7)
    ours = mean_interval(values, 0.9)
    low, high = stats.t.interval(0.9, 6, values.mean(), stats.sem(values))
    assert ours == pytest.approx((values.mean(), low, high))


def test_the_interval_covers_the_mean_as_often_as_it_says() -> None:
    draws = np.random.default_rng(2).standard_normal((4000, 5))
    covered = sum(low <= 0 <= high for _, low, high in map(mean_interval, draws))
    # Binomial(4000, 0.9) leaves this range with probability below 1e-4.
    assert 3520 < covered < 3680


def test_one_value_has_no_interval() -> None:
    assert mean_interval([3.0]) == (3.0, -np.inf, np.inf)


def test_a_line_is_fitted_as_scipy_fits_it() -> None:
    draw = np.random.default_rng(3)
    x = np.arange(30.0)
    y = 2 * x + draw.standard_normal(30)
    ours, theirs = line_fit(x, y), stats.linregress(x, y)
    assert ours == pytest.approx((theirs.slope, theirs.rvalue**2))


def test_two_points_are_too_few_for_a_line() -> None:
    with pytest.raises(ValueError, match="too few"):
        line_fit(np.arange(2), np.arange(2))


def test_the_interval_of_a_known_standard_error_is_the_normal_one() -> None:
    ours = normal_interval(2.0, 0.3, 0.95)
    assert ours == pytest.approx((2.0, *stats.norm.interval(0.95, 2.0, 0.3)))
