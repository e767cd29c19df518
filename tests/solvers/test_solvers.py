"""Solvers: each against the planted weights, an independent computation, or what it must do with no information."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from relufit.planted import PlantedData, generate, initial_weights, relative_error
from relufit.solvers import SOLVERS
from relufit.solvers.gradient_descent import STRIDE
from relufit.solvers.least_squares import fit

#: What each solver takes beside the start.
BUDGETS: dict[str, dict[str, Any]] = {
    "least_squares": {"iterations": 1},
    "alternating_minimisation": {"iterations": 30},
    "gradient_descent": {"iterations": 3000, "step_size": 0.8},
}


def never(w: np.ndarray) -> bool:
    return False


def near(data: PlantedData, tolerance: float) -> Callable[[np.ndarray], bool]:
    return lambda w: relative_error(w, data.w_star) <= tolerance


def with_active_rows(count: int, d: int) -> PlantedData:
    """Return 6 d samples from which rows were taken until `count` active ones were left."""
    data = generate(6 * d, d, 8)
    surplus = np.flatnonzero(data.y > 0)[count:]
    kept = np.delete(np.arange(6 * d), surplus)
    return PlantedData(data.x[kept], data.y[kept], data.w_star)


def test_every_solver_has_a_budget_here() -> None:
    assert set(BUDGETS) == set(SOLVERS)


@pytest.mark.parametrize("name", SOLVERS)
def test_four_samples_a_dimension_give_the_planted_weights(name: str) -> None:
    data = generate(120, 30, 5)
    solution = SOLVERS[name](data.x, data.y, initial_weights(data.x, data.y), near=near(data, 1e-6), **BUDGETS[name])
    assert relative_error(solution.weights, data.w_star) <= 1e-6
    assert 1 <= solution.iterations <= BUDGETS[name]["iterations"]


@pytest.mark.parametrize("name", SOLVERS)
def test_the_start_and_the_data_are_left_as_they_were(name: str) -> None:
    data = generate(80, 20, 6)
    start = initial_weights(data.x, data.y)
    before = [array.copy() for array in (data.x, data.y, start)]
    SOLVERS[name](data.x, data.y, start, near=never, **{**BUDGETS[name], "iterations": 3})
    for array, copy in zip((data.x, data.y, start), before, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("name", SOLVERS)
def test_without_any_active_row_the_weights_are_zero_or_the_start(name: str) -> None:
    x = generate(40, 10, 7).x
    solution = SOLVERS[name](x, np.zeros(40), np.zeros(10), near=never, **BUDGETS[name])
    np.testing.assert_array_equal(solution.weights, np.zeros(10))


@pytest.mark.parametrize(("count", "solved"), [(29, False), (30, True), (31, True)])
def test_least_squares_needs_as_many_active_rows_as_there_are_dimensions(count: int, solved: bool) -> None:
    data = with_active_rows(count, 30)
    assert np.count_nonzero(data.y > 0) == count
    solution = SOLVERS["least_squares"](data.x, data.y, np.zeros(30), near=never, iterations=1)
    assert (relative_error(solution.weights, data.w_star) < 1e-6) == solved
    # Either way the labels of the active rows are met.
    active = data.y > 0
    np.testing.assert_allclose(data.x[active] @ solution.weights, data.y[active], atol=1e-9)


@pytest.mark.parametrize(("rows", "columns"), [(1, 5), (5, 1), (7, 7), (12, 5), (5, 12)])
@pytest.mark.parametrize("rank", [1, 3, None])
def test_a_fit_is_the_one_of_least_norm_also_where_rows_depend_on_each_other(
    rows: int, columns: int, rank: int | None
) -> None:
    draw = np.random.default_rng(11)
    x = draw.integers(-4, 5, (rows, columns))
    if rank is not None:
        # Whole numbers, so that the product has that rank in float32 too.
        inner = min(rank, rows, columns)
        x = draw.integers(-4, 5, (rows, inner)) @ draw.integers(-4, 5, (inner, columns))
    y = draw.standard_normal(rows)
    expected = np.linalg.pinv(x.astype(np.float64)) @ y
    np.testing.assert_allclose(fit(x.astype(np.float32), y), expected, rtol=1e-9, atol=1e-9)


def test_a_fit_to_no_rows_is_zero() -> None:
    np.testing.assert_array_equal(fit(np.empty((0, 4), np.float32), np.empty(0)), np.zeros(4))


def test_alternating_minimisation_stops_when_the_active_set_stays() -> None:
    data = generate(90, 30, 9)
    seen: list[np.ndarray] = []

    def watch(w: np.ndarray) -> bool:
        seen.append(w.copy())
        return False

    start = initial_weights(data.x, data.y)
    solution = SOLVERS["alternating_minimisation"](data.x, data.y, start, near=watch, iterations=50)
    sets = [data.x.astype(np.float64) @ w > 0 for w in seen]
    assert solution.iterations == len(seen) - 1 < 50
    assert all((a != b).any() for a, b in pairwise(sets[:-1]))
    np.testing.assert_array_equal(sets[-1], sets[-2])
    np.testing.assert_array_equal(solution.weights, seen[-1])


def test_one_iteration_of_alternating_minimisation_fits_the_rows_that_the_start_calls_active() -> None:
    data = generate(90, 30, 10)
    start = initial_weights(data.x, data.y)
    solution = SOLVERS["alternating_minimisation"](data.x, data.y, start, near=never, iterations=1)
    active = data.x.astype(np.float64) @ start > 0
    assert (active != (data.y > 0)).any()
    expected = np.linalg.lstsq(data.x[active].astype(np.float64), data.y[active], rcond=None)[0]
    np.testing.assert_allclose(solution.weights, expected, rtol=1e-9, atol=1e-12)
    assert solution.iterations == 1


@pytest.mark.parametrize("iterations", [0, 1, STRIDE, 2 * STRIDE + 3])
def test_gradient_descent_is_the_plain_one(iterations: int) -> None:
    data = generate(70, 20, 12)
    start = -0.5 * initial_weights(data.x, data.y)
    solution = SOLVERS["gradient_descent"](data.x, data.y, start, near=never, iterations=iterations, step_size=0.7)
    x, w = data.x.astype(np.float64), start.copy()
    for _ in range(iterations):
        products = x @ w
        w -= 0.7 / 70 * ((np.maximum(products, 0) - data.y) * (products > 0)) @ x
    np.testing.assert_allclose(solution.weights, w, rtol=1e-10)
    assert solution.iterations == iterations


def test_gradient_descent_stays_at_exactly_zero_and_leaves_any_other_start() -> None:
    data = generate(70, 20, 13)
    budget = BUDGETS["gradient_descent"]
    stuck = SOLVERS["gradient_descent"](data.x, data.y, np.zeros(20), near=near(data, 1e-6), **budget)
    np.testing.assert_array_equal(stuck.weights, np.zeros(20))
    assert stuck.iterations == 0
    moved = SOLVERS["gradient_descent"](data.x, data.y, np.full(20, 1e-12), near=near(data, 1e-6), **budget)
    assert relative_error(moved.weights, data.w_star) <= 1e-6


def test_gradient_descent_stops_where_it_is_near_and_asks_every_few_steps() -> None:
    data = generate(120, 30, 14)
    start, budget = initial_weights(data.x, data.y), BUDGETS["gradient_descent"]
    solution = SOLVERS["gradient_descent"](data.x, data.y, start, near=near(data, 1e-3), **budget)
    assert relative_error(solution.weights, data.w_star) <= 1e-3
    assert solution.iterations % STRIDE == 0
    shorter = {**budget, "iterations": solution.iterations - STRIDE}
    before = SOLVERS["gradient_descent"](data.x, data.y, start, near=never, **shorter)
    assert relative_error(before.weights, data.w_star) > 1e-3


@pytest.mark.parametrize("name", ["alternating_minimisation", "gradient_descent"])
def test_a_start_that_is_near_takes_no_iteration(name: str) -> None:
    data = generate(60, 20, 15)
    solution = SOLVERS[name](data.x, data.y, data.w_star, near=near(data, 1e-6), **BUDGETS[name])
    np.testing.assert_array_equal(solution.weights, data.w_star)
    assert solution.iterations == 0


def test_gradient_descent_that_diverges_ends_before_its_budget() -> None:
    data = generate(60, 20, 16)
    start = initial_weights(data.x, data.y)
    solution = SOLVERS["gradient_descent"](data.x, data.y, start, near=never, iterations=10**6, step_size=50.0)
    assert not np.isfinite(solution.weights).all()
    assert solution.iterations < 10**4
