"""The encoding of a sum that QSGD has quantized already: the prediction against simulated sums."""

from __future__ import annotations

import numpy as np
import pytest
from random_vectors import Array, quantize, sphere

from relufit import theory


def encoded_sums(d: int, levels: int, workers: int, count: int, lengths: Array | None = None) -> float:
    """Mean squared error of encoding a sum of encoded vectors over the mean square of the sum."""
    draw = np.random.default_rng(7)
    norms = np.ones(workers) if lengths is None else lengths
    total = sum(quantize(draw, norm * sphere(draw, count, d), levels) for norm in norms)
    return float(np.sum((quantize(draw, total, levels) - total) ** 2) / np.sum(total**2))


@pytest.mark.parametrize(
    ("d", "levels", "workers"),
    [(100, 2, 2), (60, 1, 4), (200, 2, 4), (60, 3, 4), (100, 6, 4), (300, 16, 3), (80, 4, 1)],
)
def test_the_error_of_encoding_a_sum_is_the_predicted_one(d: int, levels: int, workers: int) -> None:
    expected = theory.qsgd_sum_variance(d, levels, workers)
    # Four standard errors are .5 to .8 %; what is left out of the law is of order 1/d.
    assert encoded_sums(d, levels, workers, 4000) == pytest.approx(expected, rel=0.012)


def test_a_sum_of_few_levels_is_far_from_a_vector_of_any_direction() -> None:
    for d, levels, workers in ((100, 2, 2), (60, 1, 4), (200, 2, 4)):
        assert theory.qsgd_sum_variance(d, levels, workers) < 0.7 * theory.qsgd_variance(d, levels)


@pytest.mark.parametrize(("d", "levels"), [(100, 2), (400, 8), (50, 20)])
def test_of_many_workers_it_is_a_vector_of_any_direction(d: int, levels: int) -> None:
    assert theory.qsgd_sum_variance(d, levels, 2000) == pytest.approx(theory.qsgd_variance(d, levels), rel=0.01)


def test_norms_that_differ_move_it_towards_a_vector_of_any_direction() -> None:
    equal, isotropic = theory.qsgd_sum_variance(60, 3, 4), theory.qsgd_variance(60, 3)
    differing = encoded_sums(60, 3, 4, 4000, np.array([0.7, 0.9, 1.1, 1.3]))
    assert 1.02 * equal < differing < isotropic


def test_one_coordinate_is_sent_exactly() -> None:
    assert theory.qsgd_sum_variance(1, 3, 4) == pytest.approx(0, abs=1e-12)


def test_many_levels_and_dimensions_give_a_number() -> None:
    # One rank in sixteen: the grid of the sum has quarters of a level, which leave out a sixteenth of 1/6.
    variance = theory.qsgd_sum_variance(1_000_000, 32_767, 16)
    assert 0.9 * theory.qsgd_variance(1_000_000, 32_767) < variance < theory.qsgd_variance(1_000_000, 32_767)


@pytest.mark.parametrize("wrong", [{"d": 0}, {"levels": 0}, {"workers": 0}, {"workers": 1.5}])
def test_what_is_no_positive_whole_number_is_refused(wrong: dict[str, float]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=f"{name} must be a whole number from 1 on"):
        theory.qsgd_sum_variance(**{"d": 10, "levels": 2, "workers": 2, **wrong})  # type: ignore[arg-type]
