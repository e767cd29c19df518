"""The imports are held against what docs/architecture.md says."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from relufit.exchange import EXCHANGES

PACKAGE = Path(__file__).parent.parent / "src" / "relufit"
#: Rooms from the top down; each may import only from rooms below it.
FLOORS = [
    {"cli"},
    {"doctor"},
    {"experiments", "report", "testing"},
    {"training", "solvers", "clusters", "figures", "planning"},
    {"pipeline"},
    {"transport"},
    {"planted", "compression", "exchange"},
    {"theory", "claims"},
    {"numerics", "sources"},
    {"files", "streams", "schema", "terminal"},
    {"errors", "instance_types", "interrupts", "parameters"},
]
LEVEL = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
WITHOUT_DASK = {"planted", "theory", "compression", "exchange", "claims", "figures", "report", "planning"}


def _imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _rooms() -> list[tuple[str, Path]]:
    files = [(path.relative_to(PACKAGE).parts[0].removesuffix(".py"), path) for path in PACKAGE.rglob("*.py")]
    return sorted((room, path) for room, path in files if room != "__init__")


@pytest.mark.parametrize(("room", "path"), _rooms(), ids=lambda value: str(value).rpartition("relufit/")[2])
def test_a_room_uses_only_rooms_below_it(room: str, path: Path) -> None:
    used = {name.split(".")[1] for name in _imports(path) if name.startswith("relufit.")} & set(LEVEL)
    assert room in LEVEL, f"{room} has no floor yet"
    same_or_above = {other for other in used - {room} if LEVEL[other] <= LEVEL[room]}
    assert not same_or_above


@pytest.mark.parametrize(("room", "path"), _rooms(), ids=lambda value: str(value).rpartition("relufit/")[2])
def test_what_is_not_about_clusters_knows_no_dask(room: str, path: Path) -> None:
    if room in WITHOUT_DASK:
        assert not {name for name in _imports(path) if name.split(".")[0] in ("dask", "distributed")}


def test_no_import_of_a_module_loads_a_part_of_scipy() -> None:
    # scipy loads a part when it is first asked for; a process that asks for none begins earlier.
    loading = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Import):
                loading |= {(path.name, alias.name) for alias in node.names if alias.name.startswith("scipy.")}
            elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "scipy":
                loading.add((path.name, str(node.module)))
    assert not loading


def _names_exchanges(node: ast.AST) -> bool:
    """Tell whether an expression lists exchanges by name, compares with one, or is the name of one."""
    if isinstance(node, ast.Compare):
        return bool(_texts(node) & set(EXCHANGES))
    if isinstance(node, (ast.Dict, ast.List, ast.Tuple, ast.Set)):
        return len(_texts(node) & set(EXCHANGES)) > 1
    # The master of a run is so called in every exchange.
    return isinstance(node, ast.Constant) and node.value in set(EXCHANGES) - {"master"}


def _texts(node: ast.AST) -> set[str]:
    """Return the strings that are operands or items of an expression, or items of its operands."""
    texts = set[str]()
    for part in ast.iter_child_nodes(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            texts.add(part.value)
        elif isinstance(part, (ast.List, ast.Tuple, ast.Set)):
            texts |= _texts(part)
    return texts


def _lines_with_exchanges(source: str) -> set[int]:
    return {getattr(node, "lineno", 0) for node in ast.walk(ast.parse(source)) if _names_exchanges(node)}


@pytest.mark.parametrize(
    "source",
    [
        'if exchange == "master": pass',
        'if "master" != exchange: pass',
        'if exchange in ("master",): pass',
        'copies = {"master": 1, "relay": 2}',
        'ways = ("master", "relay")',
        'way = "all_gather"',
    ],
)
def test_a_list_of_exchanges_is_found(source: str) -> None:
    assert _lines_with_exchanges(source) == {1}


#: A model of the configuration imports nothing that takes long; its names are held equal to the registry below.
_MODEL = PACKAGE / "experiments" / "framework" / "keys.py"
_OUTSIDE = [pair for pair in _rooms() if pair[0] != "exchange" and pair[1] != _MODEL]


@pytest.mark.parametrize(("room", "path"), _OUTSIDE, ids=lambda value: str(value).rpartition("relufit/")[2])
def test_only_the_registry_lists_the_exchanges(room: str, path: Path) -> None:
    assert not _lines_with_exchanges(path.read_text())


def _choices(schema: Any) -> Iterator[list[Any]]:
    """Yield every list of values that a schema lets choose from."""
    for key, value in schema.items() if isinstance(schema, dict) else enumerate(schema):
        if key == "enum":
            yield value
        elif isinstance(value, (dict, list)):
            yield from _choices(value)


def test_the_schema_has_the_exchanges_of_the_registry() -> None:
    schema = yaml.safe_load((PACKAGE.parent.parent / "workflow" / "schemas" / "config.schema.yaml").read_text())
    matches = [choices for choices in _choices(schema) if set(EXCHANGES) & set(map(str, choices))]
    replicating = [name for name, exchange in EXCHANGES.items() if exchange.replicas]
    assert {tuple(choices) for choices in matches} == {tuple(EXCHANGES), tuple(replicating)}
