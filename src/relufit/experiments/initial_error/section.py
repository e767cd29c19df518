"""The section ``initial_error`` of the configuration."""

from __future__ import annotations

from pydantic import Field

from relufit.experiments.framework.keys import Dimension, Trials, Workers
from relufit.schema import Distinct, Section, Whole


class Cell(Section):
    """Sizes of the data that the initial weights are made of."""

    dimension: Dimension
    samples: Whole = Field(description="n, the number of samples")
    workers: Workers = Field(description="K, the number of ranks that share the samples")


class InitialErrorSection(Section):
    """How far the initial weights are from w*."""

    cells: Distinct[Cell] = Field(min_length=1, description="sizes of the data")
    trials: Trials = Field(description="independent data sets")
