"""The section ``time_to_accuracy`` of the configuration."""

from __future__ import annotations

from pydantic import Field

from relufit.experiments.framework.keys import Coding, QuantizedRuns
from relufit.schema import Distinct


class TimeToAccuracySection(QuantizedRuns):
    """Real ranks on the cluster."""

    coding: Coding
    other_codings: Distinct[Coding] = Field(description="codings of the same runs once more, to compare their bytes")
