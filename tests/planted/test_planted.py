"""The planted model against definitions in plain numpy. Statistical tests are seeded and state their level."""

from __future__ import annotations

import math
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from relufit import planted, streams
from relufit.errors import ConfigError
from relufit.planted import INPUTS, PlantedModel
from relufit.planted.rows import RecipeRows

Array = NDArray[np.float64]
#: Variance of the square of one coordinate: the fourth moment less one.
SQUARE_VARIANCE = {"gaussian": 2.0, "rademacher": 0.0, "uniform": 0.8, "student_t5": 8.0, "autoregressive": 2.0}


def common_rows(one: NDArray[np.float32], other: NDArray[np.float32]) -> set[bytes]:
    return {row.tobytes() for row in one} & {row.tobytes() for row in other}


def test_the_shapes_and_the_float_types_are_as_promised() -> None:
    data = planted.generate(7, 5, 0)
    assert [(part.shape, part.dtype) for part in data] == [((7, 5), np.float32), ((7,), np.float64), ((5,), np.float64)]


@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("noise_std", [0.0, 0.3])
@settings(max_examples=20, deadline=None)
@given(where=st.tuples(st.integers(0, 500), st.integers(0, 500)).map(sorted), seed=st.integers(-(2**63), 2**63 - 1))
def test_any_range_of_rows_has_the_bits_of_the_whole(
    inputs: str, noise_std: float, where: list[int], seed: int
) -> None:
    # 300 coordinates make blocks of 218 rows: ranges begin and end within blocks and on either side of them.
    whole = planted.generate(500, 300, seed, noise_std=noise_std, inputs=inputs)
    x, y = PlantedModel(500, 300, seed, noise_std, inputs).rows(*where)
    assert x.tobytes() == whole.x[slice(*where)].tobytes()
    assert y.tobytes() == whole.y[slice(*where)].tobytes()


def test_a_row_wider_than_a_block_is_made_by_itself() -> None:
    model, whole = PlantedModel(3, 70_000, 1), planted.generate(3, 70_000, 1)
    x, y = model.rows(1, 2)
    assert x.tobytes() == whole.x[1:2].tobytes()
    assert y.tobytes() == whole.y[1:2].tobytes()
    assert not np.array_equal(whole.x[0], whole.x[1])


def test_rows_do_not_depend_on_how_many_there_are() -> None:
    few, many = planted.generate(30, 8, 4), planted.generate(9000, 8, 4)
    assert few.x.tobytes() == many.x[:30].tobytes()
    assert few.w_star.tobytes() == many.w_star.tobytes()


@pytest.mark.parametrize("where", [(-1, 2), (3, 2), (0, 11)])
def test_rows_beyond_the_data_set_are_refused(where: tuple[int, int]) -> None:
    with pytest.raises(IndexError):
        PlantedModel(10, 3, 0).rows(*where)


def test_seeds_have_data_of_their_own() -> None:
    one, other = planted.generate(20, 4, 0), planted.generate(20, 4, 1)
    assert not common_rows(one.x, other.x)
    assert not np.intersect1d(one.w_star, other.w_star).size


@pytest.mark.parametrize("inputs", INPUTS)
def test_the_inputs_have_mean_zero_and_variance_one(inputs: str) -> None:
    # |z| < 5 for 12 numbers: a right sampler fails with probability 7e-6 (student_t5: somewhat more, as its
    # squares have heavy tails). Mean and mean square of a coordinate have the known variances 1/n and v/n.
    n = 1_000_000
    x = planted.generate(n, 6, 2, inputs=inputs).x.astype(np.float64)
    assert np.all(np.abs(x.mean(axis=0)) * math.sqrt(n) < 5)
    error = np.abs((x**2).mean(axis=0) - 1)
    assert np.all(error <= 5 * math.sqrt(SQUARE_VARIANCE[inputs] / n) + 1e-12)


