"""Compiled loops on disk are those of the sources, whatever the dates and the settings are."""

from __future__ import annotations

import ast
import os
import pickle
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from loop_checkouts import EARLIER, EDITS, FUTURE, LATER, PACKAGE, PLACES, Checkout, entries

from relufit.numerics.compiled_cache import ROOMS, _reached_digest


@pytest.fixture(params=PLACES)
def checkout(request: pytest.FixtureRequest, tmp_path: Path) -> Checkout:
    made = Checkout(tmp_path / "one")
    if request.param in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME"):
        made.environment[request.param] = str(tmp_path / "shared" / "folder")
    if request.param != "beside the sources":
        made.without_own_folder()
    return made


def test_loops_are_compiled_once_and_an_edit_is_seen_and_deletes_nothing_wherever_they_are_kept(
    checkout: Checkout, tmp_path: Path
) -> None:
    assert [checkout.norm(), checkout.norm()] == [(5.0, False), (5.0, True)]
    (folder,) = {path.parent for path in entries(tmp_path)}
    (folder / "grid._norm-1.py311.nbi").write_bytes(b"of numba's own cache")
    file, old, new, value = EDITS["a loop of another module"]
    checkout.edit(file, old, new, date=FUTURE)
    before = set(tmp_path.rglob("*"))
    checkout.run("import relufit, relufit.numerics.kernels, relufit.compression, relufit.training")
    assert set(tmp_path.rglob("*")) == before
    assert checkout.norm() == (value, False)


def test_an_edit_of_what_loops_call_is_seen_whatever_the_dates_are(own: Checkout) -> None:
    file, old, new, value = EDITS["a loop of another module"]
    assert own.norm() == (5.0, False)
    own.edit(file, old, new)
    assert own.norm() == (value, False)
    # The older file is put back, with its own date, edited again with one in the future, and then with an earlier one.
    own.edit(file, new, old, date=EARLIER)
    assert own.norm() == (5.0, True)
    own.edit(file, old, new, date=FUTURE)
    assert own.norm() == (value, True)
    own.edit(file, new, old)
    assert own.norm() == (5.0, True)


def test_an_edit_that_keeps_size_and_date_is_seen(own: Checkout) -> None:
    for file, old, _, _ in EDITS.values():
        own.edit(file, old, old)
    assert own.norm() == (5.0, False)
    for edited, (file, old, new, value) in EDITS.items():
        own.edit(file, old, new)
        assert own.norm() == (pytest.approx(value), False), edited
        own.edit(file, new, old)


def test_an_edit_while_a_process_runs_leaves_no_old_loops_behind(own: Checkout) -> None:
    file, old, new, value = EDITS["a loop of another module"]
    program = """
import sys, pathlib, numpy as np
from relufit.compression import grid
path = pathlib.Path(sys.argv[1])
path.write_text(path.read_text().replace(sys.argv[2], sys.argv[3]))
print(grid._norm(np.array([3.0, 4.0])))
"""
    assert own.run(program, own.package / file, old, new) == ["5.0"]
    assert own.norm()[0] == value


def test_older_bytecode_in_memory_does_not_become_the_loop_of_a_newer_source(own: Checkout) -> None:
    """Python runs its file of bytecode if the source has kept its date and size; that ends when it is written anew."""
    file, old, new, value = EDITS["a loop of another module"]
    own.environment["PYTHONDONTWRITEBYTECODE"] = ""
    own.edit(file, old, old)
    own.run("import relufit.numerics.kernels")
    own.edit(file, old, new, bytecode=True)
    assert own.norm()[0] == 5.0
    os.utime(own.package / file, (LATER + 1, LATER + 1))
    assert own.norm()[0] == value


def test_checkouts_that_share_a_folder_leave_each_others_loops_alone(tmp_path: Path) -> None:
    shared = {"NUMBA_CACHE_DIR": str(tmp_path / "shared")}
    one, two = Checkout(tmp_path / "one", **shared), Checkout(tmp_path / "two", **shared)
    file, old, new, value = EDITS["a loop of another module"]
    two.edit(file, old, new)
    assert [one.norm(), two.norm()] == [(5.0, False), (value, False)]
    kept = entries(tmp_path / "shared")
    assert [one.norm(), two.norm(), one.norm()] == [(5.0, True), (value, True), (5.0, True)]
    assert entries(tmp_path / "shared") == kept


def test_loops_of_versions_long_gone_are_removed_by_the_next_one_that_is_compiled(own: Checkout) -> None:
    versions = own.package / "__pycache__" / "loops"
    for number in range(9):
        (versions / f"old{number}").mkdir(parents=True)
        os.utime(versions / f"old{number}", (EARLIER + number, EARLIER + number))
    own.norm()
    names = {path.name for path in versions.iterdir()}
    assert {"old6", "old7", "old8"} < names
    assert len(names) == 4


