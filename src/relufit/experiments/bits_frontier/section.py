"""The section ``bits_frontier`` of the configuration."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from relufit.experiments.framework.compressor_section import CompressorSection
from relufit.experiments.framework.keys import (
    Budget,
    Coding,
    ConvergedAt,
    Dimension,
    ExchangeName,
    Levels,
    MiniBatch,
    Ratio,
    RecordEvery,
    Sampling,
    StepFactor,
    Trials,
    Workers,
    check_shares,
)
from relufit.schema import LEFT_OUT, Distinct, Flag, Section, refused


class MethodSection(Section):
    """A compressor, with or without error feedback, and its step."""

    compressor: CompressorSection = Field(description="what gradients are encoded by")
    error_feedback: Flag = Field(default=False, description="whether ranks keep what an encoding leaves out")
    step_factor: StepFactor = Field(
        default=LEFT_OUT, description="step in units of SGD's own; by default it is the best one by prediction"
    )
    searched: Distinct[StepFactor] = Field(
        default=LEFT_OUT,
        min_length=2,
        description="steps in units of SGD's own that are all run, where no prediction holds; the best one is shown",
    )

    exchanges: Distinct[ExchangeName] = Field(
        default=LEFT_OUT,
        min_length=1,
        description="ways to exchange gradients, if not those of all methods",
    )

    @model_validator(mode="after")
    def _check_step(self) -> Self:
        """Check that there is one way to choose the step; compressors are made when runs are listed."""
        if {"step_factor", "searched"} <= self.model_fields_set:
            raise refused("step_factor and searched are both given", "leave one of them out", "searched")
        return self


class BitsFrontierSection(Section):
    """Every compressor to the same error, with and without error feedback."""

    dimension: Dimension
    ratio: Ratio
    workers: Annotated[Workers, Field(ge=2)] = Field(description="K, the number of ranks")
    mini_batches: Distinct[MiniBatch] = Field(min_length=1, description="m, the numbers of samples of an iteration")
    exchanges: Distinct[ExchangeName] = Field(min_length=1, description="ways to exchange gradients")
    methods: Distinct[MethodSection] = Field(
        min_length=1, description="what is compared with SGD in fp32, which is run anyway"
    )
    unscaled_levels: Levels = Field(
        description="s of QSGD with error feedback, unscaled and divided by 1 + omega, with the first of the "
        "mini-batches, and a master that gathers the gradients"
    )
    coding: Coding
    sampling: Sampling
    tolerance: ConvergedAt
    iterations: Budget
    record_every: RecordEvery
    trials: Trials

    @model_validator(mode="after")
    def _check_shares(self) -> Self:
        check_shares(int(self.dimension * self.ratio), self.workers, min(self.mini_batches))
        return self
