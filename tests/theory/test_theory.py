"""What all predictions have in common: how they are imported, and what they say of impossible arguments."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

from relufit import theory

SPECTRUM = ([0.4, 0.6], [0.5, 0.5])


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("d", lambda: theory.critical_batch(0)),
        ("d", lambda: theory.optimal_step(2.5, 4)),  # type: ignore[arg-type]
        ("m", lambda: theory.stability_limit(2, 0)),
        ("workers", lambda: theory.optimal_step(2, 4, workers=5)),
        ("workers", lambda: theory.contraction(2, 4, 0.1, workers=0)),
        ("omega", lambda: theory.optimal_step(2, 4, omega=-0.1)),
        ("omega", lambda: theory.contraction(2, 4, 0.1, omega=math.nan)),
        ("step", lambda: theory.contraction(2, 4, -0.1)),
        ("step", lambda: theory.contraction(2, 4, math.inf)),
        ("n", lambda: theory.initial_error(0, 3)),
        ("n", lambda: theory.recovery_probability(-1, 3)),
        ("d", lambda: theory.recovery_probability(3, 0)),
        ("levels", lambda: theory.qsgd_variance(3, 0)),
        ("d", lambda: theory.qsgd_variance_bound(-3, 1)),
        ("levels", lambda: theory.level_entropy(3, math.nan)),  # type: ignore[arg-type]
        ("d", lambda: theory.level_probabilities(0, 3)),
        ("norm", lambda: theory.qsgd_variance(3, 1, norm="l1")),
        ("norm", lambda: theory.level_probabilities(1, 1, norm="")),
        ("norm", lambda: theory.qsgd_variance_bound(3, 1, norm="MAX")),
        ("d", lambda: theory.natural_probabilities(0)),
        ("d", lambda: theory.eden_variance(0, 1)),
        ("bits", lambda: theory.eden_variance(3, 5)),
        ("bits", lambda: theory.lloyd_max(0)),
        ("k", lambda: theory.gamma_length(0)),
        ("k", lambda: theory.gamma_length([1, 2.5])),
        ("k", lambda: theory.omega_length(2**62 + 1)),
        ("k", lambda: theory.omega_length(math.nan)),
        ("probabilities", lambda: theory.dense_code_bits([0.5, 0.6], theory.gamma_length)),
        ("probabilities", lambda: theory.sparse_code_bits([1.5, -0.5], theory.gamma_length)),
        ("probabilities", lambda: theory.sparse_code_bits([], theory.gamma_length)),
        ("levels", lambda: theory.elias_bits(3, 0)),
        ("omega", lambda: theory.rate_distortion_bits(-1.0)),
        ("ratio", lambda: theory.marchenko_pastur(2.0)),
        ("nodes", lambda: theory.marchenko_pastur(3.0, 0)),
        ("eigenvalues", lambda: theory.initial_profile([-0.1, 0.6], [0.5, 0.5])),
        ("weights", lambda: theory.initial_profile([0.4, 0.6], [0.5, 0.6])),
        ("weights", lambda: theory.initial_profile([0.4, 0.6], [1.0])),
        ("iterations", lambda: theory.fixed_data_curve(*SPECTRUM, 2, 1, 0.1, -1, initial_error_squared=1.0)),
        (
            "initial_error_squared",
            lambda: theory.fixed_data_curve(*SPECTRUM, 2, 1, 0.1, 3, initial_error_squared=-1.0),
        ),
        (
            "initial_error_squared",
            lambda: theory.fixed_data_curve(*SPECTRUM, 2, 1, 0.1, 3, initial_error_squared=[1]),
        ),
        ("x", lambda: theory.instance_spectrum([1.0, 2.0], [1.0, 2.0], [1.0])),
        ("x", lambda: theory.instance_spectrum(np.empty((0, 2)), [], [1.0, 2.0])),
        ("x and y", lambda: theory.instance_spectrum([[1.0]], [math.nan], [1.0])),
        ("y", lambda: theory.instance_spectrum([[1.0], [2.0]], [1.0], [1.0])),
        ("w_star", lambda: theory.instance_spectrum([[1.0], [2.0]], [1.0, 2.0], [1.0, 1.0])),
        ("w_star", lambda: theory.instance_spectrum([[1.0], [2.0]], [1.0, 2.0], [0.0])),
        ("iterations", lambda: theory.log_error_variance(3, 4, 0.1, -1)),
        ("sigma", lambda: theory.qsgd_limit(0.0)),
        ("sigma", lambda: theory.saving_limit(math.inf)),
        ("ratio", lambda: theory.descent_factor(2.0, 0.1)),
        ("step", lambda: theory.descent_factor(3.0, -0.1)),
        ("ratio", lambda: theory.descent_optimal_step(math.inf)),
        ("eigenvalues", lambda: theory.descent_curve([[1.0]], [1.0], 0.1, 3, initial_error_squared=1.0)),
        ("step", lambda: theory.descent_curve(*SPECTRUM, -0.1, 3, initial_error_squared=1.0)),
        ("iterations", lambda: theory.descent_curve(*SPECTRUM, 0.1, 1.5, initial_error_squared=1.0)),  # type: ignore[arg-type]
        ("initial_error_squared", lambda: theory.descent_curve(*SPECTRUM, 0.1, 3, initial_error_squared=[1.0])),
        ("start", lambda: theory.recovery_ratio(1e-3, 1e-3, 0.1, 10)),
        ("tolerance", lambda: theory.recovery_ratio(1.0, 0.0, 0.1, 10)),
        ("step", lambda: theory.recovery_ratio(1.0, 0.1, 0.0, 10)),
        ("iterations", lambda: theory.recovery_ratio(1.0, 0.1, 0.1, 0)),
        ("n", lambda: theory.initial_moments(0, 3)),
        ("norm_squared", lambda: theory.population_loss(-0.1, 0.0)),
        ("inner", lambda: theory.population_loss(1.0, 1.001)),
        ("inner", lambda: theory.population_loss(1e-20, -2e-10)),
        ("inner", lambda: theory.global_curve(3, 4, 0.1, 3, norm_squared=1.0, inner=math.nan)),
        ("step", lambda: theory.global_curve(3, 4, -0.1, 3, norm_squared=1.0, inner=0.5)),
        ("workers", lambda: theory.global_curve(3, 4, 0.1, 3, norm_squared=1.0, inner=0.5, workers=5)),
        ("noise_std", lambda: theory.label_noise_floor(3, 4, 0.1, -0.1)),
        ("step", lambda: theory.label_noise_floor(3, 4, -0.1, 0.1)),
        ("initial_error_squared", lambda: theory.label_noise_curve(3, 4, 0.1, 0.1, 5, initial_error_squared=-1.0)),
        ("start_squared", lambda: theory.iterations_fresh(3, 4, 0.0, 0.1)),
        ("tolerance", lambda: theory.iterations_fresh(3, 4, 1.0, -0.1)),
        ("step", lambda: theory.iterations_fresh(3, 4, 1.0, 0.1, step=-0.1)),
        ("bits_per_coordinate", lambda: theory.saving(3, 4, 0.0, omega=0.1)),
        ("omega", lambda: theory.saving(3, 4, 1.0, omega=-0.1)),
        ("downlink_bits", lambda: theory.saving(3, 4, 1.0, omega=0.1, downlink_bits=-1.0)),
        ("reference_bits", lambda: theory.rate_distortion_saving(1.0, reference_bits=0.0)),
        ("omega", lambda: theory.rate_distortion_saving(-1.0)),
        ("bits_per_number", lambda: theory.row_shipping_bits(3, 4, bits_per_number=math.inf)),
        ("tolerance", lambda: theory.iterations_to([1.0], 0.0)),
        ("curve", lambda: theory.iterations_to([], 0.1)),
        ("curve", lambda: theory.iterations_to([1.0, math.nan], 0.1)),
    ],
)
def test_an_impossible_argument_is_named(argument: str, call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=rf"^{argument} "):
        call()


def test_importing_the_predictions_loads_neither_statistics_nor_compilers() -> None:
    code = "import sys, relufit.theory; sys.exit(any(name in sys.modules for name in ('scipy.stats', 'numba')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
