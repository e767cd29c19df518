"""The planted model: y = max(0, <w*, x>) + noise, its loss and gradient, and the initial weights.

Everything random here is a function of (seed, n, d, inputs, noise_std): rows are drawn in fixed blocks, each
from a stream of its own, and a label is computed from its own row alone. So any part of a data set can be made
by itself, and has the same bits as when the whole is made.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from relufit import streams
from relufit.errors import ConfigError
from relufit.numerics import kernels
from relufit.parameters import real, whole

_BLOCK_VALUES = 2**16


class PlantedData(NamedTuple):
    """Samples of a planted model: x (n, d) float32, y (n,) float64, w_star (d,) float64."""

    x: np.ndarray
    y: np.ndarray
    w_star: np.ndarray


def _gaussian(draw: np.random.Generator, rows: int, d: int) -> np.ndarray:
    return draw.standard_normal((rows, d), dtype=np.float32)


def _rademacher(draw: np.random.Generator, rows: int, d: int) -> np.ndarray:
    return draw.integers(0, 2, (rows, d), dtype=np.int8).astype(np.float32) * 2 - 1


def _uniform(draw: np.random.Generator, rows: int, d: int) -> np.ndarray:
    return (draw.random((rows, d), dtype=np.float32) * 2 - 1) * np.float32(math.sqrt(3))


def _student_t5(draw: np.random.Generator, rows: int, d: int) -> np.ndarray:
    return (draw.standard_t(5, (rows, d)) * math.sqrt(3 / 5)).astype(np.float32)


def _autoregressive(draw: np.random.Generator, rows: int, d: int) -> np.ndarray:
    x = draw.standard_normal((rows, d))
    for k in range(1, d):
        x[:, k] = 0.5 * x[:, k - 1] + math.sqrt(0.75) * x[:, k]
    return x.astype(np.float32)


#: Distributions of the inputs, each with mean 0 and variance 1 in every coordinate. The first rows drawn do not depend
#: on how many follow them.
INPUTS: dict[str, Callable[[np.random.Generator, int, int], np.ndarray]] = {
    "gaussian": _gaussian,
    "rademacher": _rademacher,
    "uniform": _uniform,
    "student_t5": _student_t5,
    "autoregressive": _autoregressive,
}


@dataclass(frozen=True)
class PlantedModel:
    """A planted data set as a recipe: any rows of it can be made at any time.

    Parameters
    ----------
    n, d : int
        Number of samples and dimension, at least 1.
    seed : int
        Seed of the inputs, the noise and the planted weights.
    noise_std : float
        Standard deviation of the Gaussian noise that is added to the labels.
    inputs : str
        Distribution of the inputs, a key of `INPUTS`.

    Raises
    ------
    ConfigError
        If a parameter is impossible.
    """

    n: int
    d: int
    seed: int
    noise_std: float = 0.0
    inputs: str = "gaussian"

    def __post_init__(self) -> None:
        """Refuse impossible parameters."""
        for name, value in (("n", self.n), ("d", self.d)):
            number = whole(value)
            if number is None or number < 1:
                raise ConfigError(f"{value!r} is not a positive whole number", where=name, remedy="give at least 1")
            object.__setattr__(self, name, number)
        noise_std = real(self.noise_std)
        if noise_std is None or noise_std < 0:
            raise ConfigError(
                f"{self.noise_std!r} is no standard deviation", where="noise_std", remedy="give 0 or more"
            )
        object.__setattr__(self, "noise_std", noise_std)
        if not isinstance(self.inputs, str) or self.inputs not in INPUTS:
            raise ConfigError(
                f"unknown distribution {self.inputs!r}",
                where="inputs",
                remedy=f"choose one of {', '.join(INPUTS)}",
            )
        streams.key(self.seed)
        object.__setattr__(self, "seed", int(self.seed))

    def weights(self) -> np.ndarray:
        """Return w_star, shape (d,): uniform on the unit sphere."""
        w = streams.generator(streams.key(self.seed, purpose="planted weights")).standard_normal(self.d)
        return w / math.sqrt(kernels.squared_norm(w))

    def rows(self, start: int, stop: int, w_star: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return the samples `start` to `stop`: x (stop - start, d) float32 and y (stop - start,) float64.

        Parameters
        ----------
        start, stop : int
            ``0 <= start <= stop <= n``.
        w_star : (d,) float64, optional
            The planted weights where they are at hand already.

        Raises
        ------
        IndexError
            If the range leaves the data set.
        """
        if not 0 <= start <= stop <= self.n:
            raise IndexError(f"rows {start} to {stop} of {self.n}")
        w_star = self.weights() if w_star is None else w_star
        x, noise = np.empty((stop - start, self.d), np.float32), np.empty(stop - start)
        size = max(1, _BLOCK_VALUES // self.d)
        for block in range(start // size, -(-stop // size)):
            first, last = max(start, block * size), min(stop, (block + 1) * size)
            part = slice(first - block * size, last - block * size)
            draw = streams.generator(streams.key(self.seed, iteration=block, purpose="inputs"))
            x[first - start : last - start] = INPUTS[self.inputs](draw, part.stop, self.d)[part]
            if self.noise_std:
                draw = streams.generator(streams.key(self.seed, iteration=block, purpose="noise"))
                noise[first - start : last - start] = draw.standard_normal(part.stop)[part]
        return x, self._labels(x, noise, w_star)

    def fresh(self, count: int, draw: np.random.Generator, w_star: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return `count` new samples of the same model, drawn by `draw`."""
        x = INPUTS[self.inputs](draw, count, self.d)
        return x, self._labels(x, draw.standard_normal(count) if self.noise_std else np.empty(count), w_star)

    def _labels(self, x: np.ndarray, noise: np.ndarray, w_star: np.ndarray) -> np.ndarray:
        y = np.empty(len(x))
        kernels.inner_products(x, w_star, y)
        np.maximum(y, 0.0, out=y)
        return y + self.noise_std * noise if self.noise_std else y


def generate(n: int, d: int, seed: int, *, noise_std: float = 0.0, inputs: str = "gaussian") -> PlantedData:
    """Return a planted data set in memory.

    Parameters
    ----------
    n, d, seed, noise_std, inputs
        As for `PlantedModel`.

    Returns
    -------
    PlantedData
        x (n, d) float32, y (n,) float64, w_star (d,) float64 with norm 1.

    Raises
    ------
    ConfigError
        If a parameter is impossible.
    """
    model = PlantedModel(n, d, seed, noise_std, inputs)
    w_star = model.weights()
    x, y = model.rows(0, n, w_star)
    return PlantedData(x, y, w_star)


def _checked(x: np.ndarray, y: np.ndarray, w: np.ndarray | None = None) -> tuple[np.ndarray, ...]:
    x, y = np.ascontiguousarray(x, np.float32), np.ascontiguousarray(y, np.float64)
    if x.ndim != 2 or y.shape != (len(x),) or not x.size:
        raise ConfigError(f"shapes {x.shape} and {y.shape}", where="x, y", remedy="give (n, d) and (n,)")
    if w is None:
        return x, y
    w = np.ascontiguousarray(w, np.float64)
    if w.shape != x.shape[1:]:
        raise ConfigError(f"shape {w.shape} of weights for {x.shape[1]} coordinates", where="w", remedy="give (d,)")
    return x, y, w


def initial_weights(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return w0 = (2/n) sum_i y_i x_i, shape (d,), float64.

    For Gaussian inputs E[y x] = w*/2, so that E w0 = w*; its relative error is that of
    `relufit.theory.initial_error`.
    """
    x, y = _checked(x, y)
    total = np.empty(x.shape[1])
    kernels.moment_sum(x, y, total)
    return total * (2.0 / len(x))


def gradient(w: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the gradient of `loss` at `w`, shape (d,): the mean of (max(0, <w, x>) - y) 1{<w, x> > 0} x.

    With the factor (1 + sgn<w, x>) of the generalised gradient in place of the indicator it would be twice that.
    """
    x, y, w = _checked(x, y, w)
    total = np.empty(x.shape[1])
    kernels.gradient_sum(x, y, np.arange(len(x)), w, 1.0, total)
    return total / len(x)


def loss(w: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    """Return (1/2n) sum_i (max(0, <w, x_i>) - y_i)^2."""
    x, y, w = _checked(x, y, w)
    products = np.empty(len(x))
    kernels.inner_products(x, w, products)
    return float(np.mean((np.maximum(products, 0.0) - y) ** 2) / 2)


def relative_error(w: np.ndarray, w_star: np.ndarray) -> float:
    """Return ||w - w*|| / ||w*||."""
    w, w_star = np.ascontiguousarray(w, np.float64), np.ascontiguousarray(w_star, np.float64)
    if w.shape != w_star.shape:
        raise ConfigError(f"shapes {w.shape} and {w_star.shape}", where="w, w_star", remedy="give (d,) twice")
    return math.sqrt(kernels.squared_distance(w, w_star) / kernels.squared_norm(w_star))
