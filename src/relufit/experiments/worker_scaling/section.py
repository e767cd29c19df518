"""The section ``worker_scaling`` of the configuration."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from relufit.experiments.framework.keys import (
    Budget,
    Coding,
    ConvergedAt,
    Dimension,
    FreshRatio,
    Levels,
    MiniBatch,
    Points,
    Trials,
    Workers,
    check_shares,
)
from relufit.schema import Distinct, Section, Whole


class WorkerScalingSection(Section):
    """QSGD on more and more ranks."""

    dimension: Dimension
    ratio: FreshRatio
    workers: Distinct[Workers] = Field(min_length=1, description="K, the numbers of ranks")
    mini_batch: MiniBatch = Field(description="m where it is the same for all numbers of ranks")
    rank_batch: Whole = Field(description="m / K where that is the same for all numbers of ranks")
    levels: Levels
    coding: Coding
    tolerance: ConvergedAt
    iterations: Budget
    points: Points
    trials: Trials

    @model_validator(mode="after")
    def _check_shares(self) -> Self:
        check_shares(int(self.dimension * self.ratio), max(self.workers), self.mini_batch)
        return self
