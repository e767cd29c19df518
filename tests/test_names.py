"""Names of the package's modules, classes and functions, wherever a text or a docstring gives them, exist."""

from __future__ import annotations

import dataclasses
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
#: In back quotes like a name of Python, and none: a group of entry points, a key of Parquet files.
OTHER = {"relufit.compressors", "relufit.sha256", "relufit.sbatch"}
PAGES = [ROOT / "README.md", ROOT / "results/README.md", *sorted((ROOT / "docs").glob("*.md"))]
SOURCES = [
    path
    for folder, pattern in (("src", "*.py"), ("tests", "*.py"), ("benchmarks", "*.py"), ("workflow", "*.rst"))
    for path in sorted((ROOT / folder).rglob(pattern))
]


def exists(name: str) -> bool:
    """Tell whether a dotted name is a module, or what a module or a class has."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            module = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        return _has(module, parts[length:])
    return False


def _has(owner: object, attributes: list[str]) -> bool:
    for attribute in attributes:
        fields = {field.name for field in dataclasses.fields(owner)} if dataclasses.is_dataclass(owner) else set()
        if attribute in fields | set(getattr(owner, "__annotations__", {})):
            return True
        if not hasattr(owner, attribute):
            return False
        owner = getattr(owner, attribute)
    return True


def named(text: str) -> set[str]:
    return set(re.findall(r"`~?(relufit(?:\.\w+)+)(?:\([^`]*\))?`", text)) - OTHER


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_every_name_on_a_page_exists(path: Path) -> None:
    assert [name for name in sorted(named(path.read_text())) if not exists(name)] == []


def test_every_name_in_the_sources_exists() -> None:
    mentions = {(path.relative_to(ROOT).as_posix(), name) for path in SOURCES for name in named(path.read_text())}
    assert len(mentions) > 20
    assert [(path, name) for path, name in sorted(mentions) if not exists(name)] == []


def test_what_does_not_exist_is_noticed() -> None:
    assert exists("relufit.theory.iterations_fixed")
    assert exists("relufit.claims.verdict.Verdict.least")
    assert not exists("relufit.theory.iterations_guessed")
    assert not exists("relufit.nowhere.at_all")
