"""Defects of other gradients, of delays and of the mean of the weights; see `defects`."""

from __future__ import annotations

import numpy as np
from defects import Patch, noticed_by

from relufit.training import rank
from relufit.training.averaging import Average
from relufit.training.delay import Delay
from relufit.training.master import Master


@noticed_by("reference_methods", "kaczmarz-")
def kaczmarz_divides_by_the_norm_and_not_by_its_square(patch: Patch) -> None:
    def wrong(
        x: np.ndarray, y: np.ndarray, batch: np.ndarray, w: np.ndarray, share: float, out: np.ndarray
    ) -> tuple[float, float]:
        rows = x[batch].astype(np.float64)
        products = rows @ w
        residuals = np.maximum(products, 0.0) - y[batch]
        out[:] = share * (residuals * (products > 0) / np.linalg.norm(rows, axis=1)) @ rows
        return float(residuals @ residuals), float(rank.kernels.energy(out))

    patch.setattr(rank.kernels, "kaczmarz_sum", wrong)


@noticed_by("reference_methods", "glm_tron-")
def glm_tron_has_the_indicator_of_sgd(patch: Patch) -> None:
    patch.setattr(rank.kernels, "glm_tron_sum", rank.kernels.gradient_sum)


@noticed_by("reference_methods", "majority-")
def the_step_of_a_vote_is_halved_half_as_often(patch: Patch) -> None:
    right = Master._step.fget
    assert right

    def half_as_often(self: Master) -> float:
        kept, self.iteration = self.iteration, self.iteration // 2
        try:
            return float(right(self))
        finally:
            self.iteration = kept

    patch.setattr(Master, "_step", property(half_as_often))


@noticed_by("reference_methods", "delay-")
def delayed_gradients_are_an_iteration_too_fresh(patch: Patch) -> None:
    patch.setattr(Delay, "at", lambda self, iteration: self.past[(iteration + 1) % len(self.past)])


@noticed_by("reference_methods", "averaged-")
def the_mean_of_the_weights_is_the_last_ones(patch: Patch) -> None:
    def last(self: Average, iteration: int, weights: np.ndarray) -> None:
        self.mean[:] = weights

    patch.setattr(Average, "take", last)


@noticed_by("reference_methods", "averaged-")
def the_mean_of_the_weights_begins_at_the_start(patch: Patch) -> None:
    create = Average.__init__
    patch.setattr(Average, "__init__", lambda self, first, d: create(self, 0, d))
