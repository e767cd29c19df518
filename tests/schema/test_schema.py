"""Sections of a configuration: what their models accept, what they return, and what they say to mistakes."""

from __future__ import annotations

import math
import pickle
from typing import Annotated, Any, ClassVar, Literal, Self

import pytest
from pydantic import Field, model_validator

from relufit.errors import ConfigError
from relufit.schema import (
    LEFT_OUT,
    Distinct,
    Flag,
    Integer,
    Matching,
    Number,
    OrNull,
    Section,
    Text,
    Whole,
    checked,
    json_schema,
    refused,
)


class Inner(Section):
    """A cell."""

    WHERE: ClassVar[str] = "inner"

    size: Whole = Field(description="how large")
    part: Whole = 1

    @model_validator(mode="after")
    def _check_part(self) -> Self:
        if self.part > self.size:
            raise refused(f"{self.part} of {self.size}", "take less", "part")
        return self


class Outer(Section):
    """Everything."""

    cells: Distinct[Inner] = Field(min_length=1, description="the cells")
    rate: Number = Field(ge=0, lt=10, default=1)
    bucket: Annotated[Whole | None, OrNull] = None
    kind: Literal["one", "two"] = "one"
    flag: Flag = False
    name: Annotated[str, Matching("[a-z]+", "must be small letters")] = "a"
    note: Text = Field(default=LEFT_OUT, max_length=3, description="a remark")
    prices: dict[str, Number] = Field(default_factory=dict)
    bounds: tuple[Integer, ...] = Field(default=(1, 2), min_length=2, max_length=2)


CELLS = [{"size": 3}]


def test_the_copy_has_the_keys_that_were_given_in_their_order_and_numbers_in_place_of_text() -> None:
    given = {"prices": {"b": "1e-3", "a": 2}, "rate": "5e-1", "cells": [{"part": "2", "size": 3.0}], "bucket": None}
    copy = checked(Outer, given)
    assert copy == {"prices": {"b": 1e-3, "a": 2}, "rate": 0.5, "cells": [{"part": 2, "size": 3}], "bucket": None}
    assert (list(copy), list(copy["prices"]), list(copy["cells"][0])) == (list(given), ["b", "a"], ["part", "size"])
    assert type(copy["cells"][0]["size"]) is int
    assert copy["prices"] is not given["prices"]


