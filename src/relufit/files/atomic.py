"""Writing files so that nothing half-written is ever readable and nothing is replaced that is not an output."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from relufit.files.outputs import DESCRIPTOR, Foreign, check_output, is_stream, resolve
from relufit.files.staging import Staging, staging


@contextmanager
def replacing(
    target: str | os.PathLike[str],
    *,
    directory: bool = False,
    foreign: Foreign | None = None,
    mode: int | None = None,
) -> Iterator[Path]:
    """Yield a temporary path that takes the place of `target` when the block ends well.

    A link is followed: what it leads to is replaced. A device, a pipe or a socket is written through. What killed
    writers have left in the folder of `target` is removed first.

    Parameters
    ----------
    target : path
        The file or folder to write; its parents are made.
    directory : bool
        Whether the temporary path is a folder (made empty) or a file (not made).
    foreign : callable, optional
        For folders: names what a folder has that is not of such an output. Without it only an empty one is replaced.
    mode : int, optional
        Permissions of a file; those of the file that it replaces if not given.

    Raises
    ------
    ConfigError
        If `target` may not be replaced, as `check_output` tells.
    OSError
        Where the file system refuses; the temporary path is removed then, and `target` is as it was.
    """
    path = resolve(target)
    check_output(target, directory=directory, foreign=foreign)
    stream = not directory and is_stream(path)
    with staging(*((Path(tempfile.gettempdir()), "stream") if stream else (path.parent, path.name))) as held:
        try:
            if directory:
                held.new.mkdir()
            yield held.new
            if stream:
                _copy_into(held.new, path)
            elif directory:
                _replace_folder(held, path, foreign)
            else:
                _replace_file(held.new, path, mode)
        except OSError as error:
            if error.filename and str(error.filename).startswith(str(held.folder)):
                error.filename = str(target)
            raise


def _replace_file(fresh: Path, path: Path, mode: int | None) -> None:
    if mode is None and path.exists():
        mode = stat.S_IMODE(path.stat().st_mode) & 0o777
    # A hard link has its permissions from the other file, which is not to be changed.
    if mode is not None and fresh.stat().st_nlink == 1:
        fresh.chmod(mode)
    os.replace(fresh, path)


def _replace_folder(held: Staging, path: Path, foreign: Foreign | None) -> None:
    # Looked at again: writing may have taken hours.
    check_output(path, directory=True, foreign=foreign)
    if path.exists():
        held.new.chmod(stat.S_IMODE(path.stat().st_mode))
        if _exchange(held.new, path):
            return
        # Where two folders cannot change places in one step, a writer that is killed in between leaves the old one
        # in its staging folder, and the next one puts it back.
        os.replace(path, held.old)
        try:
            os.replace(held.new, path)
        except BaseException:
            os.replace(held.old, path)
            raise
    else:
        os.replace(held.new, path)


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders change places in one step; return False where the system cannot."""
    library, paths = ctypes.CDLL(None), (os.fsencode(one), os.fsencode(other))
    if hasattr(library, "renameat2"):
        here, exchange = -100, 2
        return not library.renameat2(here, paths[0], here, paths[1], exchange)
    if hasattr(library, "renamex_np"):
        swap = 2
        return not library.renamex_np(*paths, swap)
    return False


def _copy_into(fresh: Path, path: Path) -> None:
    """Write a file to a device, a pipe or a socket."""
    with fresh.open("rb") as source, os.fdopen(_open_stream(path), "wb") as sink:
        shutil.copyfileobj(source, sink, 2**20)


def _open_stream(path: Path) -> int:
    own = DESCRIPTOR.fullmatch(str(path))
    if own and int(own["process"]) == os.getpid():
        # What was printed so far comes first; and a file is not begun anew, as opening it would.
        sys.stdout.flush()
        sys.stderr.flush()
        return os.dup(int(own["number"]))
    return os.open(path, os.O_WRONLY)


@contextmanager
def scratch() -> Iterator[Path]:
    """Yield a private folder among the temporary files; if this process is killed, a later one removes it."""
    with staging(Path(tempfile.gettempdir()), "scratch") as held:
        held.new.mkdir()
        yield held.new


def write_text(target: str | os.PathLike[str], text: str) -> None:
    """Write `text` to `target` in UTF-8, all of it or nothing."""
    with replacing(target) as path:
        path.write_text(text, encoding="utf-8")


def write_json(target: str | os.PathLike[str], content: Any) -> None:  # noqa: ANN401 - whatever JSON holds
    """Write `content` to `target` as JSON: keys in their order, floats in full, all of it or nothing."""
    write_text(target, json.dumps(content, indent=2, allow_nan=False) + "\n")


def digest(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file, or of a folder's relative names and contents, in hexadecimal."""
    path = Path(path)
    if path.is_dir():
        total = hashlib.sha256()
        for part in sorted(p for p in path.rglob("*") if p.is_file() and p.name != ".snakemake_timestamp"):
            total.update(f"{part.relative_to(path).as_posix()}\0{digest(part)}\n".encode())
        return total.hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