@pytest.mark.parametrize("inputs", INPUTS)
def test_only_autoregressive_coordinates_are_correlated(inputs: str) -> None:
    # |z| < 5 for 15 pairs: a right sampler fails with probability 9e-6; the variance of a product is at most 1 + r^2.
    n = 100_000
    x = planted.generate(n, 6, 3, inputs=inputs).x.astype(np.float64)
    apart = np.abs(np.subtract.outer(np.arange(6), np.arange(6)))
    expected = 0.5**apart if inputs == "autoregressive" else np.eye(6)
    error = (np.abs(x.T @ x / n - expected) * math.sqrt(n / 2))[apart > 0]
    assert np.all(error < 5)


def test_the_distributions_are_the_ones_they_are_called_after() -> None:
    x = {name: planted.generate(20_000, 4, 0, inputs=name).x for name in INPUTS}
    assert set(np.unique(x["rademacher"])) == {-1.0, 1.0}
    assert 1.7 < np.abs(x["uniform"]).max() <= np.float32(math.sqrt(3))
    # P(|x| > 4) is 6.3e-5 for the Gaussian and 3.5e-3 for Student's t: 5 and 280 of 80,000 are expected.
    assert np.sum(np.abs(x["gaussian"]) > 4) < 30
    assert np.sum(np.abs(x["student_t5"]) > 4) > 150


@pytest.mark.parametrize("d", [1, 2, 37, 5000])
def test_the_planted_weights_have_norm_one(d: int) -> None:
    assert np.linalg.norm(planted.generate(1, d, 0).w_star) == pytest.approx(1, abs=1e-14)


def test_the_planted_weights_have_no_preferred_direction() -> None:
    # On the sphere in 10 dimensions a coordinate has mean 0 and variance 1/10, its square variance 2 * 9/(100 * 12).
    # |z| < 5 for 20 numbers: fails with probability 1e-5.
    w = np.array([PlantedModel(1, 10, seed).weights() for seed in range(2000)])
    assert np.all(np.abs(w.mean(axis=0)) * math.sqrt(2000 * 10) < 5)
    assert np.all(np.abs((w**2).mean(axis=0) - 0.1) * math.sqrt(2000 / 0.015) < 5)


def test_labels_are_the_rectified_inner_products() -> None:
    x, y, w_star = planted.generate(500, 37, 5)
    np.testing.assert_allclose(y, np.maximum(x.astype(np.float64) @ w_star, 0), rtol=0, atol=1e-14)
    assert 0.4 < np.mean(y > 0) < 0.6


def test_noise_is_added_to_the_labels_alone() -> None:
    # Mean and mean square of the standardised noise, |z| < 4.5: fails with probability 1.4e-5.
    clean, noisy = planted.generate(50_000, 5, 6), planted.generate(50_000, 5, 6, noise_std=0.25)
    assert clean.x.tobytes() == noisy.x.tobytes()
    noise = (noisy.y - clean.y) / 0.25
    assert abs(noise.mean()) * math.sqrt(50_000) < 4.5
    assert abs((noise**2).mean() - 1) * math.sqrt(50_000 / 2) < 4.5
    assert abs(np.mean(noise * clean.x[:, 0])) * math.sqrt(50_000) < 4.5


def test_no_row_and_no_noise_comes_twice() -> None:
    # 300 coordinates make blocks of 218 rows. Two of 1000 noises agree in nine digits with probability 2e-4.
    clean, noisy = planted.generate(1000, 300, 1), planted.generate(1000, 300, 1, noise_std=1.0)
    assert len({row.tobytes() for row in clean.x}) == 1000
    assert len(np.unique(np.round(noisy.y - clean.y, 9))) == 1000


def test_noise_scales_with_its_standard_deviation() -> None:
    clean, one, two = (planted.generate(50, 5, 6, noise_std=s).y for s in (0.0, 0.5, 1.0))
    np.testing.assert_allclose(two - clean, 2 * (one - clean), atol=1e-14)


