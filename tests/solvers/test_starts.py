"""Starts: the geometry that each name promises."""

from __future__ import annotations

import numpy as np
import pytest

from relufit import streams
from relufit.planted import generate, initial_weights
from relufit.solvers import STARTS

DATA = generate(90, 30, 21)
W_STAR = 3.0 * DATA.w_star  # of another norm than 1, so that a norm left out shows


def start(name: str, key: int = 1) -> np.ndarray:
    return STARTS[name](DATA.x, DATA.y, W_STAR, streams.generator(key))


@pytest.mark.parametrize("name", STARTS)
def test_every_start_has_the_shape_of_the_weights_and_is_finite(name: str) -> None:
    w = start(name)
    assert w.shape == (30,)
    assert w.dtype == np.float64
    assert np.isfinite(w).all()


@pytest.mark.parametrize("name", STARTS)
def test_a_start_leaves_the_planted_weights_alone_and_follows_its_stream(name: str) -> None:
    before = W_STAR.copy()
    np.testing.assert_array_equal(start(name, 5), start(name, 5))
    np.testing.assert_array_equal(W_STAR, before)
    drawn = name.startswith("random") or name == "orthogonal to w*"
    assert np.array_equal(start(name, 5), start(name, 6)) != drawn


@pytest.mark.parametrize(
    ("name", "scale"),
    [
        ("moments", 1),
        ("moments x 2", 2),
        ("moments x 10", 10),
        ("moments x 100", 100),
        ("moments x 0.1", 0.1),
        ("- moments", -1),
    ],
)
def test_moments_are_multiples_of_the_initial_weights(name: str, scale: float) -> None:
    np.testing.assert_allclose(start(name), scale * initial_weights(DATA.x, DATA.y), rtol=1e-15)


@pytest.mark.parametrize(
    ("name", "norm"), [("random", 3), ("random x 10", 30), ("random x 100", 300), ("random x 0.001", 0.003)]
)
def test_random_starts_have_norms_in_units_of_the_planted_weights(name: str, norm: float) -> None:
    assert np.linalg.norm(start(name)) == pytest.approx(norm, rel=1e-12)


def test_random_starts_have_no_preferred_direction() -> None:
    cosines = [start("random", key) @ W_STAR / 9 for key in range(400)]
    # The mean has standard deviation 1/sqrt(400 * 30) = 0.0091; four of them are exceeded once in 16000 times.
    assert abs(np.mean(cosines)) < 4 / np.sqrt(400 * 30)


def test_the_orthogonal_start_is_orthogonal_and_as_long_as_the_planted_weights() -> None:
    w = start("orthogonal to w*")
    assert abs(w @ W_STAR) < 1e-12
    assert np.linalg.norm(w) == pytest.approx(3, rel=1e-12)


@pytest.mark.parametrize(("name", "scale"), [("- w*", -1), ("w* x 100", 100), ("zero", 0)])
def test_starts_along_the_planted_weights_are_multiples_of_them(name: str, scale: float) -> None:
    np.testing.assert_array_equal(start(name), scale * W_STAR)


def test_the_largest_row_is_the_one_with_the_largest_label() -> None:
    np.testing.assert_array_equal(start("largest row"), DATA.x[list(DATA.y).index(max(DATA.y))])
