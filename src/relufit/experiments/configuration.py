"""The whole configuration: the keys of a run, its cluster, and the section of each experiment; loaded and checked."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, create_model

from relufit.clusters.section import ClusterSection
from relufit.errors import shown
from relufit.experiments import CATALOGUE
from relufit.files.paths import absolute
from relufit.pipeline.config import Config, read
from relufit.pipeline.config_values import plain
from relufit.schema import Distinct, Integer, Matching, Section, Text, checked, json_schema, refused

#: Bytes of a name of a file, and of a path, that leave room for endings and for temporary names beside it.
_LONGEST_NAME, _LONGEST_PATH = 200, 2000


def _at_home(path: str) -> str:
    return str(absolute(path)) if path.startswith("~") else path


def _check_path(path: str) -> str:
    """Check that a path can be part of the rules of a workflow, and of the names of files."""
    if braces := sorted(set("{}") & set(path)):
        what = f"{shown(path)} has {' and '.join(braces)}, which rules of a workflow read as patterns"
        raise refused(what, "choose another name")
    if not path.isprintable():
        raise refused(f"{shown(path)} has characters that cannot be printed", "leave them out")
    longest = max(len(part.encode()) for part in path.split("/"))
    if len(path.encode()) > _LONGEST_PATH:
        raise refused(f"a path of {len(path.encode())} bytes", f"use at most {_LONGEST_PATH}")
    if longest > _LONGEST_NAME:
        raise refused(f"{shown(path)} has a part of {longest} bytes", f"use at most {_LONGEST_NAME}")
    return path


_Run = Annotated[
    str,
    Field(max_length=100),
    AfterValidator(_check_path),
    Matching(
        "[A-Za-z0-9][A-Za-z0-9._-]*",
        "must be letters, digits, '.', '_' and '-', and not begin with the last three",
    ),
]
_Bucket = Annotated[str, Matching("s3://.*", "must begin with s3://"), AfterValidator(_check_path)]


class _General(Section):
    """Configuration of a run."""

    run: _Run = Field(description="name of the run; everything goes to the folder of this name below `results`")
    results: Annotated[Text, AfterValidator(_at_home), AfterValidator(_check_path)] = Field(
        description="folder of all runs"
    )
    data: _Bucket | None = Field(
        default=None, description="where data sets go, such as s3://bucket/prefix; null for the folder of the run"
    )
    seed: Annotated[Integer, Field(ge=0, le=2**63 - 1)] = Field(
        description="every random number of every experiment follows from it"
    )
    experiments: Distinct[str] = Field(min_length=1, description="what is run, in this order")
    cluster: ClusterSection = Field(description="where ranks run that exchange bytes")


@cache
def model() -> type[Section]:
    """Return the model of the whole configuration: the keys of a run, and a section of each experiment."""
    names = Distinct[Literal[tuple(CATALOGUE)]]  # type: ignore[misc,valid-type]
    fields: dict[str, Any] = {"experiments": (names, _General.model_fields["experiments"])}
    for name, section in CATALOGUE.sections().items():
        fields[name] = (section, Field(description=(section.__doc__ or "").rstrip(".")))
    return create_model("Configuration", __base__=_General, **fields)


def load(paths: Iterable[str | os.PathLike[str]]) -> Config:
    """Return the checked configuration of some YAML files, later ones merged over earlier ones.

    Raises
    ------
    ConfigError
        If a file cannot be read, or the result is not a valid configuration.
    """
    return check(read(paths))


def check(config: Config) -> Config:
    """Return a copy of `config` in which numbers written as text are numbers, after a check of everything.

    YAML and the command line read ``1e-3`` as text; wherever a number is wanted, such text becomes one.

    Raises
    ------
    ConfigError
        At the first key that is unknown, missing, of a wrong type or impossible.
    """
    return checked(model(), plain(config))


def schema() -> dict[str, Any]:
    """Return the JSON schema of the whole configuration, for editors and readers."""
    return json_schema(model())
