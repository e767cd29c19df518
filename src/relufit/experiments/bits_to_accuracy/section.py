"""The section ``bits_to_accuracy`` of the configuration."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from relufit.errors import ConfigError
from relufit.experiments.framework.keys import Coding, LongRuns, MaxNormLevels, QuantizedRuns, Trials, Workers
from relufit.schema import LEFT_OUT, Distinct, Integer, Number, OrNull, Section, Whole, refused, unlike
from relufit.schema.messages import unknown_key

#: Compressors that are run beside SGD in fp32 and QSGD.
_USUAL = ("fp64", "fp16", "natural", "ternary")
_RUN_ANYWAY = ("fp32", "qsgd")


def _check_name(name: str) -> str:
    if name in _RUN_ANYWAY:
        raise unlike(f"must not be {name}, which is run anyway")
    return name


class Coded(Section):
    """How much is coded again in the codings after the first."""

    iterations: Whole = Field(description="iterations of a run")
    trials: Trials = Field(description="trials, also of the rows that are sent")


class OtherCompressor(Section):
    """A compressor that SGD runs with, and its parameters."""

    model_config = ConfigDict(extra="allow")

    name: Annotated[str, AfterValidator(_check_name)] = Field(
        description="a name of `relufit.compression`, of other packages too; fp32 and qsgd are run anyway",
        examples=list(_USUAL),
    )
    coding: Coding = Field(default=LEFT_OUT)

    @model_validator(mode="before")
    @classmethod
    def _check_keys(cls, values: Any) -> Any:  # noqa: ANN401
        """Check the keys of the usual compressors; others have parameters of their own."""
        usual = isinstance(values, dict) and values.get("name") in _USUAL
        for key in values if usual else ():
            if key not in cls.model_fields:
                raise unknown_key(str(key), cls.model_fields)
        return values

    @model_validator(mode="after")
    def _check_parameters(self) -> Self:
        """Make the compressor; for the usual ones the registry is not imported, which takes long."""
        if self.name not in _USUAL:
            from relufit.compression import make_compressor

            values = self.model_dump(exclude_unset=True)
            try:
                make_compressor(**values)
            except ConfigError as error:
                key = error.where if error.where in values else "name"
                raise refused(error.what, error.remedy, key) from error
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