@pytest.mark.parametrize(("number", "kind"), [(3, int), (3.0, float), ("3", float)])
def test_a_number_stays_the_whole_number_that_it_is(number: object, kind: type) -> None:
    rate = checked(Outer, {"cells": CELLS, "rate": number})["rate"]
    assert (rate, type(rate)) == (3, kind)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"cels": []}, "cels: unknown key; did you mean 'cells'?"),
        ({"moon": 1}, "moon: unknown key; the keys here are cells, rate, bucket"),
        ({"cells": [{"sise": 3}]}, "cells.0.sise: unknown key; did you mean 'size'?"),
        ({"cells": [{"part": 3}]}, "cells.0.size: missing; add it"),
        ({"cells": [{"size": 2}, {"size": 2, "part": 3}]}, "cells.1.part: 3 of 2; take less"),
        ({"cells": [{"size": 2}, {"size": "2"}]}, "cells: [{'size': 2}, {'size': '2'}] is not possible; it must not"),
        ({"cells": []}, "cells: [] is not possible; it must have at least one entry"),
        ({"cells": [{"size": 0}]}, "cells.0.size: 0 is not possible; it must be at least 1"),
        ({"cells": [{"size": True}]}, "cells.0.size: True is not possible; it must be of type integer"),
        ({"cells": [{"size": "2.5"}]}, "cells.0.size: '2.5' is not possible; it must be of type integer"),
        ({"cells": {"size": 2}}, "cells: {'size': 2} is not possible; it must be of type array"),
        ({"cells": [2]}, "cells.0: 2 is not possible; it must be of type object"),
        ({"rate": True}, "rate: True is not possible; it must be of type number"),
        ({"rate": math.inf}, "rate: inf is not possible; it must be of type number"),
        ({"rate": "1e400"}, "rate: '1e400' is not possible; it must be of type number"),
        ({"rate": -0.5}, "rate: -0.5 is not possible; it must be at least 0"),
        ({"rate": 10}, "rate: 10 is not possible; it must be below 10"),
        ({"rate": None}, "rate: None is not possible; it must be of type number"),
        ({"bucket": "many"}, "bucket: 'many' is not possible; it must be of type integer or null"),
        ({"bucket": 0}, "bucket: 0 is not possible; it must be at least 1"),
        ({"kind": "three"}, "kind: 'three' is not possible; it must be one of one, two"),
        ({"flag": 1}, "flag: 1 is not possible; it must be of type boolean"),
        ({"flag": "yes"}, "flag: 'yes' is not possible; it must be of type boolean"),
        ({"name": "a\n"}, "name: 'a\\n' is not possible; it must be small letters"),
        ({"note": None}, "note: None is not possible; it must be of type string"),
        ({"note": ""}, "note: '' is not possible; it must not be empty"),
        ({"note": "long"}, "note: 'long' is not possible; it must have at most 3 characters"),
        ({"note": 7}, 'note: 7 is not possible; it must be text: put it in quotes, `note: "7"`'),
        ({"prices": {"a": "b"}}, "prices.a: 'b' is not possible; it must be of type number"),
        ({"prices": 3}, "prices: 3 is not possible; it must be of type object"),
        ({"bounds": [1]}, "bounds: [1] is not possible; it must have at least 2 entries"),
        ({"bounds": [1, 2, 3]}, "bounds: [1, 2, 3] is not possible; it must have at most 2 entries"),
    ],
)
def test_a_mistake_is_one_line_with_its_path_and_the_remedy(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        checked(Outer, {"cells": CELLS, **change})
    assert str(caught.value).startswith(says)
    assert caught.value.remedy


def test_of_several_mistakes_the_unknown_key_comes_before_the_missing_one_that_it_was_meant_to_be() -> None:
    with pytest.raises(ConfigError, match=r"cells\.0\.siz: unknown key; did you mean 'size'"):
        checked(Outer, {"cells": [{"siz": 3, "part": 0}], "rate": -1})


def test_a_section_that_is_made_by_hand_is_checked_too_and_named_by_its_key() -> None:
    assert Inner(size=3) == Inner(size=3, part=1)
    assert pickle.loads(pickle.dumps(Inner(size=3))) == Inner(size=3)
    with pytest.raises(ConfigError, match=r"^inner\.size: 0 is not possible"):
        Inner(size=0)
    with pytest.raises(ConfigError, match=r"^inner\.part: 4 of 3; take less"):
        Inner.read({"size": 3, "part": 4})
    with pytest.raises(ConfigError, match=r"^inner\.siz: unknown key; did you mean 'size'"):
        Inner.read({"siz": 3})


def test_the_json_schema_has_every_bound_and_description_where_its_key_is() -> None:
    schema = json_schema(Outer)
    assert schema["required"] == ["cells"]
    assert schema["additionalProperties"] is False
    assert "$ref" not in str(schema)
    keys = schema["properties"]
    assert keys["cells"] == {
        "description": "the cells",
        "type": "array",
        "items": {
            "description": "A cell.",
            "type": "object",
            "additionalProperties": False,
            "required": ["size"],
            "properties": {
                "size": {"description": "how large", "type": "integer", "minimum": 1},
                "part": {"type": "integer", "minimum": 1, "default": 1},
            },
        },
        "minItems": 1,
        "uniqueItems": True,
    }
    assert keys["rate"] == {"type": "number", "default": 1, "minimum": 0, "exclusiveMaximum": 10}
    assert keys["bucket"] == {"type": ["integer", "null"], "minimum": 1}
    assert keys["note"] == {"description": "a remark", "type": "string", "maxLength": 3, "minLength": 1}
    assert keys["name"]["pattern"] == "^[a-z]+$"
