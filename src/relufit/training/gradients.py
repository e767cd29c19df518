"""The gradients that steps are along, by name: that of SGD, and those of two methods that the paper refers to.

Sources: S. Kakade, A. Kalai, V. Kanade, O. Shamir, *Efficient Learning of Generalized Linear and Single Index Models
with Isotonic Regression*, 2011, arXiv:1104.2018, for GLM-tron; T. Strohmer, R. Vershynin, *A Randomized Kaczmarz
Algorithm with Exponential Convergence*, 2009, arXiv:math/0702226, and J. D. Moorman, T. K. Tu, D. Molitor, D. Needell,
*Randomized Kaczmarz with Averaging*, 2020, arXiv:2002.04126, for Kaczmarz steps and means of them.
"""

from __future__ import annotations

from typing import NamedTuple

from relufit.theory.kaczmarz import NORMALIZED
from relufit.theory.sgd import GAUSSIAN


class Gradient(NamedTuple):
    """The gradient of a row, and what theory needs to know of it near w*.

    Parameters
    ----------
    kernel : str
        The loop of `relufit.numerics.kernels` that adds it up.
    kurtosis : float
        What `relufit.theory.contraction` takes with it.
    normalized : bool
        Whether it is divided by ``||x||^2``, so that a step is d times as long as those of that formula.
    """

    kernel: str
    kurtosis: float = GAUSSIAN
    normalized: bool = False

    def scale(self, d: int) -> int:
        """Return how many times longer a step is than the same one of SGD."""
        return d if self.normalized else 1


#: ``sgd`` is ``(max(0, <w, x>) - y) 1{<w, x> > 0} x``; ``glm_tron`` does without the indicator; ``kaczmarz`` divides
#: the gradient of SGD by ``||x||^2``, so that a step of length 1 along that of one row solves its equation.
GRADIENTS = {
    "sgd": Gradient("gradient_sum"),
    "glm_tron": Gradient("glm_tron_sum"),
    "kaczmarz": Gradient("kaczmarz_sum", NORMALIZED, normalized=True),
}
