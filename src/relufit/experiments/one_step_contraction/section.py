"""The section ``one_step_contraction`` of the configuration.

A cell of QSGD may have an ``exchange`` in which sums are encoded again. In ``all_reduce`` each rank encodes its
gradient in K parts; the owner of a part adds the decoded parts of all ranks, and encodes their sum. In ``requantize`` a
master does so with whole gradients. Without the key, gradients are encoded once and added as they are decoded.
"""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from relufit.experiments.framework.keys import (
    BucketSize,
    Coding,
    Dimension,
    ExchangeName,
    Level,
    MiniBatch,
    SingleSteps,
    StepFactors,
    Workers,
)
from relufit.schema import Distinct, Section, refused


class SgdCell(Section):
    """Where steps of SGD are taken."""

    dimension: Dimension
    mini_batch: MiniBatch = Field(description="m, samples of a step")


class SgdSteps(Section):
    """Steps of SGD."""

    steps: SingleSteps
    step_factors: StepFactors
    cells: Distinct[SgdCell] = Field(min_length=1, description="where steps are taken")


class QsgdCell(Section):
    """Where steps of QSGD are taken."""

    dimension: Dimension
    mini_batch: MiniBatch = Field(description="m, samples of a step over all ranks; K divides it")
    workers: Workers
    levels: Level
    bucket_size: BucketSize
    exchange: ExchangeName | None = Field(
        default=None,
        description="null: gradients are encoded once, and added as they are decoded; in all_reduce their sum is "
        "encoded again, part by part at the ranks, and in requantize at a master",
    )

    @model_validator(mode="after")
    def _check_batches(self) -> Self:
        """Check that ranks have equal batches, for which the prediction holds."""
        if self.mini_batch % self.workers:
            what = f"{self.mini_batch} samples for {self.workers} ranks"
            raise refused(what, "give every rank the same number of samples", "mini_batch")
        return self

    @model_validator(mode="after")
    def _check_buckets(self) -> Self:
        """Check that a sum that is encoded again has one norm, for which there is a prediction."""
        if self.bucket_size is not None and self.exchange is not None:
            raise refused("buckets of a sum that is encoded again", "give null, or no exchange", "bucket_size")
        return self


class QsgdSteps(Section):
    """Steps of QSGD."""

    steps: SingleSteps
    step_factors: StepFactors
    coding: Coding = Field(description="how levels become bytes; the errors do not depend on it")
    cells: Distinct[QsgdCell] = Field(min_length=1, description="where steps are taken")


class OneStepContractionSection(Section):
    """Single steps near w*, on fresh samples."""

    sgd: SgdSteps = Field(description="steps of SGD")
    qsgd: QsgdSteps = Field(description="steps of QSGD")
