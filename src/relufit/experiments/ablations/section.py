"""The section ``ablations`` of the configuration."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from relufit.experiments.framework.keys import (
    BucketSize,
    Budget,
    Coding,
    ConvergedAt,
    Level,
    Norm,
    RecordEvery,
    RunSizes,
    StepFactor,
    StepFactors,
    Trials,
)
from relufit.schema import LEFT_OUT, Distinct, Integer, Positive, Section


class Noise(Section):
    """Noise of the labels."""

    stds: Distinct[Positive] = Field(min_length=1, description="standard deviations, in units of the norm of w*")
    step_factor: StepFactor = Field(description="step, in units of QSGD's optimal one")
    iterations: Annotated[Integer, Field(ge=20)] = Field(description="of a run, the last half of them at the floor")


class Buckets(Section):
    """Norms and buckets of QSGD."""

    norms: Distinct[Norm] = Field(min_length=1, description="norms of a bucket")
    sizes: Distinct[BucketSize] = Field(min_length=1, description="coordinates of a bucket; null for a single one")
    levels: Level
    coding: Coding


class Steps(Section):
    """Steps of SGD and of QSGD, each in units of its optimal one."""

    sgd: StepFactors = Field(default=LEFT_OUT)
    qsgd: StepFactors = Field(default=LEFT_OUT)


class AblationsSection(RunSizes):
    """One thing at a time, on fresh samples."""

    levels: Level = Field(description="s of QSGD under noise, with other inputs and with other steps")
    noise: Noise = Field(description="noise of the labels")
    inputs: Distinct[Literal["gaussian", "rademacher", "uniform", "student_t5", "autoregressive"]] = Field(
        min_length=1, description="laws of the rows"
    )
    buckets: Buckets = Field(description="norms and buckets of QSGD")
    step_factors: Steps = Field(description="steps of SGD and of QSGD")
    tolerance: ConvergedAt
    iterations: Budget
    record_every: RecordEvery
    trials: Trials
