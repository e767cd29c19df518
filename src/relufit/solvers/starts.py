"""Where a solver begins: the starts of a training run, and those that need the rows themselves, all by name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from relufit.planted import initial_weights, starts

#: Takes x (n, d), y (n,), w_star (d,) and a generator, and returns weights (d,).
Start = Callable[[np.ndarray, np.ndarray, np.ndarray, np.random.Generator], np.ndarray]


def _of_moments(start: starts.Start) -> Start:
    return lambda x, y, w_star, draw: start(initial_weights(x, y), w_star, draw)


def _row(x: np.ndarray, y: np.ndarray, w_star: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    row: np.ndarray = x[np.argmax(y)].astype(np.float64)
    return row


STARTS: dict[str, Start] = {
    **{name: _of_moments(start) for name, start in starts.STARTS.items()},
    "largest row": _row,
}
