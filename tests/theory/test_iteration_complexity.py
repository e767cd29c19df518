from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import relufit
from relufit import theory
from relufit.planted import PlantedModel


@pytest.mark.parametrize(
    ("d", "m", "ratio", "omega", "workers"),
    [
        (1000, 80, 10, 0.0, 8),
        (1000, 80, 10, 0.649, 8),
        (400, 40, 4, 0.0, 1),
        (400, 40, 3, 0.0, 1),
        (300, 900, 20, 2, 4),
    ],
)
def test_the_jump_ends_where_the_curve_does(d: int, m: int, ratio: float, omega: float, workers: int) -> None:
    values, weights = theory.marchenko_pastur(ratio)
    start = theory.initial_profile(values, weights)
    start *= theory.initial_error(round(ratio * d), d) / start.sum()
    step = theory.optimal_step(d, m, omega=omega, workers=workers)
    curve = theory.fixed_data_curve(
        values, weights, d, m, step, 8000, initial_error_squared=start, omega=omega, workers=workers
    )
    jumped = theory.iterations_fixed(d, m, ratio, 1e-5, omega=omega, workers=workers)
    assert jumped == pytest.approx(theory.iterations_to(curve, 1e-5), rel=1e-3)


@pytest.mark.parametrize(
    ("d", "m", "ratio", "delta", "workers", "sum_delta"),
    [
        (1000, 80, 10, theory.SIGN_DELTA, 8, theory.Encoding(1.0, 0.0)),
        (1000, 80, 10, theory.SIGN_DELTA, 8, theory.SIGN_DELTA),
        (1000, 400, 10, theory.Encoding.unbiased(0.57), 8, 0.4),
        (400, 40, 4, 0.4, 1, theory.Encoding(1.0, 0.0)),
        (400, 40, 3, 0.9, 4, theory.Encoding(1.0, 0.0)),
    ],
)
def test_the_jump_with_error_feedback_ends_where_its_curve_does(
    d: int, m: int, ratio: float, delta: float, workers: int, sum_delta: float
) -> None:
    values, weights = theory.marchenko_pastur(ratio)
    start = theory.initial_profile(values, weights)
    start *= theory.initial_error(round(ratio * d), d) / start.sum()
    encodings = {"delta": delta, "workers": workers, "sum_delta": sum_delta}
    step = theory.feedback_optimal_step(d, m, **encodings)
    curve = theory.feedback_curve(values, weights, d, m, step, 8000, initial_error_squared=start, **encodings)
    jumped = theory.iterations_feedback(d, m, ratio, 1e-5, **encodings)
    assert jumped == pytest.approx(theory.iterations_to(curve, 1e-5), rel=5e-3)


def test_error_feedback_that_leaves_nothing_out_changes_nothing() -> None:
    assert theory.iterations_feedback(1000, 80, 10, 1e-5, delta=1.0, workers=8) == pytest.approx(
        theory.iterations_fixed(1000, 80, 10, 1e-5, workers=8), rel=1e-3
    )
    assert theory.iterations_feedback(100, 10, 50, 0.5, delta=0.5) == 0
    assert theory.iterations_feedback(100, 10, 4, 1e-6, delta=0.5, step=5.0) == math.inf


def test_with_many_rows_it_is_the_rate_on_fresh_samples() -> None:
    fresh = theory.iterations_fresh(10**6, 1000, theory.initial_error(10**10, 10**6), 1e-6)
    assert theory.iterations_fixed(10**6, 1000, 10**4, 1e-6) == pytest.approx(fresh, rel=0.01)


def test_a_step_that_the_data_do_not_bear_takes_for_ever() -> None:
    # The whole data set at the step of SGD, near 2: the largest eigenvalue at n = 4 d is 1.46.
    assert theory.iterations_fixed(100, 10**6, 4, 1e-6) == math.inf


def test_it_is_zero_where_the_start_is_good_enough() -> None:
    assert theory.iterations_fixed(100, 10, 50, 0.5) == 0


@settings(max_examples=30)
@given(d=st.integers(10, 10**9), ratio=st.floats(4, 100), batch=st.floats(0.01, 1), omega=st.floats(0, 5))
def test_noise_slows_down_and_rows_speed_up(d: int, ratio: float, batch: float, omega: float) -> None:
    m = max(1, round(batch * d))
    iterations = theory.iterations_fixed(d, m, ratio, 1e-4, omega=omega)
    assert theory.iterations_fixed(d, m, ratio, 1e-4, omega=omega + 0.1) >= iterations
    assert theory.iterations_fixed(d, m, ratio, 1e-3, omega=omega) <= iterations
    assert theory.iterations_fixed(d, m, 2 * ratio, 1e-4, omega=omega) <= iterations


@pytest.mark.parametrize(("m", "levels"), [(40, None), (400, 12), (1200, 12)])
def test_runs_take_as_many_iterations_also_with_large_batches(m: int, levels: int | None) -> None:
    compressor = {"name": "qsgd", "levels": levels} if levels else "fp64"
    omega = theory.qsgd_variance(400, levels) if levels else 0.0
    expected = theory.iterations_fixed(400, m, 10, 1e-5, omega=omega, workers=4)
    took = []
    for seed in range(3):
        spec = relufit.TrainingSpec(
            PlantedModel(n=4000, d=400, seed=seed),
            compressor=compressor,
            workers=4,
            batch_size=m,
            iterations=5000,
            tolerance=1e-5,
            seed=seed,
            record_every=5000,
        )
        took.append(relufit.train(spec).summary["iterations"])
    assert np.mean(took) == pytest.approx(expected, rel=0.1)
