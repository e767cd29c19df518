"""Whose folders compiled loops are taken from and written to: nobody's who could put other code there."""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from loop_checkouts import EARLIER, EDITS, FUTURE, NORM, Checkout, entries


def _plant(folder: Path, mark: Path) -> None:
    """Put code into the files of a folder that makes a file when it is unpickled."""

    class Harm:
        def __reduce__(self) -> tuple[Callable, tuple]:
            return os.mkdir, (str(mark),)

    body = pickle.dumps(Harm())
    for entry in folder.rglob("*.loop"):
        entry.write_bytes(hashlib.sha256(body).digest() + body)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A copy of the package that has no room beside the sources, and a folder with its loops."""
    folder = tmp_path_factory.mktemp("compiled")
    made = Checkout(folder / "one", NUMBA_CACHE_DIR=str(folder / "shared"))
    made.without_own_folder()
    assert made.norm() == (5.0, False)
    return made


@pytest.fixture
def planted(compiled: Checkout, tmp_path: Path) -> Iterator[Checkout]:
    """The same with a folder of loops of its own, ``above/shared``, in which code was planted that leaves ``harm``."""
    kept = dict(compiled.environment)
    shutil.copytree(kept["NUMBA_CACHE_DIR"], tmp_path / "above" / "shared")
    _plant(tmp_path / "above" / "shared", tmp_path / "harm")
    (tmp_path / "home").mkdir()
    compiled.environment |= {"NUMBA_CACHE_DIR": str(tmp_path / "above" / "shared"), "HOME": str(tmp_path / "home")}
    yield compiled
    compiled.environment.clear()
    compiled.environment.update(kept)


@pytest.mark.parametrize("opened", ["the folder of a version", "the folder that was given", "a folder above it"])
def test_a_folder_that_others_can_write_to_is_not_used(planted: Checkout, tmp_path: Path, opened: str) -> None:
    shared = tmp_path / "above" / "shared"
    version = next(shared.rglob("*.loop")).parent
    {"the folder of a version": version, "the folder that was given": shared, "a folder above it": shared.parent}[
        opened
    ].chmod(0o777)
    assert planted.norm() == (5.0, False)
    assert not (tmp_path / "harm").exists()
    # It is not written to either; the loops are kept elsewhere.
    assert planted.norm() == (5.0, True)


def test_the_planted_code_would_have_run(planted: Checkout, tmp_path: Path) -> None:
    process = planted.start()
    process.communicate()
    assert (tmp_path / "harm").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a folder to another user")
def test_a_folder_of_another_user_is_not_used(planted: Checkout, tmp_path: Path) -> None:
    shared = tmp_path / "above" / "shared"
    for path in (shared, *shared.rglob("*")):
        os.chown(path, 54321, 54321)
    assert planted.norm() == (5.0, False)
    assert not (tmp_path / "harm").exists()


def test_a_link_to_a_folder_is_not_used(planted: Checkout, tmp_path: Path) -> None:
    version = next((tmp_path / "above" / "shared").rglob("*.loop")).parent
    version.rename(tmp_path / "elsewhere")
    version.symlink_to(tmp_path / "elsewhere")
    assert planted.norm() == (5.0, False)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("mask", [0o000, 0o077])
def test_what_is_written_is_closed_to_others_whatever_the_umask_is(own: Checkout, mask: int) -> None:
    own.without_own_folder()
    before = os.umask(mask)
    try:
        own.norm()
    finally:
        os.umask(before)
    assert entries(own.home)
    assert not [path for path in own.home.rglob("*") if path.stat().st_mode & 0o022]


def test_without_any_folder_loops_are_compiled_in_every_process(own: Checkout, tmp_path: Path) -> None:
    own.without_own_folder()
    nowhere = tmp_path / "file"
    nowhere.write_text("")
    settings = {"HOME": str(nowhere), "XDG_CACHE_HOME": "relative", "TMPDIR": str(nowhere)}
    program = "import tempfile; tempfile.gettempdir = lambda: " + repr(str(nowhere)) + NORM
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
        [*nobody, sys.executable, "-c", NORM],
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
    assert entries(installed.root.parent / "tmp")


def test_loops_of_a_read_only_installation_are_kept_in_the_home_of_who_uses_it(installed: Checkout) -> None:
    os.chown(installed.home, 54321, 54321)
    home = {"HOME": str(installed.home)}
    assert [_norm_of_another_user(installed, **home) for _ in range(2)] == [(5.0, False), (5.0, True)]
    assert entries(installed.home / ".cache/relufit") == entries(installed.root.parent)
    file, old, new, value = EDITS["a loop of another module"]
    installed.edit(file, old, new, date=EARLIER)  # as an older release that is installed over it
    assert _norm_of_another_user(installed, **home) == (value, False)
    installed.edit(file, new, old, date=FUTURE)
    assert _norm_of_another_user(installed, **home) == (5.0, True)
