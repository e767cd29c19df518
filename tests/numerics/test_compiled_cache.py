"""Compiled loops on disk are those of the sources, whatever the dates, the folder and the settings are."""

from __future__ import annotations

import ast
import hashlib
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import relufit
from relufit.numerics.compiled_cache import ROOMS

_PACKAGE = Path(relufit.__file__).parent
#: Prints the norm of (3, 4) by a loop that calls another one in another module.
_NORM = """
import numpy as np
from relufit.compression import grid
print(grid._norm(np.array([3.0, 4.0])), sum(grid._norm.stats.cache_hits.values()))
"""
#: Edits that leave the size of the file as it is, and what the program prints afterwards.
_EDITS = {
    "a loop of another module": (
        "numerics/kernels.py",
        "total = 0.0\n    for start",
        "total = 7.0\n    for start",
        32**0.5,
    ),
    "emitted instructions": (
        "numerics/simd/dots.py",
        "zero = constant(DOUBLE, _WIDTH, 0.0)",
        "zero = constant(DOUBLE, _WIDTH, 1.0)",
        41**0.5,
    ),
    "a constant": ("compression/grid.py", "_SMALL, _LARGE = 1e-250, 1e250", "_SMALL, _LARGE = 1e-250, 1e+01", 5.0),
}
_LATER, _EARLIER, _FUTURE = 1_700_000_000, 1_600_000_000, 4_000_000_000


