"""``relufit report``: the report of a run as one HTML file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from relufit.cli.options import subcommand


def add(parts: Any) -> None:  # noqa: ANN401
    """Add the subcommand."""
    part = subcommand(
        parts,
        "report",
        "the report of a run",
        "Write the report of a finished run, one HTML file that works offline: its verdicts, figures, statistics, "
        "tables, provenance and configuration.",
    )
    part.add_argument("folder", type=Path, help="the run's folder, such as results/paper")
    part.add_argument(
        "--captions", type=Path, default=Path("workflow/report"), help="folder of the captions, {figure}.rst"
    )
    part.add_argument("--output", "-o", type=Path, required=True, help="HTML file")
    part.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Run the subcommand."""
    from relufit.config import load
    from relufit.experiments import find_experiment
    from relufit.files import write_text
    from relufit.records import timing_path
    from relufit.report import read, render

    config = load([chosen.folder / "config.yaml"])
    settings = {name: find_experiment(name).settings(config) for name in config["experiments"]}
    timings = {
        name: [timing_path(chosen.folder / path) for path in dict.fromkeys(setting.evidence for setting in its)]
        for name, its in settings.items()
    }
    write_text(chosen.output, render(read(chosen.folder, chosen.captions, timings)))
