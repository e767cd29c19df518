"""Ways to find w* from n samples: how each runs, within what budget, and from how many samples it is to succeed.

Each is described by functions of its part of the configuration, which has ``tolerance`` and what else it takes, and
of the dimension d.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from relufit import theory
from relufit.experiments.framework.quantized import limiting_spectrum

#: Tolerance of the n/d at which half of the trials succeed: of the direct methods, whose threshold is exact; of the
#: others, whose curve is that of large n and d, half the width sqrt(2/d) of the transition at d = 50.
AT_THRESHOLD, NEAR_CURVE = 0.05, 0.1
#: The n/d that gradient methods are held to at most.
CONSTANT = 3.0
_WIDEST = 100.0


@dataclass(frozen=True)
class Method:
    """One way.

    Parameters
    ----------
    title : str
        Its name in sentences.
    procedure : str
        A key of `relufit.experiments.framework.procedures.PROCEDURES`.
    spec : callable
        What the procedure takes.
    budget : callable
        What a trial may take, in words; of its part of the configuration alone.
    predicted : callable
        The n/d at which half of the trials are to succeed.
    tolerance : float
        Of that n/d.
    most : callable
        The n/d at which half of the trials must succeed at the latest.
    direct : bool
        Whether d active rows are all it needs, so that it follows `relufit.theory.recovery_probability`.
    """

    title: str
    procedure: str
    spec: Callable[[Mapping[str, Any], int], dict[str, Any]]
    budget: Callable[[Mapping[str, Any]], str]
    predicted: Callable[[Mapping[str, Any], int], float]
    tolerance: float
    most: Callable[[Mapping[str, Any], int], float]
    direct: bool


def _solver(name: str, *parameters: str) -> Callable[[Mapping[str, Any], int], dict[str, Any]]:
    taken = ("tolerance", *parameters)
    return lambda options, d: {"solver": name, "start": "moments", **{key: options[key] for key in taken}}


def _sgd(options: Mapping[str, Any], d: int) -> dict[str, Any]:
    return {
        "compressor": "fp64",
        "workers": 1,
        "batch_size": _mini_batch(options, d),
        "step_size": "optimal",
        "iterations": options["iterations"],
        "tolerance": options["tolerance"],
        "sampling": "with_replacement",
        # The end alone is judged.
        "record_every": options["iterations"],
    }


def _mini_batch(options: Mapping[str, Any], d: int) -> int:
    return max(1, round(float(options["mini_batch_ratio"]) * d))


def _threshold(options: Mapping[str, Any], d: int) -> float:
    """Return n/d at n = 2d - 1, where P(Binomial(n, 1/2) >= d) = 1/2."""
    return 2 - 1 / d


def _descent_end(options: Mapping[str, Any], d: int, ratio: float) -> float:
    eigenvalues, weights, start = limiting_spectrum({"ratio": ratio, "dimension": d})
    step, iterations = options["step_size"], options["iterations"]
    return float(theory.descent_curve(eigenvalues, weights, step, iterations, initial_error_squared=start)[-1])


def _sgd_end(options: Mapping[str, Any], d: int, ratio: float) -> float:
    eigenvalues, weights, start = limiting_spectrum({"ratio": ratio, "dimension": d})
    m, iterations = _mini_batch(options, d), options["iterations"]
    step = theory.optimal_step(d, m)
    curve = theory.fixed_data_curve(eigenvalues, weights, d, m, step, iterations, initial_error_squared=start)
    return float(curve[-1])


def _least_ratio(
    end: Callable[[Mapping[str, Any], int, float], float],
) -> Callable[[Mapping[str, Any], int], float]:
    """Return what gives the least n/d at which the squared error at the end of the budget is that of the tolerance."""

    def least(options: Mapping[str, Any], d: int) -> float:
        def excess(ratio: float) -> float:
            return math.log(min(max(end(options, d, ratio), 1e-300), 1e300)) - 2 * math.log(options["tolerance"])

        from scipy import optimize

        low, high = 2 + 1 / d, _WIDEST
        if excess(high) > 0:
            return math.nan
        return low if excess(low) <= 0 else float(optimize.brentq(excess, low, high, xtol=1e-4))

    return least


def _enough_for_descent(options: Mapping[str, Any], d: int) -> float:
    """Return what suffices if the whole error of w0, from 2d samples, lies in the slowest direction."""
    start = math.sqrt(theory.initial_error(2 * d, d))
    return min(
        CONSTANT, theory.recovery_ratio(start, options["tolerance"], options["step_size"], options["iterations"])
    )


METHODS: dict[str, Method] = {
    "least_squares": Method(
        "least squares",
        "solve",
        _solver("least_squares"),
        lambda options: "one fit",
        _threshold,
        AT_THRESHOLD,
        lambda options, d: math.inf,
        direct=True,
    ),
    "alternating_minimisation": Method(
        "alternating minimisation",
        "solve",
        _solver("alternating_minimisation", "iterations"),
        lambda options: f"{options['iterations']} fits",
        _threshold,
        AT_THRESHOLD,
        lambda options, d: math.inf,
        direct=True,
    ),
    "gradient_descent": Method(
        "gradient descent",
        "solve",
        _solver("gradient_descent", "iterations", "step_size"),
        lambda options: f"{options['iterations']} steps of {options['step_size']:g}",
        _least_ratio(_descent_end),
        NEAR_CURVE,
        _enough_for_descent,
        direct=False,
    ),
    "sgd": Method(
        "SGD",
        "train",
        _sgd,
        lambda options: (
            f"{options['iterations']} iterations at the optimal step, m = {options['mini_batch_ratio']:g} d"
        ),
        _least_ratio(_sgd_end),
        NEAR_CURVE,
        lambda options, d: CONSTANT,
        direct=False,
    ),
}
