"""``relufit manifest``: the digests of a run's results and what they were made with."""

from __future__ import annotations

import argparse
import os
from typing import Any

from relufit.cli.options import add_folder, add_output, subcommand


def add(parts: Any) -> None:  # noqa: ANN401
    """Add the subcommand."""
    part = subcommand(
        parts,
        "manifest",
        "digests of a run's results",
        "Write the SHA-256 of every result that is the same on every run, and the machine, versions and command.",
    )
    add_folder(part)
    add_output(part, "manifest.json")
    part.add_argument(
        "--made-by",
        default=os.environ.get("RELUFIT_COMMAND", ""),
        help="the command that made the run; from the environment's RELUFIT_COMMAND if not given",
    )
    part.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Run the subcommand."""
    from relufit.experiments.configuration import load
    from relufit.experiments.framework.run_files import RunFiles
    from relufit.experiments.framework.trials import machine
    from relufit.files.atomic import write_json
    from relufit.files.outputs import check_outputs
    from relufit.pipeline.manifest import manifest

    results = RunFiles(load([chosen.folder / "config.yaml"])).results()
    check_outputs({"--output": chosen.output}, {f"the result {path}": chosen.folder / path for path in results})
    write_json(chosen.output, manifest(chosen.folder, results, machine(), chosen.made_by))
