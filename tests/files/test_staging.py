"""Staging folders: the dead are told from those at work, and nothing else is ever removed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from relufit.files import atomic
from relufit.files.staging import sweep

LOCK = "relufit.lock"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("name", ["trace.parquet", "*", "[a-z]?", "a.part", "new", "old", LOCK, "é" * 110, "x" * 255])
def test_what_a_killed_writer_leaves_is_removed_by_the_next_one(
    tmp_path: Path, killed_writer: Callable[[Path], Path], name: str
) -> None:
    left = killed_writer(tmp_path / name)
    assert left.parent == tmp_path
    assert names(tmp_path) == [left.name]
    atomic.write_text(tmp_path / "other", "text")
    assert names(tmp_path) == ["other"]
    atomic.write_text(tmp_path / name, "text")
    assert names(tmp_path) == sorted(["other", name])


def test_a_name_that_is_no_text_is_written_and_its_leftovers_are_removed(tmp_path: Path) -> None:
    target = tmp_path / os.fsdecode(b"\xff\xfe")
    atomic.write_text(target, "text")
    assert os.listdir(os.fsencode(tmp_path)) == [b"\xff\xfe"]


def test_what_another_writer_is_at_is_left_alone(tmp_path: Path) -> None:
    with atomic.replacing(tmp_path / "one") as fresh:
        fresh.write_text("one")
        thread = threading.Thread(target=atomic.write_text, args=(tmp_path / "two", "two"))
        thread.start()
        thread.join()
        program = "import sys; from relufit.files.atomic import write_text; write_text(sys.argv[1], 'three')"
        subprocess.run([sys.executable, "-c", program, str(tmp_path / "three")], check=True)
        assert fresh.read_text() == "one"
    assert names(tmp_path) == ["one", "three", "two"]


def _foreign_files(folder: Path) -> None:
    """Make what looks like ours, and is not."""
    for name in ["photos.part", ".photos.part", ".photos.0123456789abcdef.part", ".photos.0123456789ABCDEF.part"]:
        (folder / name).mkdir()
        (folder / name / "photo").touch()
    (folder / ".a file.0123456789abcdef.part").touch()
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / LOCK).touch()
    (folder / ".a link.0123456789abcdef.part").symlink_to("elsewhere")
    (folder / ".linked lock.0123456789abcdef.part").mkdir()
    (folder / ".linked lock.0123456789abcdef.part" / LOCK).symlink_to("../elsewhere/relufit.lock")
    (folder / "without dots 0123456789abcdef.part").mkdir()
    (folder / "without dots 0123456789abcdef.part" / LOCK).touch()


def test_nothing_is_removed_that_was_not_made_here(tmp_path: Path) -> None:
    _foreign_files(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    sweep(tmp_path)
    atomic.write_text(tmp_path / "photos", "text")
    assert sorted(tmp_path.rglob("*")) == sorted([*before, tmp_path / "photos"])


@pytest.mark.parametrize("contents", [[], [LOCK], [LOCK, "new"]])
def test_a_writer_that_was_killed_while_it_began_or_cleaned_up_leaves_nothing(
    tmp_path: Path, contents: list[str]
) -> None:
    left = tmp_path / ".data.0123456789abcdef.part"
    left.mkdir()
    for name in contents:
        (left / name).touch()
    sweep(tmp_path)
    assert not names(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file of another user")
def test_what_another_user_has_left_is_left_alone(tmp_path: Path, killed_writer: Callable[[Path], Path]) -> None:
    left = killed_writer(tmp_path / "file")
    os.chown(left, 12345, 12345)
    sweep(tmp_path)
    assert left.exists()


BETWEEN = """
import os, signal, sys
from pathlib import Path
from relufit.files import atomic
renamed = 0

def kill_after_one(source, target, replace=os.replace):
    global renamed
    replace(source, target)
    os.kill(os.getpid(), signal.SIGKILL)

atomic._exchange = lambda one, other: False
os.replace = kill_after_one
with atomic.replacing(sys.argv[1], directory=True, foreign=lambda _: None) as fresh:
    (fresh / "new").touch()
"""


@pytest.fixture
def killed_between(tmp_path: Path) -> Path:
    """A folder that a writer had moved away when it was killed, where folders cannot change places in one step."""
    target = tmp_path / "data"
    target.mkdir()
    (target / "old").touch()
    done = subprocess.run([sys.executable, "-c", BETWEEN, str(target)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not target.exists()
    return target


def test_a_folder_that_was_moved_away_by_a_killed_writer_is_put_back(killed_between: Path) -> None:
    with pytest.raises(ValueError, match="stop"), atomic.replacing(killed_between, directory=True) as fresh:
        (fresh / "newer").touch()
        raise ValueError("stop")
    assert names(killed_between) == ["old"]
    assert names(killed_between.parent) == ["data"]


def test_a_folder_that_was_moved_away_does_not_replace_a_newer_one(killed_between: Path) -> None:
    killed_between.mkdir()
    (killed_between / "newest").touch()
    sweep(killed_between.parent)
    assert names(killed_between) == ["newest"]
    assert names(killed_between.parent) == ["data"]


@pytest.mark.parametrize("name", ["../outside", "/outside", "..", ".", ""])
def test_nothing_is_put_back_into_another_folder(tmp_path: Path, name: str) -> None:
    parent = tmp_path / "parent"
    left = parent / ".data.0123456789abcdef.part"
    (left / "old").mkdir(parents=True)
    (left / LOCK).write_text(json.dumps({"output": name}))
    sweep(parent)
    assert not (tmp_path / "outside").exists()
    assert not names(parent)


def _write_again_and_again(folder: str, writer: int) -> list[str]:
    wrong = []
    for number in range(60):
        target = Path(folder) / f"file-{(writer + number) % 3}"
        with atomic.replacing(target) as fresh:
            fresh.write_text(f"{writer} {number}")
            if fresh.read_text() != f"{writer} {number}":
                wrong.append(str(fresh))
    return wrong


def test_many_writers_in_one_folder_never_take_each_other_for_dead(tmp_path: Path) -> None:
    with ProcessPoolExecutor(6, mp_context=get_context("forkserver")) as pool:
        assert not any(pool.map(_write_again_and_again, [str(tmp_path)] * 6, range(6)))
    assert names(tmp_path) == ["file-0", "file-1", "file-2"]


def test_a_writer_whose_folder_is_swept_before_it_is_locked_makes_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    swept, flock = [], fcntl.flock

    def slow(descriptor: int, operation: int) -> None:
        if not swept:
            swept.append(names(tmp_path))
            monkeypatch.setattr(fcntl, "flock", flock)
            sweep(tmp_path)
            assert not names(tmp_path)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", slow)
    atomic.write_text(tmp_path / "file", "text")
    assert swept
    assert names(tmp_path) == ["file"]


def test_where_a_file_system_has_no_locks_files_are_written_and_nothing_is_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_writer: Callable[[Path], Path]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    left = killed_writer(tmp_path / "file")
    monkeypatch.setattr("fcntl.flock", refuse)
    atomic.write_text(tmp_path / "file", "text")
    assert names(tmp_path) == sorted(["file", left.name])


def test_a_scratch_folder_of_a_killed_process_is_removed_by_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    program = (
        "import os; from relufit.files.atomic import scratch\n"
        "with scratch() as folder: (folder / 'object').touch(); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program], env={**os.environ, "TMPDIR": str(tmp_path)}, check=False)
    (left,) = tmp_path.iterdir()
    with atomic.scratch() as folder:
        assert not left.exists()
        assert folder.parent.stat().st_mode & 0o777 == 0o700
    assert not names(tmp_path)
