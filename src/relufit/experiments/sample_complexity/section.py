"""The section ``sample_complexity`` of the configuration."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from relufit.experiments.framework.keys import Budget, StepSize, Trials, check_grid
from relufit.schema import Distinct, Integer, Number, Positive, Section, Tolerance, refused


class Method(Section):
    """What each method has."""

    ratios: Distinct[Annotated[Number, Field(ge=1)]] = Field(
        min_length=3, description="n / d, from where the method fails to where it succeeds"
    )
    tolerance: Tolerance = Field(description="relative error of a success")
    trials: tuple[Trials, ...] = Field(min_length=2, description="trials of a cell, a number for each dimension")


class Descent(Method):
    """What each method has that goes on for some iterations."""

    iterations: Budget = Field(description="the most iterations of a trial")


class GradientDescent(Descent):
    """Gradient descent on all samples."""

    step_size: StepSize


class Sgd(Descent):
    """SGD with replacement, at the optimal step."""

    mini_batch_ratio: Positive = Field(description="m / d")


class SampleComplexitySection(Section):
    """Which methods find w*, from n samples in d dimensions."""

    dimensions: Distinct[Annotated[Integer, Field(ge=2)]] = Field(min_length=2, description="d, the numbers of weights")
    methods: Distinct[Literal["least_squares", "alternating_minimisation", "gradient_descent", "sgd"]] = Field(
        min_length=1, description="the methods that are run"
    )
    least_squares: Method = Field(description="least squares on the active rows")
    alternating_minimisation: Descent = Field(description="alternating minimisation")
    gradient_descent: GradientDescent = Field(description="gradient descent on all samples")
    sgd: Sgd = Field(description="SGD with replacement, at the optimal step")

    @model_validator(mode="after")
    def _check_cells(self) -> Self:
        """Check that each method has a number of trials a dimension, and no cell twice."""
        for name in self.methods:
            method: Method = getattr(self, name)
            if len(method.trials) != len(self.dimensions):
                what = f"{len(method.trials)} numbers of trials for {len(self.dimensions)} dimensions"
                raise refused(what, "give one for each", name, "trials")
            check_grid(self.dimensions, method.ratios, name, "ratios")
        return self
