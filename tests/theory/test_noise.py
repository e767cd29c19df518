"""Label noise against Monte Carlo in plain numpy, other formulas of the same quantity, limits.

Statistical tests are seeded and pass if |z| < 4: a right prediction fails one with probability 6e-5.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_vectors import reproducible, sphere, thin, z_score

from relufit import theory


@pytest.mark.parametrize(("omega", "workers"), [(0.0, 1), (1.5, 4)])
def test_sgd_with_label_noise_follows_the_curve_down_to_the_floor(omega: float, workers: int) -> None:
    rng, d, m, noise_std, runs = np.random.default_rng(1), 20, 8, 1e-4, 600
    step = theory.optimal_step(d, m, omega=omega, workers=workers)
    iterations = math.ceil(30 / step)
    target, errors = sphere(rng, runs, d), []
    weights = target + 1e-3 * sphere(rng, runs, d)
    for t in range(iterations):
        x = rng.standard_normal((runs, workers, m // workers, d), dtype=np.float32)
        if t % (iterations // 3) == 0:
            errors.append((t, np.sum((weights - target) ** 2, axis=1)))
        active = np.einsum("rkbd,rd->rkb", x, weights)
        labels = np.maximum(np.einsum("rkbd,rd->rkb", x, target), 0) + noise_std * rng.standard_normal(active.shape)
        gradients = np.einsum("rkb,rkbd->rkd", (np.maximum(active, 0) - labels) * (active > 0), x) / (m // workers)
        weights = weights - step * np.mean(thin(rng, gradients, omega), axis=1)
    errors.append((iterations, np.sum((weights - target) ** 2, axis=1)))
    arguments = (d, m, step, noise_std)
    curve = theory.label_noise_curve(*arguments, iterations, initial_error_squared=1e-6, omega=omega, workers=workers)
    for t, sample in errors[1:]:
        assert abs(z_score(sample, curve[t])) < 4
    floor = theory.label_noise_floor(*arguments, omega=omega, workers=workers)
    assert abs(z_score(errors[-1][1], floor)) < 4
    assert np.std(errors[-1][1]) / math.sqrt(runs) < 0.05 * floor


@reproducible
@given(
    d=st.integers(1, 10**6),
    b=st.integers(1, 1000),
    workers=st.integers(1, 100),
    omega=st.floats(0, 100),
    share=st.floats(1e-6, 2.5),
)
def test_the_floor_is_the_fixed_point_of_a_step(d: int, b: int, workers: int, omega: float, share: float) -> None:
    m, noise_std = b * workers, 0.01
    step = share * theory.optimal_step(d, m, omega=omega, workers=workers)
    floor = theory.label_noise_floor(d, m, step, noise_std, omega=omega, workers=workers)
    if share > 2.001:
        assert floor == math.inf
    elif share < 1.99:
        curve = theory.label_noise_curve(
            d, m, step, noise_std, 3, initial_error_squared=floor, omega=omega, workers=workers
        )
        np.testing.assert_allclose(curve, floor, rtol=1e-9)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0, 1.9, 2.0, 2.3])
def test_the_curve_is_its_recursion(share: float) -> None:
    d, m, workers, omega, noise_std = 50, 12, 3, 0.7, 0.2
    step = share * theory.optimal_step(d, m, omega=omega, workers=workers)
    # Noise of a batch is averaged; what a worker's compressor adds to it is averaged over workers.
    added = step**2 * noise_std**2 * d / 2 * (1 / m + omega / workers / (m // workers))
    factor = theory.contraction(d, m, step, omega=omega, workers=workers)
    expected = [0.4]
    for _ in range(300):
        expected.append(factor * expected[-1] + added)
    curve = theory.label_noise_curve(
        d, m, step, noise_std, 300, initial_error_squared=0.4, omega=omega, workers=workers
    )
    np.testing.assert_allclose(curve, expected, rtol=1e-9)


def test_without_noise_the_error_falls_to_nothing_and_small_steps_have_a_floor_like_the_step() -> None:
    step = theory.optimal_step(100, 10)
    curve = theory.label_noise_curve(100, 10, step, 0.0, 2000, initial_error_squared=1.0)
    np.testing.assert_allclose(curve, theory.contraction(100, 10, step) ** np.arange(2001), rtol=1e-9)
    assert theory.label_noise_floor(100, 10, step, 0.0) == 0
    assert theory.label_noise_floor(100, 10, 0.0, 0.1) == 0
    assert theory.label_noise_floor(100, 10, 1e-9, 0.1) == pytest.approx(0.01 * 5 * 1e-9, rel=1e-7)


def test_a_diverging_curve_ends_in_infinity_and_one_of_nothing_stays_there() -> None:
    diverging = theory.label_noise_curve(4, 4, 5.0, 0.1, 3000, initial_error_squared=0.0)
    assert diverging[-1] == np.inf
    assert np.all(np.diff(diverging[np.isfinite(diverging)]) > 0)
    np.testing.assert_array_equal(theory.label_noise_curve(4, 4, 5.0, 0.0, 3000, initial_error_squared=0.0), 0)
