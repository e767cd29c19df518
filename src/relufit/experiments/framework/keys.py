"""Keys that sections of several experiments have: their types, bounds and descriptions, and what relates them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from relufit.schema import Distinct, Integer, Number, OrNull, Positive, Section, Tolerance, Whole, refused

#: Names of codings, of norms and of ways to sample for which theory has a curve. A test holds them against the code
#: that they are the names of, which takes long to import.
Coding = Annotated[
    Literal["packed", "elias", "rans", "auto"],
    Field(description="how levels become bytes; auto is the coding of the least expected length"),
]
Norm = Literal["l2", "max"]
Sampling = Annotated[
    Literal["with_replacement", "fresh"],
    Field(description="with_replacement from the data set, or fresh samples that are never seen again"),
]
#: The keys of `relufit.exchange.EXCHANGES`.
ExchangeName = Literal[
    "master",
    "relay",
    "requantize",
    "all_gather",
    "all_reduce",
]
#: Those in which ranks have weights of their own.
ReplicatingExchange = Literal["relay", "requantize", "all_gather", "all_reduce"]

Dimension = Annotated[Whole, Field(description="d, the number of weights")]
#: Least squares on the active rows needs two samples a weight.
Ratio = Annotated[Number, Field(gt=2, description="n / d, samples over weights")]
FreshRatio = Annotated[Positive, Field(description="n / d; only w0 depends on n, samples are fresh")]
Workers = Annotated[Whole, Field(description="K, the number of ranks")]
MiniBatch = Annotated[Whole, Field(description="m, samples of an iteration over all ranks")]
Level = Annotated[Integer, Field(ge=1, le=32767, description="s, the number of quantization levels")]
Levels = Annotated[Distinct[Level], Field(min_length=1, description="s, the numbers of quantization levels to run")]
MaxNormLevels = Annotated[
    Distinct[Level], Field(description="s of the runs of QSGD with the max norm of the whole gradient")
]
BucketSize = Annotated[Whole | None, OrNull, Field(description="coordinates that share a norm; null for all of them")]
ConvergedAt = Annotated[Tolerance, Field(description="relative error at which a run has converged")]
Budget = Annotated[Whole, Field(description="the most iterations of a run")]
RecordEvery = Annotated[Whole, Field(description="iterations between two rows of a trace")]
Points = Annotated[Whole, Field(description="rows of a trace, about")]
Trials = Annotated[Integer, Field(ge=2, description="independent repetitions")]
SingleSteps = Annotated[Integer, Field(ge=2, description="independent single steps")]
StepFactor = Annotated[Number, Field(gt=0, lt=2)]
StepFactors = Annotated[
    Distinct[StepFactor], Field(min_length=1, description="steps, in units of the optimal one; at 2 no error falls")
]
StepSize = Annotated[Positive, Field(description="step on the mean gradient of all samples")]


class LongRuns(Section):
    """Settings whose runs are long have fewer trials."""

    iterations: Whole = Field(description="settings of which theory expects more iterations on fresh samples are long")
    trials: Trials = Field(description="trials of a long setting")


class RunSizes(Section):
    """The sizes of runs by K ranks, each of which has rows and a share of every mini-batch."""

    dimension: Dimension
    ratio: Ratio
    workers: Workers
    mini_batch: MiniBatch

    @model_validator(mode="after")
    def _check_shares(self) -> Self:
        check_shares(int(self.dimension * self.ratio), self.workers, self.mini_batch)
        return self


class FreshRunSizes(RunSizes):
    """Those of runs on fresh samples."""

    ratio: FreshRatio


class TrainingRuns(RunSizes):
    """Runs at one setting of sizes, by K ranks."""

    sampling: Sampling
    tolerance: ConvergedAt
    iterations: Budget
    record_every: RecordEvery
    trials: Trials


class QuantizedRuns(TrainingRuns):
    """Runs of SGD and QSGD side by side, see `relufit.experiments.framework.quantized`."""

    levels: Levels
    bucket_size: BucketSize


def check_shares(rows: int, workers: int, mini_batch: int, *keys: str | int, reshuffled: bool = False) -> None:
    """Check that each rank has rows, and a share of every mini-batch.

    Parameters
    ----------
    rows, workers, mini_batch : int
        n, K and m; the least n and m and the largest K where there are several.
    *keys : str or int
        What leads to the keys ``workers`` and ``mini_batch``.
    reshuffled : bool
        Whether ranks draw without replacement, so that a share has at most the rows of the rank.

    Raises
    ------
    pydantic_core.PydanticCustomError
        If a rank has none.
    """
    if rows < 1:
        raise refused("there is no row in the data set", "raise it", *keys, "ratio")
    size, share = -(-rows // workers), -(-mini_batch // workers)
    last = rows - size * (workers - 1)
    if workers > rows or last <= 0:
        raise refused(f"{workers} ranks for {rows} rows", "use fewer workers or more rows", *keys, "workers")
    if mini_batch < workers:
        raise refused(f"{mini_batch} samples for {workers} ranks", "give each rank at least one", *keys, "mini_batch")
    if reshuffled and share > last:
        what = f"{mini_batch} samples without replacement from {rows} rows on {workers} ranks"
        raise refused(what, "use at most the rows there are, or sample with_replacement", *keys, "mini_batch")


def check_grid(dimensions: Sequence[int], ratios: Sequence[float], *keys: str) -> None:
    """Check that no two ratios n / d are the same number of samples; `keys` lead to those of the ratios.

    Raises
    ------
    pydantic_core.PydanticCustomError
        If two are.
    """
    for d in dimensions:
        if len({round(ratio * d) for ratio in ratios}) < len(ratios):
            shown = [int(ratio) if ratio.is_integer() else ratio for ratio in ratios]
            what = f"two of {shown} are the same number of samples in {d} dimensions"
            raise refused(what, "put them farther apart", *keys)
