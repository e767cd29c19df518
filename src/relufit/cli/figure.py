"""``relufit figure``: draw figures from tables."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from relufit.cli.options import subcommand


def add(parts: Any) -> None:  # noqa: ANN401
    """Add the subcommand."""
    part = subcommand(
        parts,
        "figure",
        "draw figures from tables",
        "Draw figures from the tables of an experiment, as SVG and PNG. An unknown name is answered with all names.",
    )
    part.add_argument("names", nargs="+", metavar="name", help="such as geometric_convergence")
    part.add_argument("--tables", type=Path, required=True, help="folder of the tables")
    part.add_argument("--output", "-o", type=Path, required=True, help="folder for {name}.svg and {name}.png")
    part.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Run the subcommand."""
    from relufit.figures import draw

    for name in chosen.names:
        draw(name, chosen.tables, chosen.output)
