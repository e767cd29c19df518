"""What a solver returns."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Solution(NamedTuple):
    """Weights (d,) float64, and the iterations that it took."""

    weights: np.ndarray
    iterations: int
