"""``relufit manifest``: the digests of a run's results and what they were made with."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from relufit.cli.options import subcommand


def add(parts: Any) -> None:  # noqa: ANN401
    """Add the subcommand."""
    part = subcommand(
        parts,
        "manifest",
        "digests of a run's results",
        "Write the SHA-256 of every result that is the same on every run, and the machine, versions and command.",
    )
    part.add_argument("folder", type=Path, help="the run's folder, such as results/paper")
    part.add_argument("--output", "-o", type=Path, required=True, help="manifest.json")
    part.add_argument(
        "--made-by",
        default=os.environ.get("RELUFIT_COMMAND", ""),
        help="the command that made the run; from the environment's RELUFIT_COMMAND if not given",
    )
    part.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Run the subcommand."""
    from relufit.experiments.trials import machine
    from relufit.files import write_json
    from relufit.manifest import manifest

    write_json(chosen.output, manifest(chosen.folder, machine(), chosen.made_by))
