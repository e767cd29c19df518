"""The section ``geometric_convergence`` of the configuration."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from relufit.experiments.framework.keys import (
    Budget,
    ConvergedAt,
    Dimension,
    MiniBatch,
    Ratio,
    RecordEvery,
    Trials,
    check_shares,
)
from relufit.schema import Distinct, Section


class GeometricConvergenceSection(Section):
    """SGD on fixed data, for several numbers of samples."""

    dimension: Dimension
    ratios: Distinct[Ratio] = Field(min_length=1, description="n / d, samples over weights")
    mini_batch: MiniBatch
    samplings: Distinct[Literal["with_replacement", "reshuffled"]] = Field(
        min_length=1, description="rows drawn with_replacement, or each once in an epoch, reshuffled"
    )
    tolerance: ConvergedAt
    iterations: Budget
    record_every: RecordEvery
    trials: Trials

    @model_validator(mode="after")
    def _check_shares(self) -> Self:
        rows = int(self.dimension * min(self.ratios))
        check_shares(rows, 1, self.mini_batch, reshuffled="reshuffled" in self.samplings)
        return self
