"""The section ``trajectory`` of the configuration."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from relufit.experiments.framework.keys import (
    Budget,
    Coding,
    Dimension,
    FreshRatio,
    Level,
    MiniBatch,
    Points,
    Trials,
    Workers,
    check_shares,
)
from relufit.schema import Distinct, OrNull, Positive, Section, Tolerance


class Run(Section):
    """One way to train."""

    levels: Annotated[Level | None, OrNull] = Field(description="s, the number of quantization levels; null for SGD")
    workers: Workers
    mini_batch: MiniBatch
    step_factor: Positive = Field(description="step, in units of the optimal one")


class TrajectorySection(Section):
    """The whole way from w0."""

    dimension: Dimension
    ratio: FreshRatio
    coding: Coding
    runs: Distinct[Run] = Field(min_length=1, description="the ways to train")
    end: Tolerance = Field(description="relative error at which the predicted curve and the runs end")
    iterations: Budget
    points: Points
    trials: Trials

    @model_validator(mode="after")
    def _check_shares(self) -> Self:
        for number, run in enumerate(self.runs):
            check_shares(int(self.dimension * self.ratio), run.workers, run.mini_batch, "runs", number)
        return self
