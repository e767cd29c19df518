"""``relufit report``: the report of a run as one HTML file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from relufit.cli.options import subcommand
from relufit.files.paths import absolute


def add(parts: Any) -> None:  # noqa: ANN401
    """Add the subcommand."""
    part = subcommand(
        parts,
        "report",
        "the report of a run",
        "Write the report of a finished run, one HTML file that works offline: its verdicts, figures, statistics, "
        "tables, provenance and configuration.",
    )
    part.add_argument("folder", type=absolute, help="the run's folder, such as results/paper")
    part.add_argument(
        "--captions", type=absolute, default=Path("workflow/report"), help="folder of the captions, {figure}.rst"
    )
    part.add_argument("--output", "-o", type=absolute, required=True, help="HTML file")
    part.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Run the subcommand."""
    from relufit.experiments.configuration import load
    from relufit.experiments.framework.run_files import RunFiles
    from relufit.files.atomic import write_text
    from relufit.files.outputs import check_outputs
    from relufit.report import read, render

    inputs = ("config.yaml", "claims.json", "manifest.json")
    check_outputs({"--output": chosen.output}, {f"the input {name}": chosen.folder / name for name in inputs})
    config = load([chosen.folder / "config.yaml"])
    files = RunFiles(config)
    timings = {name: [chosen.folder / path for path in files.timings(name)] for name in config["experiments"]}
    write_text(chosen.output, render(read(chosen.folder, chosen.captions, timings)))
