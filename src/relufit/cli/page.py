"""``relufit page``: where compression pays, as a page."""

from __future__ import annotations

import argparse
from typing import Any

from relufit.cli.options import add_folder, add_output, subcommand


def add(parts: Any) -> None:  # noqa: ANN401
    """Add the subcommand."""
    part = subcommand(
        parts,
        "page",
        "the page on where compression pays",
        "Write a page in Markdown from a run's folder: the best way to exchange and encode by dimension, ranks and "
        "rate of the links, with its gain over SGD in single precision by all-reduce, and what was timed.",
    )
    add_folder(part)
    add_output(part, "Markdown file")
    part.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Run the subcommand."""
    from relufit.files.atomic import write_text
    from relufit.files.outputs import check_outputs
    from relufit.pipeline.config import read
    from relufit.report.compression_page import TABLES, render

    config = chosen.folder / "config.yaml"
    inputs = {f"table {name}": chosen.folder / "tables" / f"{name}.csv" for name in TABLES}
    check_outputs({"--output": chosen.output}, {"the input config.yaml": config, **inputs})
    write_text(chosen.output, render(chosen.folder, read([config])))
