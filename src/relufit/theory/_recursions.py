"""What predictions have in common: curves of recursions, and the step at which a rate is least."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import scipy
from numpy.typing import NDArray

from relufit.theory._checks import whole

Array = NDArray[np.float64]

#: So many digits of a step that every machine has the same ones: near its minimum a rate is flat.
_STEP_DIGITS, _PRECISION = 6, 1e-9


def curve_of(errors: Iterable[float], iterations: int, until: float | None = None) -> Array:
    """Return the squared errors after 0, 1, ... steps, infinite after the last one of `errors` and in place of NaN.

    `errors` may be a generator without an end, which takes a step when the next error is asked for. The first error
    that is at most `until` is the last one.

    Raises
    ------
    ValueError
        If `iterations` is no whole number from 0 on.
    """
    curve = np.full(whole("iterations", iterations, least=0) + 1, np.inf)
    with np.errstate(over="ignore", invalid="ignore"):
        for t, error in zip(range(curve.size), errors, strict=False):
            curve[t] = error
            if until is not None and error <= until:
                curve = curve[: t + 1]
                break
    curve[np.isnan(curve)] = np.inf  # inf - inf, after an overflow
    return curve


def least_rate_step(rate: Callable[[float], float], shortest: float, longest: float, tried: int) -> float:
    """Return the step from `shortest` to `longest` at which `rate` is least, to six digits.

    That many steps are tried first, and the minimum is looked for between the neighbours of the best one: where a rate
    is flat on both sides of its minimum, a search alone would go astray.
    """
    steps = np.geomspace(shortest, longest, tried).tolist()
    best = min(range(tried), key=lambda index: rate(steps[index]))
    least = scipy.optimize.minimize_scalar(
        rate,
        bounds=(steps[max(0, best - 1)], steps[min(tried - 1, best + 1)]),
        method="bounded",
        options={"xatol": _PRECISION * steps[best]},
    )
    return float(f"{least.x:.{_STEP_DIGITS}g}")
