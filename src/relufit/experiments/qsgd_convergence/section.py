"""The section ``qsgd_convergence`` of the configuration."""

from __future__ import annotations

from pydantic import Field

from relufit.experiments.framework.keys import LongRuns, MaxNormLevels, QuantizedRuns


class QsgdConvergenceSection(QuantizedRuns):
    """QSGD against SGD."""

    max_norm_levels: MaxNormLevels
    long_runs: LongRuns = Field(description="fewer trials of the settings that take long")
