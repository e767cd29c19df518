"""A section of the configuration: a mapping whose keys, values and relations are known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from relufit.schema.messages import explain, unknown_key


class Section(BaseModel):
    """A part of the configuration.

    A key without a default is needed. One whose default is None may be left out, but not be null unless its type says
    so.

    Raises
    ------
    ConfigError
        If a section that is made by hand has a key that is unknown, missing, of a wrong type or impossible.
    """

    model_config = ConfigDict(frozen=True, defer_build=True)
    #: The key under which errors name a section that is made by hand.
    WHERE: ClassVar[str] = ""

    def __init__(self, **values: Any) -> None:  # noqa: ANN401
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise explain(error, self.WHERE) from None

    # Sections within a section are not made by hand: their errors are raised by the whole, with the whole path.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """Return the section that has these values.

        Raises
        ------
        ConfigError
            As a section that is made by hand does.
        """
        return cls(**values)

    @model_validator(mode="before")
    @classmethod
    def _check_keys(cls, values: Any) -> Any:  # noqa: ANN401
        if isinstance(values, dict):
            for key in values:
                if key not in cls.model_fields:
                    raise unknown_key(str(key), cls.model_fields)
        return values


def checked(model: type[Section], values: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of a section in which every value is of its type: keys in their order, none added.

    Raises
    ------
    ConfigError
        At the first key that is unknown, missing, of a wrong type or impossible.
    """
    try:
        section = model.model_validate(values)
    except ValidationError as error:
        raise explain(error, model.WHERE) from None
    copy: dict[str, Any] = _copy(values, section)
    return copy


def _copy(given: Any, valid: Any) -> Any:  # noqa: ANN401
    """Return validated values in the shape in which they were given."""
    if isinstance(valid, BaseModel):
        return {key: _copy(value, getattr(valid, key)) for key, value in given.items()}
    if isinstance(valid, dict):
        return {key: _copy(value, valid[key]) for key, value in given.items()}
    if isinstance(valid, tuple):
        return [_copy(*pair) for pair in zip(given, valid, strict=True)]
    # A whole number where any number is possible stays one.
    return given if type(given) is int and given == valid else valid
