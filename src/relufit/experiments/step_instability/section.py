"""The section ``step_instability`` of the configuration."""

from __future__ import annotations

from pydantic import Field

from relufit.experiments.framework.keys import (
    Budget,
    Coding,
    ConvergedAt,
    FreshRunSizes,
    Levels,
    RecordEvery,
    SingleSteps,
    Trials,
)
from relufit.schema import Distinct, Positive, Whole


class StepInstabilitySection(FreshRunSizes):
    """QSGD at SGD's step, and near the longest step."""

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