def test_fresh_samples_follow_the_model_and_are_new() -> None:
    model = PlantedModel(100, 9, 7)
    w_star = model.weights()
    x, y = model.fresh(300, streams.generator(streams.key(1)), w_star)
    again, _ = model.fresh(300, streams.generator(streams.key(1)), w_star)
    np.testing.assert_allclose(y, np.maximum(x.astype(np.float64) @ w_star, 0), rtol=0, atol=1e-14)
    assert x.tobytes() == again.tobytes()
    assert not common_rows(x, model.rows(0, 100)[0])
    assert not common_rows(x, model.fresh(300, streams.generator(streams.key(2)), w_star)[0])


def test_fresh_samples_have_the_noise_of_the_model() -> None:
    # |z| < 4.5 for the mean square of 20,000 standardised residuals: fails with probability 7e-6.
    model = PlantedModel(100, 3, 7, noise_std=0.5)
    x, y = model.fresh(20_000, streams.generator(streams.key(1)), model.weights())
    noise = (y - np.maximum(x.astype(np.float64) @ model.weights(), 0)) / 0.5
    assert abs((noise**2).mean() - 1) * math.sqrt(10_000) < 4.5


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 0),
        ("n", 2.0),
        ("n", True),
        ("d", -1),
        ("d", "3"),
        ("seed", 0.5),
        ("seed", 2**63),
        ("noise_std", -0.1),
        ("noise_std", math.nan),
        ("noise_std", math.inf),
        ("noise_std", "1"),
        ("inputs", "normal"),
    ],
)
def test_an_impossible_parameter_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=name):
        PlantedModel(**{"n": 3, "d": 2, "seed": 0, name: value})  # type: ignore[arg-type]


def test_integers_of_numpy_become_plain_ones() -> None:
    model = PlantedModel(np.int64(3), np.int32(2), 0)  # type: ignore[arg-type]
    assert model == PlantedModel(3, 2, 0)
    assert all(type(value) in (int, float, str) for value in asdict(model).values())


def small(n: int, d: int, seed: int) -> tuple[Array, NDArray[np.float32], Array]:
    """Weights near the planted ones, and the data."""
    x, y, w_star = planted.generate(n, d, seed, noise_std=0.2)
    return w_star + 0.3 * np.random.default_rng(seed).standard_normal(d), x, y


@pytest.mark.parametrize("seed", range(5))
def test_the_gradient_is_the_slope_of_the_loss(seed: int) -> None:
    w, x, y = small(40, 7, seed)
    step = 1e-6
    assert np.abs(x.astype(np.float64) @ w).min() > 10 * step, "a kink is too near"
    slopes = [
        (planted.loss(w + step * unit, x, y) - planted.loss(w - step * unit, x, y)) / (2 * step) for unit in np.eye(7)
    ]
    np.testing.assert_allclose(planted.gradient(w, x, y), slopes, rtol=0, atol=1e-8)


def test_the_loss_and_the_gradient_are_those_of_numpy() -> None:
    w, x, y = small(101, 33, 1)
    products = x.astype(np.float64) @ w
    residuals = np.maximum(products, 0) - y
    assert planted.loss(w, x, y) == pytest.approx(np.mean(residuals**2) / 2, rel=1e-13)
    np.testing.assert_allclose(
        planted.gradient(w, x, y), (residuals * (products > 0)) @ x.astype(np.float64) / 101, rtol=0, atol=1e-14
    )


def test_the_gradient_vanishes_at_the_planted_weights_and_at_zero() -> None:
    x, y, w_star = planted.generate(50, 6, 0)
    assert planted.loss(w_star, x, y) == 0
    assert not planted.gradient(w_star, x, y).any()
    assert not planted.gradient(np.zeros(6), x, y).any()


def test_initial_weights_are_twice_the_mean_of_label_times_input() -> None:
    x, y, _ = planted.generate(101, 33, 1, noise_std=1.0)
    np.testing.assert_allclose(planted.initial_weights(x, y), 2 * y @ x.astype(np.float64) / 101, rtol=0, atol=1e-14)


