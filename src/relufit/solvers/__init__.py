"""Other ways to the planted weights than SGD. A new one is a module here and a line in `SOLVERS`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from relufit.solvers.alternating_minimisation import alternating_minimisation
from relufit.solvers.base import Solution
from relufit.solvers.gradient_descent import gradient_descent
from relufit.solvers.least_squares import least_squares
from relufit.solvers.starts import STARTS

__all__ = ["SOLVERS", "STARTS", "Solution", "Solver"]


class Solver(Protocol):
    """A solver of the noiseless problem ``max(0, x @ w) = y``."""

    def __call__(
        self,
        x: np.ndarray,
        y: np.ndarray,
        start: np.ndarray,
        *,
        near: Callable[[np.ndarray], bool],
        iterations: int,
    ) -> Solution:
        """Return the weights found.

        Parameters
        ----------
        x : (n, d) float32
        y : (n,) float64
        start : (d,) float64
            Where to begin; it is not changed.
        near : callable
            Told some of the weights on the way; where it says True the solver stops.
        iterations : int
            The budget.
        """


#: Some take parameters of their own beside those of `Solver`.
SOLVERS: dict[str, Callable[..., Solution]] = {
    "least_squares": least_squares,
    "alternating_minimisation": alternating_minimisation,
    "gradient_descent": gradient_descent,
}
