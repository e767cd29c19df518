"""The section ``batch_scaling`` of the configuration."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from relufit.experiments.framework.keys import (
    Budget,
    ConvergedAt,
    Dimension,
    FreshRatio,
    MiniBatch,
    Points,
    Trials,
    check_shares,
)
from relufit.schema import Distinct, Section


class BatchScalingSection(Section):
    """SGD on fresh samples with larger and larger batches."""

    dimension: Dimension
    ratio: FreshRatio
    mini_batches: Distinct[MiniBatch] = Field(min_length=1, description="m; the critical batch 2d + 3 is run too")
    tolerance: ConvergedAt
    iterations: Budget
    points: Points
    trials: Trials

    @model_validator(mode="after")
    def _check_shares(self) -> Self:
        check_shares(int(self.dimension * self.ratio), 1, min(self.mini_batches))
        return self
