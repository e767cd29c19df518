"""The section ``link_speed`` of the configuration."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from relufit.clusters.emulated.options import Rate, RoundTrip
from relufit.experiments.framework.keys import (
    Budget,
    ConvergedAt,
    Dimension,
    ExchangeName,
    Ratio,
    RecordEvery,
    ReplicatingExchange,
    RunSizes,
    Trials,
    Workers,
)
from relufit.schema import LEFT_OUT, Distinct, Integer, Positive, Section, Whole, refused

Hosts = Annotated[Workers, Field(ge=2, le=64)]
CompressorName = Annotated[
    Literal["fp64", "fp32", "fp16", "rans", "packed", "s4-rans", "s4-packed", "sign"],
    Field(
        description="fp64, fp32, fp16: SGD; a coding of QSGD with 0.6 sqrt(d) levels, or with 4 where it begins with "
        "s4; sign: signs with error feedback"
    ),
]
Rates = Annotated[Distinct[Rate], Field(description="bits a second of each link")]


class Cell(Section):
    """Where iterations are timed."""

    dimension: Dimension
    workers: Hosts
    rates: Rates
    exchanges: Distinct[ExchangeName] = Field(
        default=LEFT_OUT, min_length=1, description="ways to exchange gradients, if not those of all cells"
    )
    trials: Trials = Field(default=LEFT_OUT, description="trials, if not as many as in all cells")


class Run(Section):
    """A compressor in some exchanges and at some rates."""

    compressor: CompressorName
    exchanges: Distinct[ExchangeName] = Field(min_length=1, description="ways to exchange gradients")
    rates: Rates
    iterations: Whole = Field(default=LEFT_OUT, description="iterations of a run that does not go on to the tolerance")


class WholeRuns(RunSizes):
    """Runs from w0 on rows from disk."""

    workers: Hosts
    tolerance: ConvergedAt
    iterations: Budget
    record_every: RecordEvery
    trials: Trials
    runs: Distinct[Run] = Field(min_length=1, description="what is run")

    @model_validator(mode="after")
    def _check_runs(self) -> Self:
        """Check that nothing is run twice: its traces would have the same name."""
        ways = Counter(
            (run.compressor, exchange, rate) for run in self.runs for exchange in run.exchanges for rate in run.rates
        )
        (compressor, exchange, rate), count = ways.most_common(1)[0]
        if count > 1:
            what = f"{compressor} stands {count} times in {exchange} at {rate / 1e6:g} Mbit/s"
            raise refused(what, "leave one of them", "runs")
        return self


class PlannedFor(Section):
    """For which combinations the best way to exchange and encode is planned, on hosts of their own."""

    dimensions: Distinct[Dimension] = Field(min_length=1, description="d, the numbers of weights")
    workers: Distinct[Annotated[Workers, Field(ge=2)]] = Field(min_length=1, description="K, the numbers of ranks")
    rates: Rates = Field(min_length=1)


class Way(Section):
    """A compressor in an exchange."""

    compressor: CompressorName
    exchange: Annotated[ExchangeName, Field(description="way to exchange gradients")]


class ScalingRuns(Section):
    """More ranks for the same mini-batch, and for one that grows with them."""

    dimension: Dimension
    rate: Annotated[Rate, Field(description="bits a second of each link")]
    workers: Distinct[Hosts] = Field(min_length=1, description="K, the numbers of ranks that are timed")
    beyond: Distinct[Annotated[Workers, Field(ge=2)]] = Field(description="more numbers of ranks, which are planned")
    mini_batch: Annotated[Whole, Field(description="samples of an iteration for every K")]
    rank_batch: Annotated[Whole, Field(description="samples of a rank and an iteration for every K")]
    ratio: Ratio
    tolerance: ConvergedAt
    runs: Distinct[Way] = Field(min_length=1, description="what is compared")

    @model_validator(mode="after")
    def _check_shares(self) -> Self:
        """Check that all ranks have as many samples."""
        for workers in (*self.workers, *self.beyond):
            if self.mini_batch % workers:
                what = f"{workers} ranks cannot share {self.mini_batch} samples evenly"
                raise refused(what, "give a multiple of each number of ranks", "mini_batch")
        return self


class Overlap(Section):
    """Iterations with a delay, whose gradients are computed ahead, and without."""

    dimension: Dimension
    workers: Hosts
    rate: Annotated[Rate, Field(description="bits a second of each link")]
    rank_batch: Whole = Field(
        description="samples of a rank and an iteration: computing takes about as long as messages"
    )
    delay: Annotated[Integer, Field(ge=1, le=16)] = Field(description="iterations by which gradients are late")
    exchanges: Distinct[ReplicatingExchange] = Field(
        min_length=1, description="ways to exchange gradients in which ranks have weights of their own"
    )


class LinkSpeedSection(Section):
    """Between hosts that are emulated on this machine."""

    round_trip: RoundTrip
    carried: Positive = Field(description="bits a second over all links together that the machine carries in time")
    longest: Positive = Field(description="the most seconds of an iteration of SGD with fp32 that is timed")
    cells: Distinct[Cell] = Field(min_length=1, description="where iterations are timed")
    exchanges: Distinct[ExchangeName] = Field(min_length=1, description="ways to exchange gradients that are timed")
    rank_rows: Whole = Field(description="rows of a rank")
    rank_batch: Whole = Field(description="samples of a rank and an iteration")
    seconds: Positive = Field(description="seconds of a timed run, by the model")
    iterations: tuple[Annotated[Integer, Field(ge=6)], ...] = Field(
        min_length=2, max_length=2, description="the least and the most of a timed run; the first third is not timed"
    )
    trials: Trials
    whole: WholeRuns = Field(description="runs from w0 on rows from disk")
    scaling: ScalingRuns = Field(description="more ranks for the same mini-batch, and for one that grows with them")
    overlap: Overlap = Field(description="gradients that are computed while the ones before are exchanged")
    map: PlannedFor = Field(description="for what the best way to exchange and encode is planned")

    @model_validator(mode="after")
    def _check_cells(self) -> Self:
        """Check that no two cells have a name in common."""
        (d, workers), count = Counter((cell.dimension, cell.workers) for cell in self.cells).most_common(1)[0]
        if count > 1:
            what = f"{count} cells have d = {d} and {workers} ranks"
            raise refused(what, "give one of them the rates of all", "cells")
        return self

    @model_validator(mode="after")
    def _check_iterations(self) -> Self:
        least, most = self.iterations
        if least > most:
            raise refused(f"{least} iterations at least and {most} at most", "write the lesser one first", "iterations")
        return self
