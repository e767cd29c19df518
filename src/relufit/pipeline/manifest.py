"""The manifest of a run: which results are the same on every run, by their digests, and which are not."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import relufit
from relufit.errors import DataError
from relufit.files.atomic import digest

_PACKAGE = Path(relufit.__file__).parent
_GIT_SECONDS = 10


def manifest(folder: Path, results: Iterable[Path], machine: dict[str, Any], command: str) -> dict[str, Any]:
    """Return the content of manifest.json.

    Parameters
    ----------
    folder : Path
        The run's folder.
    results : iterable of Path
        What the configuration of the run makes, relative to the folder. Whatever else is in the folder is not listed.
    machine : dict
        What ran it.
    command : str
        The command that made it.

    Raises
    ------
    DataError
        If one of the results is missing.
    """
    results = sorted(results)
    for path in results:
        if not (folder / path).exists():
            raise DataError("there is no such result", where=str(folder / path), remedy="finish the run")
    return {
        "sha256": {path.as_posix(): digest(folder / path) for path in results if not is_timed(path)},
        "depends_on_the_clock": [path.as_posix() for path in results if is_timed(path)],
        "machine": machine,
        "version": relufit.__version__,
        "commit": commit(),
        "command": command,
    }


def is_timed(path: Path) -> bool:
    """Tell whether a result holds what a clock measured, by its name."""
    return ".timing" in path.name


def commit(package: Path = _PACKAGE) -> str | None:
    """Return the commit that a package was checked out from, None if it was installed otherwise.

    The folder that one stands in plays no part, and neither does a repository that the package merely lies in.
    """
    if _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    return _git(package, "describe", "--always", "--dirty")


def _git(folder: Path, *arguments: str) -> str | None:
    # A hook of another repository sets variables that come before the folder.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            env={**environment, "GIT_OPTIONAL_LOCKS": "0"},
            capture_output=True,
            text=True,
            check=True,
            timeout=_GIT_SECONDS,
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout.strip()
