"""The section ``local_steps`` of the configuration."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from relufit.experiments.framework.keys import (
    Budget,
    Coding,
    ConvergedAt,
    Dimension,
    FreshRatio,
    Level,
    MiniBatch,
    Points,
    Trials,
    Workers,
    check_shares,
)
from relufit.schema import Distinct, Integer, Section


class LocalStepsSection(Section):
    """SGD and QSGD with local steps, by all_reduce."""

    dimension: Dimension
    ratio: FreshRatio
    workers: Workers
    mini_batch: MiniBatch = Field(description="m, samples of a local step over all ranks")
    local_steps: Distinct[Annotated[Integer, Field(ge=2)]] = Field(
        min_length=1, description="H, the numbers of local steps of an exchange, beside a single one"
    )
    levels: Level = Field(description="s of the runs of QSGD")
    coding: Coding
    tolerance: ConvergedAt
    iterations: Budget = Field(description="the most exchanges of a run")
    points: Points
    trials: Trials

    @model_validator(mode="after")
    def _check_shares(self) -> Self:
        check_shares(int(self.dimension * self.ratio), self.workers, self.mini_batch)
        return self
