"""The configuration: merged from files, numbers made numbers, checked against the schema and for sense."""

from __future__ import annotations

import difflib
import json
import math
import os
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from relufit.errors import ConfigError

Config = dict[str, Any]


def load(paths: Iterable[str | os.PathLike[str]]) -> Config:
    """Return the checked configuration of some YAML files, later ones merged over earlier ones.

    Raises
    ------
    ConfigError
        If a file cannot be read, or the result is not a valid configuration.
    """
    return check(_read(paths))


def load_section(paths: Iterable[str | os.PathLike[str]], name: str) -> Config:
    """Return one checked section of some YAML files, which need not have any other.

    Raises
    ------
    ConfigError
        If a file cannot be read, has no such section, or the section is not valid.
    """
    config = {name: _read(paths).get(name)}
    if config[name] is None:
        raise ConfigError("missing", where=name, remedy=f"add a section `{name}:`")
    schema = _schema()
    return _checked(config, {**schema, "required": [name]})[name]  # type: ignore[no-any-return]


def _read(paths: Iterable[str | os.PathLike[str]]) -> Config:
    """Return the content of some YAML files, later ones merged over earlier ones."""
    config: Config = {}
    for path in paths:
        try:
            content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(
                f"cannot be read ({error.strerror})", where=str(path), remedy="give a YAML file"
            ) from error
        except yaml.YAMLError as error:
            raise ConfigError(f"is not YAML ({error})".replace("\n", " "), where=str(path), remedy="mend it") from error
        if not isinstance(content, dict):
            raise ConfigError("holds no keys", where=str(path), remedy="give a YAML mapping such as `seed: 7`")
        _merge(config, content)
    return config


def check(config: Config) -> Config:
    """Return a copy of `config` in which numbers written as text are numbers, after a check of everything.

    YAML and the command line read ``1e-3`` as text; wherever the schema wants a number, such text becomes one.

    Raises
    ------
    ConfigError
        At the first key that is unknown, missing, of a wrong type or impossible.
    """
    checked = _checked(config, _schema())
    _check_sense(checked)
    return checked


def _checked(config: Config, schema: dict[str, Any]) -> Config:
    """Return a copy of `config` with its numbers made numbers, after a check against a schema."""
    import jsonschema

    # Through JSON, so that no part of the caller's mapping is shared or of an odd type.
    checked: Config = _numbers(json.loads(json.dumps(config)), schema, schema)
    errors = sorted(jsonschema.Draft202012Validator(schema).iter_errors(checked), key=lambda e: list(map(str, e.path)))
    if errors:
        raise _explain(errors[0])
    return checked


def cluster(kind: str, options: str) -> Config:
    """Return the section ``cluster`` of one kind, with options written as a YAML mapping, braces or not; checked.

    Raises
    ------
    ConfigError
        If `options` is no mapping, or not possible for that kind.
    """
    try:
        content = yaml.safe_load(options if options.lstrip().startswith("{") else f"{{{options}}}")
    except yaml.YAMLError as error:
        raise ConfigError(
            f"{options!r} is not YAML", where="cluster options", remedy="write `key: value, key: value`"
        ) from error
    if not content:
        return {"kind": kind}
    section: Config = _checked({"cluster": {"kind": kind, kind: content}}, {**_schema(), "required": ["cluster"]})[
        "cluster"
    ]
    return section


def _schema() -> dict[str, Any]:
    text = resources.files("relufit").joinpath("schemas", "config.schema.yaml").read_text(encoding="utf-8")
    schema: dict[str, Any] = yaml.safe_load(text)
    return schema


def _merge(base: Config, over: Config) -> None:
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        else:
            base[key] = value


def _numbers(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> Any:  # noqa: ANN401 - any JSON value
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rsplit("/", 1)[1]]
    if isinstance(value, dict):
        known, other = schema.get("properties", {}), schema.get("additionalProperties") or {}
        return {key: _numbers(its, known.get(key, other), root) for key, its in value.items()}
    if isinstance(value, list):
        return [_numbers(its, schema.get("items", {}), root) for its in value]
    kinds = schema.get("type", [])
    if isinstance(value, str) and {"number", "integer"} & set([kinds] if isinstance(kinds, str) else kinds):
        return _number(value, whole="number" not in kinds)
    if isinstance(value, float) and kinds == "integer" and value.is_integer():
        return int(value)
    return value


