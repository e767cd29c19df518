"""The section ``initializations`` of the configuration."""

from __future__ import annotations

from pydantic import Field

from relufit.experiments.framework.keys import Budget, ConvergedAt, Dimension, Ratio, StepSize, Trials
from relufit.schema import Distinct, Section


class InitializationsSection(Section):
    """Full-batch gradient descent from every start."""

    dimension: Dimension
    ratios: Distinct[Ratio] = Field(min_length=1, description="n / d, samples over weights")
    step_size: StepSize
    tolerance: ConvergedAt
    iterations: Budget
    trials: Trials
