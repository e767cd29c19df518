"""``relufit figure``: draw figures from tables."""

from __future__ import annotations

import argparse
from typing import Any

from relufit.cli.options import add_output, subcommand
from relufit.files.paths import absolute


def add(parts: Any) -> None:  # noqa: ANN401
    """Add the subcommand."""
    part = subcommand(
        parts,
        "figure",
        "draw figures from tables",
        "Draw figures from the tables of an experiment, as SVG and PNG. An unknown name is answered with all names.",
    )
    part.add_argument("names", nargs="+", metavar="name", help="such as geometric_convergence")
    part.add_argument("--tables", type=absolute, required=True, help="folder of the tables")
    add_output(part, "folder for {name}.svg and {name}.png")
    part.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Run the subcommand."""
    from relufit.figures import ENDINGS, draw, find_figure
    from relufit.files.outputs import check_outputs

    for name in chosen.names:
        tables = {f"table {table}": chosen.tables / f"{table}.csv" for table in find_figure(name).tables}
        check_outputs({f"{name}.{ending}": chosen.output / f"{name}.{ending}" for ending in ENDINGS}, tables)
    for name in chosen.names:
        draw(name, chosen.tables, chosen.output)
