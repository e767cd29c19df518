"""What the parts of the configuration are described with: models, types of values, messages, and a JSON schema.

Each part of the configuration belongs to the module that it configures. That module describes it in a `Section`, which
has its keys, their types and bounds, what relates several of them, and a sentence for each key.
"""

from relufit.schema.json_schema import json_schema
from relufit.schema.messages import refused, unlike
from relufit.schema.section import Section, checked
from relufit.schema.values import (
    LEFT_OUT,
    Distinct,
    Flag,
    Integer,
    Matching,
    Number,
    OrNull,
    Positive,
    Text,
    Tolerance,
    Whole,
)

__all__ = [
    "LEFT_OUT",
    "Distinct",
    "Flag",
    "Integer",
    "Matching",
    "Number",
    "OrNull",
    "Positive",
    "Section",
    "Text",
    "Tolerance",
    "Whole",
    "checked",
    "json_schema",
    "refused",
    "unlike",
]
