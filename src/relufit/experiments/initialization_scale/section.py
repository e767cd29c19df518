"""The section ``initialization_scale`` of the configuration."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from relufit.experiments.framework.keys import (
    Budget,
    ConvergedAt,
    Dimension,
    Level,
    MiniBatch,
    Ratio,
    StepSize,
    Trials,
    check_grid,
)
from relufit.schema import Distinct, Section


class Method(Section):
    """What each method has."""

    ratios: Distinct[Ratio] = Field(
        min_length=1, description="n / d; up to 2.5 starts are compared, from 4 on every start must lead to w*"
    )
    iterations: Budget
    trials: Trials = Field(description="data sets, the same for all starts")


class GradientDescent(Method):
    """Gradient descent on all samples."""

    step_size: StepSize


class Qsgd(Method):
    """QSGD at the step that follows omega."""

    levels: Level


class InitializationScaleSection(Section):
    """Starts near zero and far from it."""

    dimension: Dimension
    methods: Distinct[Literal["gradient_descent", "sgd", "qsgd"]] = Field(
        min_length=1, description="the methods that are run"
    )
    mini_batch: MiniBatch = Field(description="m of SGD and QSGD")
    tolerance: ConvergedAt
    gradient_descent: GradientDescent = Field(description="gradient descent on all samples")
    sgd: Method = Field(description="SGD at the optimal step")
    qsgd: Qsgd = Field(description="QSGD at the step that follows omega")

    @model_validator(mode="after")
    def _check_cells(self) -> Self:
        """Check that no method has a cell twice."""
        for name in self.methods:
            method: Method = getattr(self, name)
            check_grid([self.dimension], method.ratios, name, "ratios")
        return self
