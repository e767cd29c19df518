"""Where signSGD by majority vote comes to rest: held against runs, and against limits."""

from __future__ import annotations

import math

import numpy as np
import pytest

from relufit import theory
from relufit.planted import PlantedModel
from relufit.training import TrainingSpec, train


@pytest.mark.parametrize(("workers", "exchange"), [(4, "all_reduce"), (5, "requantize"), (1, "all_reduce")])
def test_runs_come_to_rest_at_the_floor(workers: int, exchange: str) -> None:
    d, m, step = 150, 40, 1e-3
    spec = TrainingSpec(
        PlantedModel(n=10 * d, d=d, seed=3),
        "majority",
        workers=workers,
        batch_size=m,
        step_size=step,
        iterations=3000,
        exchange=exchange,
        sampling="fresh",
        seed=1,
    )
    errors = train(spec).table["relative_error"].to_numpy() ** 2
    # The mean of many steps at rest, each remembered for some hundred.
    assert errors[1500:].mean() == pytest.approx(theory.majority_floor(d, m, step, workers=workers), rel=0.08)


def test_even_votes_do_not_favour_a_side() -> None:
    d = 150
    spec = TrainingSpec(
        PlantedModel(n=10 * d, d=d, seed=3),
        "majority",
        workers=2,
        batch_size=8,
        step_size=1e-3,
        iterations=1500,
        exchange="all_reduce",
        sampling="fresh",
        seed=1,
    )
    # About half of the votes are even.
    trace = train(spec)
    assert trace.table["relative_error"].iloc[-1] < 0.2
    assert abs((trace.weights - spec.dataset.weights()).mean()) < 3 * 1e-3 * math.sqrt(d)  # type: ignore[union-attr]


def test_the_floor_goes_as_the_square_of_the_step_and_falls_with_votes() -> None:
    assert theory.majority_floor(200, 40, 2e-3) == pytest.approx(4 * theory.majority_floor(200, 40, 1e-3))
    floors = [theory.majority_floor(200, 10 * workers, 1e-3, workers=workers) for workers in (1, 3, 9, 27)]
    assert (np.diff(floors) < 0).all()
    # Two equal votes are one, and uneven ones cancel: no better than one of them.
    one, two = (theory.majority_floor(200, 10 * workers, 1e-3, workers=workers) for workers in (1, 2))
    assert two == pytest.approx(one)


def test_impossible_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="step"):
        theory.majority_floor(10, 4, -1.0)
    with pytest.raises(ValueError, match="m"):
        theory.majority_floor(10, 0, 0.1)
