"""Errors of validation as messages: the path of the key, what is wrong with its value, and what to do."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from relufit.errors import ConfigError, shown

#: Types of errors that our own validators raise.
REFUSED, UNKNOWN, UNLIKE = "refused", "unknown_key", "unlike"


def refused(what: str, remedy: str, *key: str | int) -> PydanticCustomError:
    """Return the error of a validator: what is wrong, what to do, and the key below the one that is validated."""
    return PydanticCustomError(REFUSED, "{what}; {remedy}", {"what": what, "remedy": remedy, "key": key})


def unknown_key(key: str, known: Iterable[str]) -> PydanticCustomError:
    """Return the error of a key that a section does not have."""
    names = list(known)
    close = difflib.get_close_matches(key, names, 1)
    remedy = f"did you mean {close[0]!r}?" if close else f"the keys here are {', '.join(names)}"
    return PydanticCustomError(UNKNOWN, "unknown key; {remedy}", {"remedy": remedy, "key": key})


def unlike(wanted: str) -> PydanticCustomError:
    """Return the error of a value that is not what it must be, such as ``must be of type integer``."""
    return PydanticCustomError(UNLIKE, "{wanted}", {"wanted": wanted})


def explain(error: ValidationError, where: str = "") -> ConfigError:
    """Return the first error of a validation, `where` being the key of what was validated.

    The first is that of the key whose path is the first by the alphabet; of errors in the keys of one section, an
    unknown key is before a missing one, which may be the same one mistyped.
    """
    return _explained(min(error.errors(include_url=False), key=_order), where)


def _order(error: ErrorDetails) -> tuple[list[str], int]:
    ranks = {UNKNOWN: 0, "missing": 1}
    location = [str(part) for part in error["loc"]]
    if error["type"] == "missing":
        location.pop()
    elif error["type"] == "too_short":
        location.append("~")  # impossible entries are not counted, and are errors themselves
    return location, ranks.get(error["type"], 2)


def _explained(error: ErrorDetails, root: str) -> ConfigError:
    kind, context = error["type"], error.get("ctx", {})
    location: list[Any] = [*filter(None, [root]), *error["loc"]]
    if kind == UNKNOWN:
        return ConfigError("unknown key", where=_path([*location, context["key"]]), remedy=context["remedy"])
    if kind == REFUSED:
        return ConfigError(context["what"], where=_path([*location, *context["key"]]), remedy=context["remedy"])
    if kind == "missing":
        return ConfigError("missing", where=_path(location), remedy="add it")
    value = error["input"]
    wanted = _WANTED[kind](context) if kind in _WANTED else error["msg"]
    if kind == "string_type" and type(value) in (int, float):
        key, number = str(location[-1]) if location else "key", shown(value)
        wanted = f"""must be text: put it in quotes, `{key}: "{number}"`, or `--config '{key}="{number}"'`"""
    return ConfigError(f"{shown(value)} is not possible", where=_path(location), remedy=f"it {wanted}")


def _path(location: Iterable[str | int]) -> str:
    return ".".join(str(part) for part in location)


def _bound(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:.15g}"


def _choices(context: Mapping[str, Any]) -> str:
    names = re.findall("'([^']*)'", context["expected"])
    return f"must be one of {', '.join(names)}"


def _entries(context: Mapping[str, Any]) -> str:
    count = context["min_length"]
    return "must have at least one entry" if count == 1 else f"must have at least {count} entries"


#: What a value must be, by the type of the error.
_WANTED: dict[str, Callable[[Mapping[str, Any]], str]] = {
    UNLIKE: lambda context: str(context["wanted"]),
    "string_type": lambda context: "must be of type string",
    "bool_type": lambda context: "must be of type boolean",
    "tuple_type": lambda context: "must be of type array",
    "dict_type": lambda context: "must be of type object",
    "model_type": lambda context: "must be of type object",
    "literal_error": _choices,
    "greater_than_equal": lambda context: f"must be at least {_bound(context['ge'])}",
    "greater_than": lambda context: f"must be above {_bound(context['gt'])}",
    "less_than_equal": lambda context: f"must be at most {_bound(context['le'])}",
    "less_than": lambda context: f"must be below {_bound(context['lt'])}",
    "too_short": _entries,
    "too_long": lambda context: f"must have at most {context['max_length']} entries",
    "string_too_short": lambda context: "must not be empty",
    "string_too_long": lambda context: f"must have at most {context['max_length']} characters",
}
