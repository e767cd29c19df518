"""The section ``step_instability`` of the configuration."""

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
    RecordEvery,
    SingleSteps,
    Trials,
    Workers,
    check_shares,
)
from relufit.schema import Distinct, Positive, Section, Whole


class StepInstabilitySection(Section):
    """QSGD at SGD's step, and near the longest step."""

    dimension: Dimension
    ratio: FreshRatio
    workers: Workers
    mini_batch: MiniBatch
    levels: Levels
    coding: Coding
    tolerance: ConvergedAt
    iterations: Budget
    record_every: RecordEvery
    trials: Trials = Field(description="runs at SGD's step; a sign test of four levels needs 12")
    shown: Whole = Field(description="runs at the step that follows omega")
    steps: SingleSteps = Field(description="single steps at SGD's step")
    factors: Distinct[Positive] = Field(min_length=1, description="steps, in units of the longest one, 1/A_q")
    limit_steps: SingleSteps = Field(description="single steps of SGD at each factor; of QSGD A_q / A times as many")

    @model_validator(mode="after")
    def _check_shares(self) -> Self:
        check_shares(int(self.dimension * self.ratio), self.workers, self.mini_batch)
        return self
