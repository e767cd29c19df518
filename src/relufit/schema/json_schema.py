"""A model as a JSON schema, for editors and readers; nothing is validated with it."""

from __future__ import annotations

from typing import Any

from relufit.schema.section import Section

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_KEYWORDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
#: Of the models' Python names, and of what nobody would write down.
_LEFT_OUT = {"title", "$defs"}


def json_schema(model: type[Section]) -> dict[str, Any]:
    """Return the JSON schema of a section, without references: every key stands with all that is known of it."""
    whole = model.model_json_schema()
    return {"$schema": DIALECT, **_plain(whole, whole.get("$defs", {}))}


def _plain(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    schema = dict(schema)
    if "$ref" in schema:
        schema = definitions[schema.pop("$ref").rpartition("/")[2]] | schema
    if "anyOf" in schema:
        schema = _nullable(schema, definitions)
    plain = {_KEYWORDS.get(key, key): value for key, value in schema.items() if key not in _LEFT_OUT}
    if plain.get("type") == "array":
        plain = {key.replace("Length", "Items"): value for key, value in plain.items()}
    if plain.get("default", 0) is None:
        del plain["default"]
    if "items" in plain:
        plain["items"] = _plain(plain["items"], definitions)
    if isinstance(plain.get("additionalProperties"), dict):
        plain["additionalProperties"] = _plain(plain["additionalProperties"], definitions)
    if "properties" in plain:
        plain["properties"] = {key: _plain(subschema, definitions) for key, subschema in plain["properties"].items()}
        plain.setdefault("additionalProperties", False)
    order = ("description", "type", "additionalProperties", "required", "properties")
    return {key: plain[key] for key in (*order, *plain) if key in plain}


def _nullable(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a value that may be null with both of its types in one."""
    (value,) = [_plain(subschema, definitions) for subschema in schema["anyOf"] if subschema.get("type") != "null"]
    others = {key: entry for key, entry in schema.items() if key != "anyOf"}
    return value | others | {"type": [value["type"], "null"]}
