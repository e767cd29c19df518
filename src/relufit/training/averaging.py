"""The mean of the weights, by which SGD gets below the floor that label noise leaves at a constant step.

Sources: B. T. Polyak, A. B. Juditsky, *Acceleration of Stochastic Approximation by Averaging*, SIAM J. Control and
Optimization 30, 1992; D. Ruppert, *Efficient Estimations from a Slowly Convergent Robbins-Monro Process*, 1988.
"""

from __future__ import annotations

import math

import numpy as np

from relufit.planted import relative_error


class Average:
    """The running mean of the weights from one iteration on.

    It is a function of the weights alone, so that every member of a run that updates weights has the same bits.

    Parameters
    ----------
    first : int
        The iteration after which the first weights count; 0 for the initial weights.
    d : int
        The number of weights.
    """

    def __init__(self, first: int, d: int) -> None:
        self._first = first
        #: (d,) float64; zeros before the first weights.
        self.mean = np.zeros(d)
        self._change = np.empty(d)

    def take(self, iteration: int, weights: np.ndarray) -> None:
        """Count the weights after an iteration; call once for each, in their order."""
        if not self.begun(iteration):
            return
        # What goes beyond the range of floats ends the run elsewhere.
        with np.errstate(over="ignore", invalid="ignore"):
            np.subtract(weights, self.mean, out=self._change)
            self._change /= iteration - self._first + 1
            self.mean += self._change

    def begun(self, iteration: int) -> bool:
        """Tell whether any weights count after an iteration."""
        return iteration >= self._first

    def error(self, iteration: int, w_star: np.ndarray) -> float:
        """Return the relative error of the mean after an iteration, NaN before the first weights."""
        return relative_error(self.mean, w_star) if self.begun(iteration) else math.nan
