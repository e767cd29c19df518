"""``relufit report``: the report of a run as one HTML file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from relufit.cli.options import add_folder, add_output, subcommand
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
    add_folder(part)
    part.add_argument(
        "--captions", type=absolute, default=Path("workflow/report"), help="folder of the captions, {figure}.rst"
    )
    part.add_argument(
        "--seed-study",
        type=absolute,
        metavar="FILE",
        help="CSV of benchmarks/seed_study.py, for an appendix on how often a right program is not confirmed",
    )
    add_output(part, "HTML file")
    part.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Run the subcommand."""
    from relufit.experiments.configuration import load
    from relufit.experiments.framework.fingerprint import fingerprint
    from relufit.experiments.framework.run_files import RunFiles
    from relufit.files.atomic import write_text
    from relufit.files.outputs import check_outputs
    from relufit.report import read, render, seed_study

    inputs = ("config.yaml", "claims.json", "manifest.json")
    read_from = {f"the input {name}": chosen.folder / name for name in inputs}
    if chosen.seed_study:
        read_from["--seed-study"] = chosen.seed_study
    check_outputs({"--output": chosen.output}, read_from)
    config = load([chosen.folder / "config.yaml"])
    files = RunFiles(config)
    timings = {name: [chosen.folder / path for path in files.timings(name)] for name in config["experiments"]}
    study = None
    if chosen.seed_study:
        study = seed_study.read(chosen.seed_study, {name: fingerprint(name, config) for name in config["experiments"]})
    write_text(chosen.output, render(read(chosen.folder, chosen.captions, timings, study)))