def _number(text: str, *, whole: bool) -> Any:  # noqa: ANN401 - a number, or the text it was
    try:
        number = float(text)
    except ValueError:
        return text
    if not math.isfinite(number):
        return text
    if whole and number.is_integer():
        return int(text) if text.lstrip("+-").isdigit() else int(number)
    return number


def _explain(error: Any) -> ConfigError:  # noqa: ANN401 - jsonschema's errors
    where = ".".join(str(part) for part in error.absolute_path)
    if error.validator == "additionalProperties":
        known = list(error.schema["properties"])
        unknown = next(key for key in error.instance if key not in known)
        close = difflib.get_close_matches(str(unknown), known, 1)
        remedy = f"did you mean {close[0]!r}?" if close else f"the keys here are {', '.join(known)}"
        return ConfigError("unknown key", where=".".join(filter(None, [where, str(unknown)])), remedy=remedy)
    if error.validator == "required":
        missing = next(key for key in error.validator_value if key not in error.instance)
        return ConfigError("missing", where=".".join(filter(None, [where, missing])), remedy="add it")
    value = error.validator_value
    wanted = {
        "type": f"must be of type {value}",
        "enum": f"must be one of {', '.join(map(str, value)) if isinstance(value, list) else value}",
        "minimum": f"must be at least {value}",
        "maximum": f"must be at most {value}",
        "exclusiveMinimum": f"must be above {value}",
        "exclusiveMaximum": f"must be below {value}",
        "minItems": "must have at least one entry",
        "uniqueItems": "must not repeat an entry",
        "pattern": "must be letters, digits, '.', '_' and '-', and not begin with the last three",
    }
    remedy = wanted.get(error.validator, error.message)
    return ConfigError(f"{error.instance!r} is not possible", where=where, remedy=f"it {remedy}")


def _check_sense(config: Config) -> None:
    """Check what relates several keys."""
    for name in config["experiments"]:
        section = config[name]
        for run in section.get("runs", [{}]):
            _check_sizes(name, {**section, **run})
        for part in section.get("methods", []):
            _check_grid(f"{name}.{part}", section["dimensions"], section[part])


def _check_sizes(name: str, section: Config) -> None:
    """Check the least batch and number of rows of a section against its largest number of ranks."""
    batches, workers = _each(section, "mini_batch", "mini_batches"), max(_each(section, "workers") or [1])
    sizes = _each(section, "dimension", "dimensions"), _each(section, "ratio", "ratios")
    if not (batches and all(sizes)):
        return
    rows, batch = int(min(sizes[0]) * min(sizes[1])), min(batches)
    where = f"{name}.{'mini_batch' if 'mini_batch' in section else 'mini_batches'}"
    size = -(-rows // workers)
    if workers > rows or size * (workers - 1) >= rows:
        raise ConfigError(
            f"{workers} ranks for {rows} rows",
            where=f"{name}.workers",
            remedy="use fewer workers or more rows",
        )
    if batch < workers:
        raise ConfigError(f"{batch} samples for {workers} ranks", where=where, remedy="give each rank at least one")
    without = "reshuffled" in _each(section, "sampling", "samplings")
    if without and -(-batch // workers) > rows - size * (workers - 1):
        raise ConfigError(
            f"{batch} samples without replacement from {rows} rows on {workers} ranks",
            where=where,
            remedy="use at most the rows there are, or sample with_replacement",
        )


def _check_grid(name: str, dimensions: list[int], part: Config) -> None:
    """Check that a grid over dimensions and ratios has a number of trials for each of the former, and no cell twice."""
    if len(part["trials"]) != len(dimensions):
        raise ConfigError(
            f"{len(part['trials'])} numbers of trials for {len(dimensions)} dimensions",
            where=f"{name}.trials",
            remedy="give one for each",
        )
    for d in dimensions:
        if len({round(ratio * d) for ratio in part["ratios"]}) < len(part["ratios"]):
            raise ConfigError(
                f"two of {part['ratios']} are the same number of samples in {d} dimensions",
                where=f"{name}.ratios",
                remedy="put them farther apart",
            )


def _each(section: Config, *keys: str) -> list[Any]:
    """Return all values that a section has under some keys, one or a list each."""
    found = [section[key] for key in keys if key in section]
    return [value for its in found for value in (its if isinstance(its, list) else [its])]
