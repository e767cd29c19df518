"""The section ``reference_methods`` of the configuration."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from relufit.experiments.framework.keys import (
    Budget,
    ConvergedAt,
    FreshRunSizes,
    Level,
    Points,
    StepFactor,
    Trials,
    Workers,
)
from relufit.schema import Distinct, Integer, Positive, Section, Whole, refused


class Averaging(Section):
    """Runs with label noise, whose weights are averaged."""

    std: Positive = Field(description="standard deviation of the labels' noise, in units of the norm of w*")
    step_factor: StepFactor = Field(description="step, in units of QSGD's optimal one")
    average_from: Whole = Field(description="iteration from which on the weights are averaged")
    iterations: Annotated[Integer, Field(ge=20)] = Field(description="of a run")
    trials: Trials

    @model_validator(mode="after")
    def _check_beginning(self) -> Self:
        if self.average_from >= self.iterations:
            raise refused("no iteration is left to average", "begin earlier, or raise iterations", "average_from")
        return self


class ReferenceMethodsSection(FreshRunSizes):
    """Other gradients, a start from zero, and averaging, on fresh samples."""

    levels: Level = Field(description="s of the runs of QSGD")
    votes: Distinct[Workers] = Field(min_length=1, description="K, the numbers of ranks whose majority decides a sign")
    tolerance: ConvergedAt
    iterations: Budget
    points: Points
    trials: Trials
    averaging: Averaging = Field(description="label noise, and the mean of the weights")

    @model_validator(mode="after")
    def _check_votes(self) -> Self:
        for workers in self.votes:
            if self.mini_batch % workers:
                what = f"{workers} ranks cannot share {self.mini_batch} samples evenly"
                raise refused(what, "give divisors of mini_batch", "votes")
        return self
