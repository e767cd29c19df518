"""Loops on disk are never older than the sources that they were compiled from."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import relufit
from relufit.loops import ROOMS, forget_stale


def _file(path: Path, age: int) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("")
    os.utime(path, ns=(10**18 - age, 10**18 - age))
    return path


def test_loops_older_than_any_source_are_forgotten_and_newer_ones_kept(tmp_path: Path) -> None:
    _file(tmp_path / "a.py", 500)
    _file(tmp_path / "deeper" / "b.py", 100)
    old = _file(tmp_path / "__pycache__" / "a.old.nbi", 400)
    new = _file(tmp_path / "__pycache__" / "a.new.nbi", 50)
    forget_stale(tmp_path, ["a.py", "deeper"])
    assert not old.exists()
    assert new.exists()


def test_an_edit_of_a_callee_reaches_a_caller_in_another_module(tmp_path: Path, run_python: Callable[..., str]) -> None:
    package = tmp_path / "loops_of_two"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from pathlib import Path\nfrom relufit.loops import forget_stale\n"
        "forget_stale(Path(__file__).parent, ['outer.py', 'inner.py'])\n"
    )
    decorated = "from numba import njit\n{}\n@njit(cache=True)\ndef {}():\n    return {}\n"
    (package / "outer.py").write_text(decorated.format("from loops_of_two.inner import inner", "outer", "inner()"))
    program = "from loops_of_two.outer import outer; print(outer())"
    for answer in ("1", "2"):
        (package / "inner.py").write_text(decorated.format("", "inner", answer))
        assert run_python(program, PYTHONPATH=str(tmp_path)).strip() == answer


def test_every_module_with_loops_is_watched() -> None:
    package = Path(relufit.__file__).parent
    compiled = [path for path in package.rglob("*.py") if "import njit" in path.read_text()]
    rooms = {path.relative_to(package).parts[0] for path in compiled}
    assert rooms <= set(ROOMS)
    assert len(compiled) > 5
