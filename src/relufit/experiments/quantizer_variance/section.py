"""The section ``quantizer_variance`` of the configuration."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from relufit.experiments.framework.keys import Coding, Dimension, Levels
from relufit.schema import Distinct, Integer, Section, Whole


class QuantizerVarianceSection(Section):
    """Quantizers of Gaussian vectors."""

    dimensions: Distinct[Dimension] = Field(min_length=1, description="d, the lengths of the vectors")
    levels: Levels
    bucket_size: Whole = Field(description="coordinates of a bucket, at the largest dimension")
    coding: Coding = Field(description="how levels become bytes; the errors do not depend on it")
    vectors: Annotated[Integer, Field(ge=2)] = Field(description="independent Gaussian vectors")
