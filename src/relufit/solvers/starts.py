"""Where to begin: initial weights by name, as functions of the data, the planted weights and a stream."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from relufit.planted import initial_weights

#: Takes x (n, d), y (n,), w_star (d,) and a generator, and returns weights (d,).
Start = Callable[[np.ndarray, np.ndarray, np.ndarray, np.random.Generator], np.ndarray]


def _moments(scale: float) -> Start:
    return lambda x, y, w_star, draw: scale * initial_weights(x, y)


def _random(norm: float) -> Start:
    def start(x: np.ndarray, y: np.ndarray, w_star: np.ndarray, draw: np.random.Generator) -> np.ndarray:
        direction = draw.standard_normal(w_star.size)
        return norm * np.linalg.norm(w_star) / np.linalg.norm(direction) * direction

    return start


def _orthogonal(x: np.ndarray, y: np.ndarray, w_star: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    direction = draw.standard_normal(w_star.size)
    direction -= (direction @ w_star) / (w_star @ w_star) * w_star
    scaled: np.ndarray = np.linalg.norm(w_star) / np.linalg.norm(direction) * direction
    return scaled


def _planted(scale: float) -> Start:
    return lambda x, y, w_star, draw: scale * w_star


def _row(x: np.ndarray, y: np.ndarray, w_star: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    row: np.ndarray = x[np.argmax(y)].astype(np.float64)
    return row


#: ``moments`` is the start of all training runs, (2/n) sum y x; the norms of random ones are in units of ||w*||.
STARTS: dict[str, Start] = {
    "moments": _moments(1.0),
    "moments x 2": _moments(2.0),
    "moments x 10": _moments(10.0),
    "moments x 0.1": _moments(0.1),
    "- moments": _moments(-1.0),
    "random": _random(1.0),
    "random x 10": _random(10.0),
    "random x 0.001": _random(1e-3),
    "orthogonal to w*": _orthogonal,
    "- w*": _planted(-1.0),
    "w* x 100": _planted(100.0),
    "largest row": _row,
    "zero": _planted(0.0),
}
