"""Types of values. Numbers may be written as text, which YAML and the command line make of ``1e-3``.

A whole number may be written as ``3.0``, and a truth value is no number.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import (
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    Strict,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import CoreSchema, core_schema

from relufit.schema.messages import UNLIKE, unlike

_Entry = TypeVar("_Entry")
#: The value of a key that may be left out, and that may not be null; nobody reads it.
LEFT_OUT: Any = None


def to_integer(value: object) -> int:
    """Return a whole number, also where it is written as text or as a float."""
    if isinstance(value, str):
        value = _parsed_integer(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise unlike("must be of type integer")
    return value


def to_number(value: object) -> int | float:
    """Return a finite number, also where it is written as text."""
    if isinstance(value, str):
        value = _parsed(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise unlike("must be of type number")
    return value


def _parsed_integer(text: str) -> int | float:
    """Return the number that a text is, all its digits where it has nothing else, NaN if it is none."""
    try:
        return int(text)
    except ValueError:  # no digits alone, or more of them than Python reads
        return _parsed(text)


def _parsed(text: str) -> float:
    """Return the number that a text is, NaN if it is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _or_null(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    """Say of a value of another type that null is possible too."""
    try:
        return handler(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["type"] == UNLIKE and not first["loc"]:
            raise unlike(f"{first['ctx']['wanted']} or null") from None
        raise


@dataclass(frozen=True)
class _WithoutRepeats:
    """No two entries of a list are equal."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401
        """Check the entries after their own checks."""
        return core_schema.no_info_after_validator_function(_check_repeats, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Add the keyword of JSON schema."""
        return {**handler(schema), "uniqueItems": True}


def _check_repeats(entries: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(entries)) < len(entries):
        raise unlike("must not repeat an entry")
    return entries


@dataclass(frozen=True)
class Matching:
    """Text of a form: all of it matches a regular expression, which `wanted` says in words: ``must be ...``."""

    pattern: str
    wanted: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401
        """Check the text after its own checks."""
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Add the keyword of JSON schema."""
        return {**handler(schema), "pattern": f"^{self.pattern}$"}

    def _check(self, text: str) -> str:
        if not re.fullmatch(self.pattern, text):
            raise unlike(self.wanted)
        return text


Integer = Annotated[int, BeforeValidator(to_integer)]
Number = Annotated[float, BeforeValidator(to_number)]
Whole = Annotated[Integer, Field(ge=1)]
Positive = Annotated[Number, Field(gt=0)]
#: A relative error.
Tolerance = Annotated[Number, Field(gt=0, lt=1)]
Text = Annotated[str, Field(min_length=1)]
Flag = Annotated[bool, Strict()]
#: For numbers that may be null, as in ``Annotated[Whole | None, OrNull]``.
OrNull = WrapValidator(_or_null)
#: A list whose entries differ.
Distinct = Annotated[tuple[_Entry, ...], _WithoutRepeats()]
