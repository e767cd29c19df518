"""The manifest of a run: which results are the same on every run, by their digests, and which are not."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from relufit.files import digest

#: Folders and files whose content follows from the configuration alone, but for what `is_timed` tells.
_DETERMINISTIC = (
    "config.yaml",
    "data/*.zarr",
    "traces/*/*.parquet",
    "claims/*.json",
    "tables/*.csv",
    "figures/*",
)


def manifest(folder: Path, machine: dict[str, Any], command: str) -> dict[str, Any]:
    """Return the content of manifest.json.

    Parameters
    ----------
    folder : Path
        The run's folder.
    machine : dict
        What ran it.
    command : str
        The command that made it.
    """
    found = sorted(path for pattern in _DETERMINISTIC for path in folder.glob(pattern))
    stable = {path.relative_to(folder).as_posix(): digest(path) for path in found if not is_timed(path)}
    others = sorted(
        path.relative_to(folder).as_posix() for path in found if path.relative_to(folder).as_posix() not in stable
    )
    return {
        "sha256": stable,
        "depends_on_the_clock": others,
        "machine": machine,
        "commit": _commit(),
        "command": command,
    }


def is_timed(path: Path) -> bool:
    """Tell whether a result holds what a clock measured, by its name."""
    return ".timing" in path.name


def _commit() -> str | None:
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