@pytest.mark.parametrize(("n", "d"), [(400, 30), (50, 1), (60, 100)])
def test_the_squared_error_of_the_initial_weights_is_2d_plus_3_over_n_on_average(n: int, d: int) -> None:
    # |z| < 4: fails with probability 6e-5.
    errors = []
    for seed in range(400):
        x, y, w_star = planted.generate(n, d, seed)
        errors.append(np.sum((planted.initial_weights(x, y) - w_star) ** 2))
    z = (np.mean(errors) - (2 * d + 3) / n) / (np.std(errors, ddof=1) / math.sqrt(len(errors)))
    assert abs(z) < 4


def test_the_relative_error_is_the_distance_in_units_of_the_planted_norm() -> None:
    assert planted.relative_error(np.array([3.0, 4.0]), np.array([3.0, 0.0])) == pytest.approx(4 / 3, rel=1e-15)
    assert planted.relative_error(np.array([3.0, 4.0]), np.array([3.0, 4.0])) == 0


def test_arrays_that_are_not_contiguous_are_taken_as_they_read() -> None:
    x, y, w_star = planted.generate(30, 20, 0)
    spread = np.zeros((20, 3))
    spread[:, 1] = w_star
    w = 1.5 * spread[:, 1]
    assert planted.relative_error(1.5 * w_star, spread[:, 1]) == pytest.approx(0.5, rel=1e-14)
    assert planted.loss(spread[:, 1], x, y) == 0
    np.testing.assert_array_equal(planted.gradient(w, np.asfortranarray(x), y), planted.gradient(1.5 * w_star, x, y))
    np.testing.assert_array_equal(
        planted.initial_weights(x[::2, ::-1], y[::2]), planted.initial_weights(x[::2].copy(), y[::2].copy())[::-1]
    )


def test_shapes_that_do_not_fit_are_refused() -> None:
    x, y, w_star = planted.generate(6, 4, 0)
    for wrong in [(x, y[:5]), (x[0], y[:4]), (x, y[:, None]), (x[:0], y[:0])]:
        with pytest.raises(ConfigError, match="shape"):
            planted.initial_weights(*wrong)
    for w in [np.ones(5), np.ones(3), np.ones((4, 1)), np.float64(1)]:
        with pytest.raises(ConfigError, match="shape"):
            planted.gradient(w, x, y)
        with pytest.raises(ConfigError, match="shape"):
            planted.loss(w, x, y)
    assert planted.loss(w_star, x, y) == 0


def test_rows_of_a_recipe_are_made_once_for_runs_that_follow_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    model = PlantedModel(n=40, d=6, seed=1)
    source, made, rows = RecipeRows(model), list[tuple[int, int]](), PlantedModel.rows

    def noted(self: PlantedModel, start: int, stop: int, *rest: object) -> object:
        made.append((start, stop))
        return rows(self, start, stop, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(PlantedModel, "rows", noted)
    for workers, rank in ((2, 0), (2, 0), (2, 1), (4, 1), (2, 0)):
        shard, size = source.shard(rank, workers), model.n // workers
        expected = rows(model, rank * size, (rank + 1) * size)
        assert [part.tobytes() for part in shard] == [part.tobytes() for part in expected]
    assert made == [(0, 20), (20, 40), (10, 20)]
    assert RecipeRows(PlantedModel(n=40, d=6, seed=2)).shard(0, 2).x.tobytes() != source.shard(0, 2).x.tobytes()


def test_of_the_rows_that_are_kept_those_asked_for_last_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relufit.planted.rows._KEPT_BYTES", 2 * 4 * 6 * 10)
    source = RecipeRows(PlantedModel(n=40, d=6, seed=4))
    shards = [source.shard(rank, 4).x for rank in (0, 1)]
    assert source.shard(0, 4).x is shards[0]
    source.shard(2, 4)
    assert source.shard(0, 4).x is shards[0]
    assert source.shard(1, 4).x is not shards[1]


def test_many_rows_of_a_recipe_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relufit.planted.rows._KEPT_BYTES", 4 * 6 * 20 - 1)
    source = RecipeRows(PlantedModel(n=40, d=6, seed=3))
    first, second = source.shard(0, 2), source.shard(0, 2)
    assert first.x.tobytes() == second.x.tobytes()
    assert first.x is not second.x
