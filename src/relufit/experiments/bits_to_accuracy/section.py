"""The section ``bits_to_accuracy`` of the configuration."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from relufit.experiments.framework.compressor_section import USUAL, CompressorSection
from relufit.experiments.framework.keys import Coding, LongRuns, MaxNormLevels, QuantizedRuns, Trials, Workers
from relufit.schema import Distinct, Integer, Number, OrNull, Section, Whole, refused, unlike

_RUN_ANYWAY = ("fp32", "qsgd")


def _check_name(name: str) -> str:
    if name in _RUN_ANYWAY:
        raise unlike(f"must not be {name}, which is run anyway")
    return name


class Coded(Section):
    """How much is coded again in the codings after the first."""

    iterations: Whole = Field(description="iterations of a run")
    trials: Trials = Field(description="trials, also of the rows that are sent")


class OtherCompressor(CompressorSection):
    """An unbiased compressor that SGD runs with, and its parameters."""

    name: Annotated[str, AfterValidator(_check_name)] = Field(
        description="a name of `relufit.compression`, of other packages too; fp32 and qsgd are run anyway",
        examples=list(USUAL),
    )

    @model_validator(mode="after")
    def _check_variance(self) -> Self:
        """Make the compressor, and refuse a biased one: it has no step that follows from its variance."""
        if self.name not in USUAL and self.made().variance(2) is None:
            raise refused(f"{self.name} is biased", "run it in bits_frontier, with error feedback", "name")
        return self


class BitsToAccuracySection(QuantizedRuns):
    """Bytes to the same error."""

    workers: Annotated[Workers, Field(ge=2)] = Field(description="K, the number of ranks")
    max_norm_levels: MaxNormLevels
    codings: Distinct[Coding] = Field(
        min_length=1, description="runs are whole in the first; in the others their first iterations are coded again"
    )
    coded: Coded = Field(description="how much is coded again in the codings after the first")
    compressors: Distinct[OtherCompressor] = Field(description="other compressors that SGD runs with")
    larger_batches: Distinct[Annotated[Integer, Field(ge=2)]] = Field(
        description="factors on mini_batch that SGD runs with in fp32"
    )
    shipped_rows: Distinct[Annotated[Annotated[Number, Field(ge=1)] | None, OrNull]] = Field(
        description="active rows that are sent once, in units of the dimension; null for all of them"
    )
    long_runs: LongRuns = Field(description="fewer trials of the settings that take long")
