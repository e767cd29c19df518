"""Writing files so that nothing half-written is ever readable."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from relufit.errors import ConfigError


@contextmanager
def replacing(target: str | os.PathLike[str], *, directory: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `target` that takes its place when the block ends well.

    Parameters
    ----------
    target : path
        The file or folder to write; its parents are made.
    directory : bool
        Whether the temporary path is a folder (made empty) or a file (not made).

    Raises
    ------
    OSError
        Where the file system refuses; the temporary path is removed then, and `target` is as it was.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Named before it is made: an interrupt between the two must find it in the clean-up.
    holder = target.with_name(f".{target.name}.{secrets.token_hex(8)}.part")
    fresh = holder / target.name
    try:
        holder.mkdir(mode=0o700)
        if directory:
            fresh.mkdir()
        yield fresh
        if target.is_dir() and not target.is_symlink():
            os.replace(target, holder / "old")
        os.replace(fresh, target)
    finally:
        shutil.rmtree(holder, ignore_errors=True)


def check_writable(folder: str | os.PathLike[str]) -> None:
    """Check that a folder can be made, or written to where it is there.

    Raises
    ------
    ConfigError
        If it cannot.
    """
    nearest = next(path for path in (Path(folder).absolute(), *Path(folder).absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise ConfigError("is a file, not a folder", where=str(nearest), remedy="move it or choose another folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise ConfigError(
            "cannot be written to", where=str(nearest), remedy="make it writable or choose another folder"
        )


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
