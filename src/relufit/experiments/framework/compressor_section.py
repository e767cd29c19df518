"""A compressor in the configuration: its name and its parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, Field, model_validator

from relufit.errors import ConfigError
from relufit.experiments.framework.keys import Coding
from relufit.schema import LEFT_OUT, Section, refused
from relufit.schema.messages import unknown_key

if TYPE_CHECKING:
    from relufit.compression import Compressor

#: Compressors whose keys are checked without the registry, which takes long to import.
USUAL = ("fp64", "fp16", "natural", "ternary")


class CompressorSection(Section):
    """A compressor that SGD runs with, and its parameters."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(description="a name of `relufit.compression`, of other packages too", examples=list(USUAL))
    coding: Coding = Field(default=LEFT_OUT)

    @model_validator(mode="before")
    @classmethod
    def _check_keys(cls, values: Any) -> Any:  # noqa: ANN401
        """Check the keys of the usual compressors; others have parameters of their own."""
        usual = isinstance(values, dict) and values.get("name") in USUAL
        for key in values if usual else ():
            if key not in cls.model_fields:
                raise unknown_key(str(key), cls.model_fields)
        return values

    def made(self) -> Compressor:
        """Return the compressor, by the registry.

        Raises
        ------
        pydantic_core.PydanticCustomError
            If there is none of that name, or a parameter is impossible.
        """
        from relufit.compression import make_compressor

        values = self.model_dump(exclude_unset=True)
        try:
            return make_compressor(**values)
        except ConfigError as error:
            key = error.where if error.where in values else "name"
            raise refused(error.what, error.remedy, key) from error
