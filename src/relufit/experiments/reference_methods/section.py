"""The section ``reference_methods`` of the configuration."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from relufit.experiments.framework.keys import (
    Budget,
    ConvergedAt,
    FreshRunSizes,
    Level,
    MiniBatch,
    Points,
    StepFactor,
    Trials,
    Workers,
)
from relufit.schema import Distinct, Integer, Positive, Section, Whole, refused


class Delayed(Section):
    """Runs whose gradients are taken at the weights of iterations before."""

    delays: Distinct[Annotated[Integer, Field(ge=1, le=16)]] = Field(min_length=1, description="iterations")
    mini_batch: MiniBatch
    trials: Trials


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
    """Other gradients, a start from zero, delays, and averaging, on fresh samples."""

    levels: Level = Field(description="s of the runs of QSGD")
    votes: Distinct[Workers] = Field(min_length=1, description="K, the numbers of ranks whose majority decides a sign")
    tolerance: ConvergedAt
    iterations: Budget
    points: Points
    trials: Trials
    delayed: Delayed = Field(description="gradients that are late, as where ranks do not wait for each other")
    averaging: Averaging = Field(description="label noise, and the mean of the weights")

    @model_validator(mode="after")
    def _check_runs(self) -> Self:
        if self.delayed.mini_batch < self.workers:
            what = f"{self.delayed.mini_batch} samples for {self.workers} ranks"
            raise refused(what, "give each rank one", "delayed", "mini_batch")
        if max(self.delayed.delays) > self.iterations:
            what = f"a delay of {max(self.delayed.delays)} in a budget of {self.iterations} iterations"
            raise refused(what, "give a shorter one, or more iterations", "delayed", "delays")
        for workers in self.votes:
            if self.mini_batch % workers:
                what = f"{workers} ranks cannot share {self.mini_batch} samples evenly"
                raise refused(what, "give divisors of mini_batch", "votes")
        return self
