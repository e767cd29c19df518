"""``relufit crate``: a run as an RO-Crate."""

from __future__ import annotations

import argparse
from typing import Any

from relufit.cli.options import add_folder, add_output, subcommand


def add(parts: Any) -> None:  # noqa: ANN401
    """Add the subcommand."""
    part = subcommand(
        parts,
        "crate",
        "a run as an RO-Crate",
        "Describe a finished run as an RO-Crate 1.1 (Process Run Crate 0.5): its files with sizes and SHA-256, and "
        "what made them, as JSON-LD.",
    )
    add_folder(part)
    add_output(part, "ro-crate-metadata.json in that folder")
    part.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Run the subcommand."""
    from relufit.experiments.configuration import load
    from relufit.experiments.framework.run_files import RunFiles
    from relufit.files.atomic import write_json
    from relufit.files.outputs import check_outputs
    from relufit.pipeline.crate import crate

    config = load([chosen.folder / "config.yaml"])
    files = RunFiles(config)
    paths = [*files.results(), *files.presented()]
    check_outputs({"--output": chosen.output}, {f"the result {path}": chosen.folder / path for path in paths})
    write_json(chosen.output, crate(chosen.folder, config["run"], paths))
