"""Compiled loops that are kept on disk between runs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

#: The modules and packages that hold loops.
ROOMS = ("kernels.py", "simd", "compression", "solvers")


def forget_stale(package: Path, rooms: Sequence[str] = ROOMS) -> None:
    """Remove the indices of loops that were compiled before the newest source file with loops was written.

    A loop is compiled together with those that it calls, in other files, but is only compiled again when its own file
    changes. Without this an edit of one module would leave the others with what it was before.
    """
    newest = 0.0
    indices: list[Path] = []
    with suppress(OSError):
        for room in rooms:
            if room.endswith(".py"):
                newest = max(newest, (package / room).stat().st_mtime)
            else:
                newest = max(newest, *(path.stat().st_mtime for path in (package / room).rglob("*.py")))
        for room in ("__pycache__", *rooms):
            indices += (package / room).rglob("*.nbi")
        for index in indices:
            if index.stat().st_mtime < newest:
                index.unlink(missing_ok=True)
