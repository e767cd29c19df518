"""Delayed gradients: each step is along a gradient at the weights of some iterations before.

What asynchronous ranks have by chance (F. Niu, B. Recht, C. Re, S. J. Wright, *Hogwild*, 2011, arXiv:1106.5730; J. Dean
et al., *Large Scale Distributed Deep Networks*, 2012, Downpour SGD) is the same for all here, and known: results stay
functions of the seed.
"""

from __future__ import annotations

import numpy as np


class Delay:
    """The weights of the last iterations.

    It is a function of the weights alone, so that every member of a run that updates weights has the same bits.

    Parameters
    ----------
    iterations : int
        The delay, 1 or more.
    d : int
        The number of weights.
    """

    def __init__(self, iterations: int, d: int) -> None:
        #: (iterations, d) float64: those before iteration t lie at t modulo the delay, at first the initial ones.
        self.past = np.zeros((iterations, d))

    def begin(self, weights: np.ndarray) -> None:
        """Take the initial weights for those of all iterations before."""
        self.past[:] = weights

    def at(self, iteration: int) -> np.ndarray:
        """Return the weights that an iteration's gradient is taken at; they are good until `keep`."""
        weights: np.ndarray = self.past[iteration % len(self.past)]
        return weights

    def following(self, iteration: int, weights: np.ndarray) -> np.ndarray:
        """Return the weights that the next iteration's gradient is taken at.

        Those are known before this iteration's step: `weights`, those before it, or earlier ones. They are good until
        `keep` of the next iteration.
        """
        return weights if len(self.past) == 1 else self.at(iteration + 1)

    def keep(self, iteration: int, weights: np.ndarray) -> None:
        """Keep the weights before an iteration in place of those that its gradient was taken at."""
        self.past[iteration % len(self.past)] = weights
