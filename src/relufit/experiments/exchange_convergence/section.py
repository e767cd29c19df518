"""The section ``exchange_convergence`` of the configuration."""

from __future__ import annotations

from pydantic import Field

from relufit.experiments.framework.keys import Coding, ExchangeName, Level, TrainingRuns
from relufit.schema import Distinct, Section


class EncodedSums(Section):
    """Runs of QSGD in an exchange that encodes sums again."""

    exchange: ExchangeName = Field(
        description="all_reduce, where the ranks add and encode parts, or requantize, where a master adds and encodes "
        "whole gradients"
    )
    levels: Level


class ExchangeConvergenceSection(TrainingRuns):
    """QSGD in exchanges that encode sums again, against SGD in fp32 by all_reduce."""

    runs: Distinct[EncodedSums] = Field(min_length=1, description="runs of QSGD; SGD in fp32 runs by all_reduce")
    coding: Coding
