"""``relufit report``: the report of a run as one HTML file."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

from relufit.cli.options import subcommand


def add(parts: Any) -> None:  # noqa: ANN401
    """Add the subcommand."""
    part = subcommand(
        parts,
        "report",
        "the report of a run",
        "Let Snakemake write the report of a finished run, one HTML file that works offline. To be called in the "
        "folder of the Snakefile.",
    )
    part.add_argument("config", type=Path, help="the run's own configuration, such as results/paper/config.yaml")
    part.add_argument("--output", "-o", type=Path, required=True, help="HTML file")
    part.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Run the subcommand."""
    from relufit.errors import RelufitError
    from relufit.files import replacing

    with replacing(chosen.output) as path:
        # The workflow that calls this holds the lock of the folder, and the results are complete.
        command = [
            sys.executable,
            "-m",
            "snakemake",
            "presented",
            "--nolock",
            "--configfile",
            str(chosen.config),
        ]
        done = subprocess.run([*command, "--report", str(path)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RelufitError(done.stderr.strip(), where="snakemake --report", remedy="finish the run first")
