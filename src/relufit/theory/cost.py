"""Bits to an accuracy: iterations times what a message has, by the rates on fresh samples near w*.

A run takes iterations x workers x d x (bits a coordinate) on the uplink. Norms and headers are left out, and so is
the downlink where it is not given.
"""

from __future__ import annotations

import math

from relufit.theory._checks import nonnegative, positive, whole
from relufit.theory.coding import rate_distortion_bits
from relufit.theory.quantization import qsgd_limit
from relufit.theory.sgd import log_contraction, optimal_step, stability_limit


def iterations_fresh(
    d: int,
    m: int,
    start_squared: float,
    tolerance: float,
    *,
    omega: float = 0.0,
    workers: int = 1,
    step: float | None = None,
    typical: bool = False,
    sum_omega: float = 0.0,
) -> float:
    """Return ``ln(tolerance^2 / start_squared) / ln(contraction)``, the iterations on fresh samples to an accuracy.

    It is where the mean squared error comes to ``tolerance^2``, if the rate near w* held from the start; not rounded.
    0 if the start is there already, and infinite where the step does not contract. A single run is there earlier, at
    the optimal step by a share of about ``1.25 / d``: `typical` iterations are those with `log_contraction` in place of
    ``ln(contraction)``.

    Parameters
    ----------
    start_squared, tolerance : float
        Squared relative error at the start, and relative error, not squared, to be reached; finite, above 0.
    step : float, optional
        Step size; `optimal_step` by default.
    typical : bool
        Of a single run in place of the mean square of many.
    d, m, omega, workers, sum_omega
        As in `contraction`.

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """
    fall = math.log(positive("start_squared", start_squared)) - 2 * math.log(positive("tolerance", tolerance))
    if step is None:
        step = optimal_step(d, m, omega=omega, workers=workers, sum_omega=sum_omega)
    if typical:
        decay = -log_contraction(d, m, nonnegative("step", step), omega=omega, workers=workers, sum_omega=sum_omega)
    else:
        decay = _decay(d, m, omega, workers, step, sum_omega)
    if fall <= 0:
        return 0.0
    return fall / decay if decay > 0 else math.inf


def saving(
    d: int,
    m: int,
    bits_per_coordinate: float,
    *,
    omega: float,
    workers: int = 1,
    reference_bits: float = 32.0,
    downlink_bits: float = 0.0,
    sum_omega: float = 0.0,
) -> float:
    """Return how many times fewer bits than SGD a compressor takes to the same accuracy, whatever the accuracy is.

    Both are on fresh samples near w*, each at its own optimal step with the same `m` and `workers`: it is the ratio of
    bits an iteration over that of the iterations, which is ``1 + omega`` for m << d.

    Parameters
    ----------
    bits_per_coordinate, reference_bits : float
        What a coordinate takes on the uplink, compressed and, taken as exact, in plain SGD; above 0.
    omega : float
        Relative variance of the compressor, as `qsgd_variance` gives it.
    downlink_bits : float
        What comes down, compressed or not, for each coordinate that goes up: 0 counts the uplink alone, 32 is a copy
        of the weights for each worker, ``32 / workers`` one that all of them hear.
    d, m, workers, sum_omega
        As in `contraction`.

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """
    down = nonnegative("downlink_bits", downlink_bits)
    message = positive("bits_per_coordinate", bits_per_coordinate) + down
    slowdown = _decay(d, m, 0.0, workers) / _decay(d, m, omega, workers, sum_omega=sum_omega)
    return (positive("reference_bits", reference_bits) + down) / (message * slowdown)


def saving_limit(sigma: float, *, reference_bits: float = 32.0) -> float:
    """Return `saving` on the uplink of QSGD with an ideal entropy coder, ``s = sigma sqrt(d)``, for m << d, d large.

    It is ``reference_bits / (H (1 + omega))`` with both of `qsgd_limit`; with 32 bits at most 13.8, near sigma = 0.6.
    """
    omega, entropy = qsgd_limit(sigma)
    return positive("reference_bits", reference_bits) / (entropy * (1 + omega))


def rate_distortion_saving(omega: float, *, reference_bits: float = 32.0) -> float:
    """Return `saving` on the uplink at the least bits that an unbiased compression can have, for m << d, d large.

    It is ``reference_bits / (R (1 + omega))``, R of `rate_distortion_bits`: from 0 at omega = 0 it rises towards
    ``2 ln(2) reference_bits``, 44.4 for 32 bits, which it reaches at no finite omega. It bounds schemes that
    compress each gradient by itself, with no memory.
    """
    reference_bits = positive("reference_bits", reference_bits)
    return reference_bits / (rate_distortion_bits(omega) * (1 + omega))


def row_shipping_bits(n: int, d: int, *, bits_per_number: float = 32.0) -> float:
    """Return the expected bits of sending the active rows once, ``(n / 2) (d + 1) bits_per_number``.

    Half of the n samples have a label above zero; these, inputs and labels, give w* by least squares where
    `recovery_probability` is 1. Without compression of the numbers.
    """
    return whole("n", n) / 2 * (whole("d", d) + 1) * positive("bits_per_number", bits_per_number)


def _decay(d: int, m: int, omega: float, workers: int, step: float | None = None, sum_omega: float = 0.0) -> float:
    """Return ``-ln contraction``, which keeps its digits where that is near 1."""
    limit = stability_limit(d, m, omega=omega, workers=workers, sum_omega=sum_omega)
    step = limit / 2 if step is None else nonnegative("step", step)
    return -math.log1p(-step * (1 - step / limit))
