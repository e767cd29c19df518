"""``relufit show``: the verdicts of a run, in the terminal."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from relufit.cli.options import add_folder, subcommand


def add(parts: Any) -> None:  # noqa: ANN401
    """Add the subcommand."""
    part = subcommand(
        parts,
        "show",
        "the verdicts of a run",
        "Print the claims and findings of a run with their verdicts, and where its report is: the lines that a run of "
        "the workflow ends with.",
    )
    add_folder(part)
    part.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Run the subcommand."""
    from relufit.terminal.verdicts import table

    for line in table(_as_seen_from_here(chosen.folder)):
        print(line)


def _as_seen_from_here(path: Path) -> Path:
    """Return a path relative to the working folder, if it is below that."""
    try:
        here = Path.cwd()
    except OSError:
        return path
    return path.relative_to(here) if path.is_relative_to(here) else path
