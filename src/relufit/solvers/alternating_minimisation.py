"""Alternating minimisation: which rows are active, and the weights that fit them, in turn."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from relufit.numerics import kernels
from relufit.solvers.base import Solution
from relufit.solvers.least_squares import fit


def alternating_minimisation(
    x: np.ndarray,
    y: np.ndarray,
    start: np.ndarray,
    *,
    near: Callable[[np.ndarray], bool],
    iterations: int,
) -> Solution:
    """Return the weights after least squares on the rows that the weights before call active, until those stay.

    Rows are active where ``<w, x> > 0``; no use is made of the labels to tell. Unlike least squares on the rows
    with y > 0 it can be used where noise blurs which those are; but with few more rows than are needed, and in few
    dimensions, it may come to rest, or go round, away from w*. An iteration is one fit. Arguments are those of
    `relufit.solvers.Solver`.
    """
    w, before, products = start.copy(), np.zeros(len(x), bool), np.empty(len(x))
    for iteration in range(iterations):
        kernels.inner_products(x, w, products)
        active = products > 0
        if near(w) or np.array_equal(active, before):
            return Solution(w, iteration)
        w, before = fit(x[active], y[active]), active
    return Solution(w, iterations)