class Checkout:
    """A copy of the package, and where its loops are kept."""

    def __init__(self, root: Path, **environment: str) -> None:
        self.root = root
        self.package = root / "relufit"
        self.home = root.parent / "home"
        self.home.mkdir(exist_ok=True)
        shutil.copytree(_PACKAGE, self.package, ignore=shutil.ignore_patterns("__pycache__"))
        self.environment = environment

    def without_own_folder(self) -> None:
        """Have no room for loops beside the sources, for root neither."""
        (self.package / "__pycache__").mkdir()
        (self.package / "__pycache__" / "loops").write_text("a file")

    def start(self, program: str = _NORM, *arguments: object, **environment: str) -> subprocess.Popen[str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA_", "XDG_"))}
        mine = {"PYTHONPATH": str(self.root), "HOME": str(self.home), "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.Popen(
            [sys.executable, "-c", program, *map(str, arguments)],
            env={**inherited, **mine, **self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.home,
        )

    def run(self, program: str = _NORM, *arguments: object, **environment: str) -> list[str]:
        process = self.start(program, *arguments, **environment)
        out, err = process.communicate()
        assert process.returncode == 0, err
        return out.split()

    def norm(self, **environment: str) -> tuple[float, bool]:
        """Return what the loop says, and whether it came from the disk."""
        value, hits = self.run(**environment)
        return float(value), hits != "0"

    def edit(self, file: str, old: str, new: str, date: int = _LATER) -> None:
        path = self.package / file
        text = path.read_text()
        assert text.count(old) == 1
        path.write_text(text.replace(old, new))
        os.utime(path, (date, date))


@pytest.fixture(params=["beside the sources", "NUMBA_CACHE_DIR", "the user's home", "XDG_CACHE_HOME"])
def checkout(request: pytest.FixtureRequest, tmp_path: Path) -> Checkout:
    made = Checkout(tmp_path / "one")
    if request.param in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME"):
        made.environment[request.param] = str(tmp_path / "shared" / "folder")
    if request.param != "beside the sources":
        made.without_own_folder()
    return made


@pytest.fixture
def own(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "one")


def _entries(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_ino for path in folder.rglob("*.loop")}


def test_loops_are_compiled_once_and_an_edit_of_what_they_call_is_seen_wherever_they_are_kept(
    checkout: Checkout,
) -> None:
    assert [checkout.norm(), checkout.norm()] == [(5.0, False), (5.0, True)]
    file, old, new, value = _EDITS["a loop of another module"]
    checkout.edit(file, old, new)
    assert checkout.norm() == (value, False)
    # The older file is put back, with its own date, and edited again with one in the future.
    checkout.edit(file, new, old, date=_EARLIER)
    assert checkout.norm()[0] == 5.0
    checkout.edit(file, old, new, date=_FUTURE)
    assert checkout.norm() == (value, True)


@pytest.mark.parametrize("edited", _EDITS)
def test_an_edit_that_keeps_size_and_date_is_seen(own: Checkout, edited: str) -> None:
    file, old, new, value = _EDITS[edited]
    own.edit(file, old, old)
    assert own.norm() == (5.0, False)
    own.edit(file, old, new)
    result = own.norm()
    assert result == (pytest.approx(value), False)


def test_an_edit_of_a_file_with_a_date_in_the_future_is_seen(own: Checkout) -> None:
    file, old, new, value = _EDITS["a loop of another module"]
    own.edit(file, old, old, date=_FUTURE)
    assert own.norm()[0] == 5.0
    own.edit(file, old, new)
    assert own.norm()[0] == value


def test_an_edit_while_a_process_runs_leaves_no_old_loops_behind(own: Checkout) -> None:
    file, old, new, value = _EDITS["a loop of another module"]
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
    file, old, new, value = _EDITS["a loop of another module"]
    own.environment["PYTHONDONTWRITEBYTECODE"] = ""
    own.edit(file, old, old)
    own.run("import relufit.numerics.kernels")
    own.edit(file, old, new)
    assert own.norm()[0] == 5.0
    os.utime(own.package / file, (_LATER + 1, _LATER + 1))
    assert own.norm()[0] == value


def test_importing_deletes_nothing_wherever_loops_are_kept(checkout: Checkout, tmp_path: Path) -> None:
    checkout.norm()
    (entry,) = {path.parent for path in _entries(tmp_path)}
    (entry / "grid._norm-1.py311.nbi").write_bytes(b"of numba's own cache")
    before = set(tmp_path.rglob("*"))
    checkout.edit("numerics/kernels.py", "total = 0.0\n    for start", "total = 7.0\n    for start", date=_FUTURE)
    checkout.run("import relufit, relufit.numerics.kernels, relufit.compression, relufit.training")
    assert set(tmp_path.rglob("*")) == before


def test_checkouts_that_share_a_folder_leave_each_others_loops_alone(tmp_path: Path) -> None:
    shared = {"NUMBA_CACHE_DIR": str(tmp_path / "shared")}
    one, two = Checkout(tmp_path / "one", **shared), Checkout(tmp_path / "two", **shared)
    file, old, new, value = _EDITS["a loop of another module"]
    two.edit(file, old, new)
    assert [one.norm(), two.norm()] == [(5.0, False), (value, False)]
    entries = _entries(tmp_path / "shared")
    assert [one.norm(), two.norm(), one.norm()] == [(5.0, True), (value, True), (5.0, True)]
    assert _entries(tmp_path / "shared") == entries


def test_loops_of_versions_long_gone_are_removed_by_the_next_one_that_is_compiled(own: Checkout) -> None:
    versions = own.package / "__pycache__" / "loops"
    for number in range(9):
        (versions / f"old{number}").mkdir(parents=True)
        os.utime(versions / f"old{number}", (_EARLIER + number, _EARLIER + number))
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
    outputs = [own.run(program, **{"NUMBA_BOUNDSCHECK": value}) for value in ("0", "1", "0", "1")]
    assert outputs == [[], ["checked"], [], ["checked"]]
    assert len(list((own.package / "__pycache__" / "loops").iterdir())) == 1


def test_the_number_of_threads_and_of_cores_is_none_of_these_settings(own: Checkout) -> None:
    assert own.norm() == (5.0, False)
    assert own.norm(NUMBA_NUM_THREADS="1") == (5.0, True)


def test_a_damaged_file_is_compiled_again(own: Checkout) -> None:
    own.norm()
    for entry in _entries(own.package):
        content = bytearray(entry.read_bytes())
        content[len(content) // 2] ^= 1
        entry.write_bytes(content)
    assert [own.norm(), own.norm()] == [(5.0, False), (5.0, True)]
    for entry in _entries(own.package):
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


def _plant(folder: Path, mark: Path) -> None:
    """Put code into the files of a folder that makes a file when it is unpickled."""

    class Harm:
        def __reduce__(self) -> tuple[Callable, tuple]:
            return os.mkdir, (str(mark),)

    body = pickle.dumps(Harm())
    for entry in folder.rglob("*.loop"):
        entry.write_bytes(hashlib.sha256(body).digest() + body)


@pytest.mark.parametrize("opened", ["the folder of a version", "the folder that was given", "a folder above it"])
def test_a_folder_that_others_can_write_to_is_not_used(tmp_path: Path, opened: str) -> None:
    shared = tmp_path / "above" / "shared"
    checkout = Checkout(tmp_path / "one", NUMBA_CACHE_DIR=str(shared))
    checkout.norm()
    version = next(shared.rglob("*.loop")).parent
    _plant(shared, tmp_path / "harm")
    {"the folder of a version": version, "the folder that was given": shared, "a folder above it": shared.parent}[
        opened
    ].chmod(0o777)
    assert checkout.norm() == (5.0, False)
    assert not (tmp_path / "harm").exists()
    # It is not written to either; the loops are kept elsewhere.
    assert checkout.norm() == (5.0, True)


def test_the_planted_code_would_have_run(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path / "one", NUMBA_CACHE_DIR=str(tmp_path / "shared"))
    checkout.norm()
    _plant(tmp_path / "shared", tmp_path / "harm")
    process = checkout.start()
    process.communicate()
    assert (tmp_path / "harm").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a folder to another user")
def test_a_folder_of_another_user_is_not_used(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    checkout = Checkout(tmp_path / "one", NUMBA_CACHE_DIR=str(shared))
    checkout.norm()
    _plant(shared, tmp_path / "harm")
    for path in (shared, *shared.rglob("*")):
        os.chown(path, 54321, 54321)
    assert checkout.norm() == (5.0, False)
    assert not (tmp_path / "harm").exists()


def test_a_link_to_a_folder_is_not_used(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    checkout = Checkout(tmp_path / "one", NUMBA_CACHE_DIR=str(shared))
    checkout.norm()
    version = next(shared.rglob("*.loop")).parent
    version.rename(tmp_path / "elsewhere")
    version.symlink_to(tmp_path / "elsewhere")
    assert checkout.norm() == (5.0, False)


@pytest.mark.parametrize("mask", [0o000, 0o077])
def test_what_is_written_is_closed_to_others_whatever_the_umask_is(own: Checkout, mask: int) -> None:
    own.without_own_folder()
    before = os.umask(mask)
    try:
        own.norm()
    finally:
        os.umask(before)
    assert _entries(own.home)
    assert not [path for path in own.home.rglob("*") if path.stat().st_mode & 0o022]


def test_without_any_folder_loops_are_compiled_in_every_process(own: Checkout, tmp_path: Path) -> None:
    own.without_own_folder()
    nowhere = tmp_path / "file"
    nowhere.write_text("")
    settings = {"HOME": str(nowhere), "XDG_CACHE_HOME": "relative", "TMPDIR": str(nowhere)}
    program = "import tempfile; tempfile.gettempdir = lambda: " + repr(str(nowhere)) + _NORM
    assert own.run(program, **settings) == own.run(program, **settings) == ["5.0", "0"]
    assert nowhere.read_text() == ""


@pytest.fixture
def installed() -> Iterator[Checkout]:
    """An installation that another user, who has a folder ``tmp``, can read and not write to."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("needs root and setpriv")
    public = Path("/tmp") / f"relufit-test-{os.getpid()}"
    public.mkdir()
    try:
        public.chmod(0o755)
        (public / "tmp").mkdir()
        (public / "tmp").chmod(0o1777)
        yield Checkout(public / "one")
    finally:
        shutil.rmtree(public)


def _norm_of_another_user(installed: Checkout, **settings: str) -> tuple[float, bool]:
    nobody = ["setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups"]
    temporary = str(installed.root.parent / "tmp")
    done = subprocess.run(
        [*nobody, sys.executable, "-c", _NORM],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(installed.root), "TMPDIR": temporary, **settings},
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    if "Permission denied" in done.stderr and "python" in done.stderr:
        pytest.skip("the interpreter is closed to other users")
    value, hits = done.stdout.split() or pytest.fail(done.stderr)
    return float(value), hits != "0"


def test_a_user_without_name_and_home_keeps_loops_in_a_temporary_folder_of_its_own(installed: Checkout) -> None:
    """The interpreter and the package can be read, and nothing is this user's."""
    assert [_norm_of_another_user(installed) for _ in range(2)] == [(5.0, False), (5.0, True)]
    assert _entries(installed.root.parent / "tmp")


def test_loops_of_a_read_only_installation_are_kept_in_the_home_of_who_uses_it(installed: Checkout) -> None:
    os.chown(installed.home, 54321, 54321)
    home = {"HOME": str(installed.home)}
    assert [_norm_of_another_user(installed, **home) for _ in range(2)] == [(5.0, False), (5.0, True)]
    assert _entries(installed.home / ".cache/relufit") == _entries(installed.root.parent)
    file, old, new, value = _EDITS["a loop of another module"]
    installed.edit(file, old, new, date=_EARLIER)  # as an older release that is installed over it
    assert _norm_of_another_user(installed, **home) == (value, False)
    installed.edit(file, new, old, date=_FUTURE)
    assert _norm_of_another_user(installed, **home) == (5.0, True)


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


def _modules_with_loops() -> dict[Path, ast.Module]:
    # The handler of signals in `mapped` is compiled anew in each process.
    trees = _parse([path for path in _PACKAGE.rglob("*.py") if path.name != "mapped.py"])
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
        relative = path.relative_to(_PACKAGE)
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
