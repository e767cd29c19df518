"""Initial weights by name, as functions of the moment estimate, the planted weights and a stream.

Sums are exact before they are rounded (`math.fsum`), so that every member of a run starts at the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

#: Takes the moment estimate (d,), w_star (d,) and a generator, and returns weights (d,).
Start = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]


def _moments(scale: float) -> Start:
    return lambda moments, w_star, draw: scale * moments


def _random(norm: float) -> Start:
    def start(moments: np.ndarray, w_star: np.ndarray, draw: np.random.Generator) -> np.ndarray:
        direction = draw.standard_normal(w_star.size)
        return norm * _norm(w_star) / _norm(direction) * direction

    return start


def _orthogonal(moments: np.ndarray, w_star: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    direction = draw.standard_normal(w_star.size)
    direction -= math.fsum(direction * w_star) / math.fsum(w_star**2) * w_star
    scaled: np.ndarray = _norm(w_star) / _norm(direction) * direction
    return scaled


def _planted(scale: float) -> Start:
    return lambda moments, w_star, draw: scale * w_star


def _norm(v: np.ndarray) -> float:
    return math.sqrt(math.fsum(v**2))


#: Starts that are functions of the moment estimate; the others do without it.
_OF_MOMENTS: dict[str, Start] = {
    "moments": _moments(1.0),
    "moments x 2": _moments(2.0),
    "moments x 10": _moments(10.0),
    "moments x 100": _moments(100.0),
    "moments x 0.1": _moments(0.1),
    "- moments": _moments(-1.0),
}

#: ``moments`` is the moment estimate itself, (2/n) sum y x; the norms of random starts are in units of ||w*||. Starts
#: that depend on w* serve experiments: nobody who fits data has them.
STARTS: dict[str, Start] = {
    **_OF_MOMENTS,
    "random": _random(1.0),
    "random x 10": _random(10.0),
    "random x 100": _random(100.0),
    "random x 0.001": _random(1e-3),
    "orthogonal to w*": _orthogonal,
    "- w*": _planted(-1.0),
    "w* x 100": _planted(100.0),
    "zero": _planted(0.0),
}


def needs_moments(start: str) -> bool:
    """Tell whether a start, a key of `STARTS`, is a function of the moment estimate."""
    return start in _OF_MOMENTS
