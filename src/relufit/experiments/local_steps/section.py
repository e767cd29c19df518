"""The section ``local_steps`` of the configuration."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from relufit.experiments.framework.keys import (
    Budget,
    Coding,
    ConvergedAt,
    FreshRunSizes,
    Level,
    MiniBatch,
    Points,
    Trials,
)
from relufit.schema import Distinct, Integer


class LocalStepsSection(FreshRunSizes):
    """SGD and QSGD with local steps, by all_reduce."""

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
