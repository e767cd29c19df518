"""What the experiments must show: closed forms and recursions without fitted constants.

Inputs are ``x ~ N(0, I_d)``, labels ``y = max(0, <w*, x>)``, and the gradient of one sample at ``w`` is
``(max(0, <w, x>) - y) 1{<w, x> > 0} x``. Errors are relative, squared: ``||w - w*||^2 / ||w*||^2``. A batch
of `m` samples is shared evenly by `workers`; each sends the mean gradient of its ``b = m / workers`` samples
through an unbiased compressor Q with ``E||Q(v) - v||^2 = omega ||v||^2``, and the receiver averages.

Every function raises ValueError, with the argument's name, where an argument is out of its range; dimensions,
counts and `levels`, the number s of quantization levels above zero, are positive whole numbers.
"""

from __future__ import annotations

from relufit.theory.averaging import averaged_noise_curve, averaged_noise_limit
from relufit.theory.coding import (
    dense_code_bits,
    elias_bits,
    gamma_length,
    omega_length,
    rate_distortion_bits,
    sparse_code_bits,
    sparse_message_bits,
)
from relufit.theory.cost import iterations_fresh, rate_distortion_saving, row_shipping_bits, saving, saving_limit
from relufit.theory.delay import delayed_optimal_step, delayed_rate
from relufit.theory.descent import descent_curve, descent_factor, descent_optimal_step, recovery_ratio
from relufit.theory.dynamics import global_curve, initial_moments, population_loss
from relufit.theory.eden import eden_variance, lloyd_max
from relufit.theory.encodings import Encoding
from relufit.theory.feedback import (
    SIGN_DELTA,
    feedback_curve,
    feedback_optimal_step,
    feedback_rate,
    top_delta,
    top_k_delta,
)
from relufit.theory.glm_tron import glm_tron_curve
from relufit.theory.iteration_complexity import iterations_feedback, iterations_fixed
from relufit.theory.kaczmarz import kaczmarz_contraction, kaczmarz_optimal_step, kaczmarz_stability_limit
from relufit.theory.local_steps import local_contraction, local_optimal_step
from relufit.theory.majority import (
    HalvedStep,
    majority_curve,
    majority_drift,
    majority_floor,
    majority_halving,
)
from relufit.theory.network import Iteration, Network, Work, weights_bytes, wire_bytes
from relufit.theory.noise import label_noise_curve, label_noise_floor
from relufit.theory.quantization import (
    level_entropy,
    level_probabilities,
    natural_probabilities,
    natural_variance,
    natural_variance_bound,
    qsgd_limit,
    qsgd_variance,
    qsgd_variance_bound,
)
from relufit.theory.quantized_sums import qsgd_sum_variance
from relufit.theory.sgd import (
    contraction,
    critical_batch,
    initial_error,
    log_contraction,
    log_error_variance,
    optimal_step,
    recovery_probability,
    stability_limit,
)
from relufit.theory.spectrum import (
    fixed_data_curve,
    initial_profile,
    instance_spectrum,
    iterations_to,
    marchenko_pastur,
)

__all__ = [
    "SIGN_DELTA",
    "Encoding",
    "HalvedStep",
    "Iteration",
    "Network",
    "Work",
    "averaged_noise_curve",
    "averaged_noise_limit",
    "contraction",
    "critical_batch",
    "delayed_optimal_step",
    "delayed_rate",
    "dense_code_bits",
    "descent_curve",
    "descent_factor",
    "descent_optimal_step",
    "eden_variance",
    "elias_bits",
    "feedback_curve",
    "feedback_optimal_step",
    "feedback_rate",
    "fixed_data_curve",
    "gamma_length",
    "glm_tron_curve",
    "global_curve",
    "initial_error",
    "initial_moments",
    "initial_profile",
    "instance_spectrum",
    "iterations_feedback",
    "iterations_fixed",
    "iterations_fresh",
    "iterations_to",
    "kaczmarz_contraction",
    "kaczmarz_optimal_step",
    "kaczmarz_stability_limit",
    "label_noise_curve",
    "label_noise_floor",
    "level_entropy",
    "level_probabilities",
    "lloyd_max",
    "local_contraction",
    "local_optimal_step",
    "log_contraction",
    "log_error_variance",
    "majority_curve",
    "majority_drift",
    "majority_floor",
    "majority_halving",
    "marchenko_pastur",
    "natural_probabilities",
    "natural_variance",
    "natural_variance_bound",
    "omega_length",
    "optimal_step",
    "population_loss",
    "qsgd_limit",
    "qsgd_sum_variance",
    "qsgd_variance",
    "qsgd_variance_bound",
    "rate_distortion_bits",
    "rate_distortion_saving",
    "recovery_probability",
    "recovery_ratio",
    "row_shipping_bits",
    "saving",
    "saving_limit",
    "sparse_code_bits",
    "sparse_message_bits",
    "stability_limit",
    "top_delta",
    "top_k_delta",
    "weights_bytes",
    "wire_bytes",
]