def test_settings_of_the_compiler_have_loops_of_their_own(own: Checkout) -> None:
    program = """
import numpy as np
from relufit.numerics.kernels import descend
try:
    descend(np.zeros(2), np.zeros(2)[:1], 1.0)
except IndexError:
    print("checked")
"""
    outputs = [own.start(program, NUMBA_BOUNDSCHECK=value).communicate() for value in ("0", "1", "0", "1")]
    assert outputs == [("", ""), ("checked\n", ""), ("", ""), ("checked\n", "")]
    assert len(list((own.package / "__pycache__" / "loops").iterdir())) == 1


def test_loops_are_the_same_where_python_leaves_docstrings_out() -> None:
    """To 3.12, where the place of a docstring among the constants stays."""
    digests = []
    for words, level in (("Add one.", 0), ("Add one.", 2), ("Add.", 0)):
        made: dict[str, Any] = {"__name__": "made"}
        exec(compile(f'def add(x):\n    """{words}"""\n    return x + 1\n', "made.py", "exec", optimize=level), made)
        digests.append(_reached_digest(made["add"]))
    assert digests[0] == digests[2]
    if sys.version_info < (3, 13):
        assert digests[0] == digests[1]


def test_the_number_of_threads_and_of_cores_is_none_of_these_settings(own: Checkout) -> None:
    assert own.norm() == (5.0, False)
    assert own.norm(NUMBA_NUM_THREADS="1") == (5.0, True)


def test_a_damaged_file_is_compiled_again(own: Checkout) -> None:
    own.norm()
    for entry in entries(own.package):
        content = bytearray(entry.read_bytes())
        content[len(content) // 2] ^= 1
        entry.write_bytes(content)
    assert [own.norm(), own.norm()] == [(5.0, False), (5.0, True)]
    for entry in entries(own.package):
        entry.write_bytes(b"")
    assert own.norm() == (5.0, False)


def test_processes_that_compile_other_forms_at_the_same_time_all_keep_theirs(own: Checkout) -> None:
    program = """
import sys, numpy as np
from relufit.numerics.kernels import energy
print(energy(np.array([3.0, 4.0], sys.argv[1])), sum(energy.stats.cache_hits.values()))
"""
    for hits in ("0", "1"):
        processes = [own.start(program, kind) for kind in ("f4", "f8") * 2]
        answers = [process.communicate() for process in processes]
        assert [out.split()[0] for out, _ in answers] == ["25.0"] * 4, answers
        if hits == "1":
            assert {out.split()[1] for out, _ in answers} == {"1"}
    assert not list(own.package.rglob("*.part"))


def test_without_compilation_one_line_says_what_to_unset(own: Checkout) -> None:
    process = own.start(
        "import sys; from relufit.cli import main; sys.exit(main(['compress', '--gaussian', '9', "
        "'--compressor', 'qsgd', '--levels', '2']))",
        NUMBA_DISABLE_JIT="1",
    )
    out, err = process.communicate()
    assert (process.returncode, out) == (2, "")
    assert err == (
        "relufit: error: NUMBA_DISABLE_JIT: is set, but the loops of relufit run only compiled; "
        "unset it: `unset NUMBA_DISABLE_JIT`\n"
    )


@cache
def _modules_with_loops() -> dict[Path, ast.Module]:
    # The handler of signals in `mapped` is compiled anew in each process.
    trees = _parse([path for path in PACKAGE.rglob("*.py") if path.name != "mapped.py"])
    return {path: tree for path, tree in trees.items() if any(map(_is_about_loops, ast.walk(tree)))}


_PARSING = """
import ast, pathlib, pickle, sys
trees = {path: ast.parse(path.read_text()) for path in map(pathlib.Path, sys.argv[1:])}
sys.stdout.buffer.write(pickle.dumps(trees))
"""


def _parse(paths: list[Path]) -> dict[Path, ast.Module]:
    """Parse in a process of its own: in Python 3.11 threads that parse at the same time disturb each other."""
    done = subprocess.run([sys.executable, "-c", _PARSING, *map(str, paths)], capture_output=True, check=True)
    trees: dict[Path, ast.Module] = pickle.loads(done.stdout)
    return trees


def _is_about_loops(node: ast.AST) -> bool:
    names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
    names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
    return any(
        name.split(".")[0] in ("numba", "llvmlite") or name == "relufit.numerics.compiled_cache" for name in names
    )


def test_every_module_with_loops_and_all_that_loops_use_is_part_of_the_digest() -> None:
    modules = _modules_with_loops()
    assert len(modules) > 10
    for path, tree in modules.items():
        relative = path.relative_to(PACKAGE)
        assert relative.parts[0] in ROOMS or relative.as_posix() in ROOMS
        origins = {
            alias.asname or alias.name: node.module
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("relufit.")
            for alias in node.names
        }
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef) and "compiled" in map(ast.unparse, function.decorator_list):
                used = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
                rooms = {origins[name].split(".")[1] for name in used & set(origins)}
                assert rooms <= {room.removesuffix(".py") for room in ROOMS}


def test_all_loops_are_kept_by_this_cache() -> None:
    for path, tree in _modules_with_loops().items():
        if path.name != "compiled_cache.py":
            called = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, (ast.Name, ast.Attribute))}
            assert not called & {"njit", "jit", "numba.njit", "numba.jit", "cfunc", "vectorize", "guvectorize"}
