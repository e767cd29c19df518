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


@pytest.mark.parametrize(("workers", "exchange", "m"), [(4, "all_reduce", 40), (5, "requantize", 30), (1, "relay", 30)])
def test_a_step_that_is_halved_converges_as_predicted(workers: int, exchange: str, m: int) -> None:
    d, n, tolerance, took = 300, 6000, 1e-4, []
    halved = theory.majority_halving(d, m, theory.initial_error(n, d), workers=workers)
    for seed in range(3):
        spec = TrainingSpec(
            PlantedModel(n=n, d=d, seed=seed),
            "majority",
            workers=workers,
            batch_size=m,
            step_size=halved.step,
            halve_every=halved.every,
            iterations=10_000,
            tolerance=tolerance,
            exchange=exchange,
            sampling="fresh",
            seed=seed,
        )
        errors = train(spec).table["relative_error"]
        curve = theory.majority_curve(d, m, halved, 10_000, error_squared=errors[0] ** 2, workers=workers)
        took.append((len(errors) - 1) / theory.iterations_to(curve, tolerance))
    assert np.mean(took) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(("d", "m", "workers"), [(200, 40, 4), (1000, 80, 8)])
def test_an_error_that_lags_behind_its_halved_step_catches_up(d: int, m: int, workers: int) -> None:
    def errors(halved: theory.HalvedStep, first: float) -> np.ndarray:
        curve = theory.majority_curve(d, m, halved, 40 * halved.every, error_squared=first, workers=workers)
        return np.sqrt(curve[:: halved.every])

    halved, c = theory.majority_halving(d, m, 1.0, workers=workers), theory.majority_drift(d, m, workers=workers)
    ratios = errors(halved, 1.0)[1:] / errors(halved, 1.0)[:-1]
    np.testing.assert_allclose(ratios, 0.5, rtol=0.03)
    assert 2 * math.log(2) / halved.every == pytest.approx(0.77 * c**2, rel=0.02)
    assert 2 * math.log(2) / halved.every < -math.log(1 - c**2)
    # Twice as far away, or with steps that are shorter from the beginning, it is as near after some halvings.
    assert errors(halved, 4.0)[-1] == pytest.approx(errors(halved, 1.0)[-1], rel=0.01)
    # With a third of the iterations between two halvings it stays away.
    assert errors(theory.HalvedStep(halved.step, halved.every // 3), 1.0)[-1] > 1e-3


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
