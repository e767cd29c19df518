"""The imports are held against what docs/architecture.md says."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "src" / "relufit"
#: Rooms from the top down; each may import only from rooms below it.
FLOORS = [
    {"cli"},
    {"experiments", "report"},
    {"training", "solvers", "clusters", "figures", "planning"},
    {"claims", "records", "reuse", "manifest", "config"},
    {"dataset", "transport"},
    {"compression", "planted"},
    {"theory", "kernels"},
    {"stores"},
    {"simd", "streams", "files"},
    {"errors", "loops", "remaining"},
]
LEVEL = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
WITHOUT_DASK = {"planted", "theory", "compression", "claims", "figures", "report", "planning"}


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


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
