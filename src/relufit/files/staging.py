"""Staging folders: where an output is made before it takes its place, and what a killed writer has left of them.

A staging folder lies beside the output, so that a rename is enough, and is called ``.{name}.{16 hex digits}.part``. It
holds a lock file, which marks it as made here and which its writer keeps locked as long as it lives: the system
gives the lock back when a process dies, however it dies. A later writer in the same folder therefore tells what is dead
from what is at work, and removes the former.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_NAME = re.compile(r"\..*\.[0-9a-f]{16}\.part", re.DOTALL)
_LONGEST_NAME = 255
#: Inside a staging folder: what is being made, a folder that it replaces, and the file that is locked.
_NEW, _OLD, _LOCK = "new", "old", "relufit.lock"
_ATTEMPTS = 20


class Staging:
    """A staging folder that this process holds locked.

    Parameters
    ----------
    folder : Path
    lock : int
        Descriptor of its lock file.
    """

    def __init__(self, folder: Path, lock: int) -> None:
        self.new, self.old = folder / _NEW, folder / _OLD
        self.folder, self._lock = folder, lock

    def remove(self) -> None:
        """Remove the folder, the lock file last: what is left at any moment is known to be dead, or empty."""
        with suppress(OSError):
            for entry in [path for path in self.folder.iterdir() if path.name != _LOCK]:
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry, ignore_errors=True)
                else:
                    entry.unlink()
            if [path.name for path in self.folder.iterdir()] == [_LOCK]:
                (self.folder / _LOCK).unlink()
        os.close(self._lock)
        with suppress(OSError):
            self.folder.rmdir()


@contextmanager
def staging(parent: Path, name: str) -> Iterator[Staging]:
    """Yield a staging folder in `parent` for an output called `name`, and remove it after the block.

    What killed writers have left in `parent` is removed first.

    Raises
    ------
    OSError
        Where the file system refuses.
    """
    sweep(parent)
    held = _create(parent, name)
    try:
        yield held
    finally:
        held.remove()


def sweep(parent: Path) -> None:
    """Remove the staging folders in `parent` whose writers are dead; a folder that was being replaced is put back.

    Only folders are touched that have such a name and a lock file, belong to this user, and are locked by nobody, and
    empty ones.
    """
    try:
        names = [entry.name for entry in os.scandir(parent) if _NAME.fullmatch(entry.name)]
    except OSError:
        return
    for name in names:
        with suppress(OSError):
            _sweep_one(parent / name)


def _sweep_one(folder: Path) -> None:
    about = folder.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid():
        return
    with suppress(OSError):
        folder.rmdir()  # a writer that was killed before it made the lock file, or after it removed it
        return
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not _is_at(lock, folder / _LOCK):
            raise FileNotFoundError(folder)
        dead = Staging(folder, lock)
        if os.path.lexists(dead.old):
            _put_back(dead)
    except BaseException:
        os.close(lock)
        raise
    dead.remove()


def _put_back(dead: Staging) -> None:
    """Rename a folder that was moved away to where it was, unless there is something new."""
    name = json.loads((dead.folder / _LOCK).read_text(encoding="ascii"))["output"]
    target = dead.folder.parent / name
    if target.name == name and not os.path.lexists(target):
        dead.old.rename(target)


def _create(parent: Path, name: str) -> Staging:
    short = os.fsdecode(os.fsencode(name)[: _LONGEST_NAME - len("..0123456789abcdef.part")])
    for _ in range(_ATTEMPTS):
        folder = parent / f".{short}.{secrets.token_hex(8)}.part"
        # Another process may remove the folders in between: they are empty, or not locked yet.
        with suppress(FileNotFoundError):
            parent.mkdir(parents=True, exist_ok=True)
            held = _make(folder, name)
            if held:
                return held
    raise FileNotFoundError(2, "the folder is removed again and again while it is written to", str(parent))


def _make(folder: Path, name: str) -> Staging | None:
    """Make a staging folder and return it with its lock held, None if a sweep was quicker."""
    try:
        folder.mkdir(mode=0o700)
        return _lock(folder, name)
    except BaseException:
        with suppress(OSError):
            folder.rmdir()
        raise


def _lock(folder: Path, name: str) -> Staging | None:
    path = folder / _LOCK
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        # Where a file system has no locks nothing is ever swept either.
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_at(lock, path):
            os.close(lock)
            return None
        os.write(lock, json.dumps({"made_by": "relufit", "output": name}).encode("ascii"))
    except BaseException:
        Staging(folder, lock).remove()
        raise
    return Staging(folder, lock)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False
