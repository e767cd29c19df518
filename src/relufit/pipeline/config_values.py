"""What a configuration is read from, and the values that it can hold: text, whole and finite numbers, lists, keys.

YAML holds more than that: dates, sets, binary data, references to itself, the same key twice. Each is refused with the
key that it stands at.
"""

from __future__ import annotations

import codecs
import datetime
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from relufit.errors import ConfigError, shown

#: Beyond these a file is a mistake or an attack: lists that refer to lists can stand for any number of values.
_DEPTH, _VALUES, _BYTES = 40, 100_000, 10_000_000
#: Whole numbers beyond these are neither seeds nor sizes.
_LARGEST = 2**64


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, but for keys that stand twice in a mapping: all but the last would be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        for key in keys:
            if keys.count(key) > 1:
                line = node.start_mark.line + 1
                raise ConfigError(
                    f"stands twice in the mapping that begins in line {line}", where=key, remedy="leave one"
                )
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: ANN401 - any value
        """Leave as text what only looks like a date or a number; where that is wanted, it is refused with its key."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, OverflowError):
            if not isinstance(node, yaml.ScalarNode):
                raise
            return node.value


def read_mapping(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the content of a YAML file, which is a mapping.

    Raises
    ------
    ConfigError
        If the file cannot be read, is no text in UTF-8 or UTF-16, no YAML, or holds what a configuration cannot.
    """
    where = str(path)
    try:
        if Path(path).exists() and not Path(path).is_file():
            raise ConfigError("is no file", where=where, remedy="give a YAML file")
        content = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"cannot be read ({reason})", where=where, remedy="give a YAML file") from error
    if len(content) > _BYTES:
        raise ConfigError(f"has {len(content)} bytes", where=where, remedy="give a YAML file of a configuration")
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError(
            f"is no text in UTF-8 (byte 0x{content[error.start]:02x} in line {line})",
            where=where,
            remedy="save it in that encoding, as by `iconv -f latin1 -t utf-8`",
        ) from error
    return parse_mapping(text, where=where, remedy="mend it")


def parse_mapping(text: str, *, where: str, remedy: str) -> dict[str, Any]:
    """Return a mapping that is written in YAML; `where` it was found and the `remedy` are for errors.

    Raises
    ------
    ConfigError
        If it is no YAML, no mapping, or holds what a configuration cannot.
    """
    try:
        content = yaml.load(text, _Loader)
    except ConfigError as error:
        raise ConfigError(error.what, where=f"{where}: {error.where}", remedy=error.remedy) from error
    except (yaml.YAMLError, ValueError, OverflowError, TypeError, AttributeError) as error:
        message = " ".join(str(error).split())
        raise ConfigError(f"is not YAML ({message[:300]})", where=where, remedy=remedy) from error
    except RecursionError as error:
        raise ConfigError("is nested too deeply", where=where, remedy=remedy) from error
    if not isinstance(content, dict):
        raise ConfigError("holds no keys", where=where, remedy="give a YAML mapping such as `seed: 7`")
    return content


def parse_json(text: str, *, where: str) -> dict[str, Any]:
    """Return a mapping that is written in JSON.

    Raises
    ------
    ConfigError
        If it is no JSON, or no mapping.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"is not JSON ({error})", where=where, remedy="give a JSON object") from error
    if not isinstance(content, dict):
        raise ConfigError("holds no keys", where=where, remedy='give a JSON object such as `{"seed": 7}`')
    return content


def plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a configuration that shares nothing with it and consists of what JSON can hold.

    Raises
    ------
    ConfigError
        At the first value that a configuration cannot hold.
    """
    copy: dict[str, Any] = _Copy().of(config, ())
    return copy


class _Copy:
    """One copying: the containers that it is inside of, and how many values it has seen."""

    def __init__(self) -> None:
        self._inside: list[int] = []
        self._values = 0

    def of(self, value: Any, path: tuple[str, ...]) -> Any:  # noqa: ANN401 - any value
        self._values += 1
        if self._values > _VALUES:
            raise _refused(path[:1], f"more than {_VALUES} values", "write fewer aliases (`*name`)")
        if isinstance(value, (Mapping, list, tuple)):
            if id(value) in self._inside:
                raise _refused(path, "refers to itself", "write the values without an alias (`*name`)")
            if len(self._inside) == _DEPTH:
                raise _refused(path[:1], "is nested too deeply", f"use at most {_DEPTH} levels")
            self._inside.append(id(value))
            copy = self._container(value, path)
            self._inside.pop()
            return copy
        return _scalar(value, path)

    def _container(self, value: Any, path: tuple[str, ...]) -> Any:  # noqa: ANN401
        if not isinstance(value, Mapping):
            return [self.of(part, (*path, str(index))) for index, part in enumerate(value)]
        for key in value:
            if not isinstance(key, str):
                raise _refused((*path, shown(key)), "is no name of a key", "write a name, in quotes if YAML reads more")
        return {key: self.of(part, (*path, key)) for key, part in value.items()}


def _scalar(value: Any, path: tuple[str, ...]) -> Any:  # noqa: ANN401
    if value is None or isinstance(value, (str, bool)):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, int):
        if abs(value) > _LARGEST:
            raise _refused(path, f"{shown(value)} is beyond all numbers here", "give a smaller number")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _refused(path, f"{value!r} is no finite number", "give a finite number")
        return float(value)
    if isinstance(value, datetime.date):
        raise _refused(path, f"{value} is read as a date", f'put it in quotes if text is meant: "{value}"')
    if isinstance(value, (set, frozenset)):
        raise _refused(path, "a set (`!!set`) is not possible", "write a list: [a, b]")
    if isinstance(value, (bytes, bytearray)):
        raise _refused(path, "binary data (`!!binary`) are not possible", "write text")
    raise _refused(path, f"a value of type {type(value).__name__} is not possible", "write text, a number or a list")


def _refused(path: tuple[str, ...], what: str, remedy: str) -> ConfigError:
    return ConfigError(what, where=".".join(path), remedy=remedy)
