"""Options that several subcommands share."""

from __future__ import annotations

import argparse
from typing import Any

from relufit.files.paths import absolute


class _Formatter(argparse.HelpFormatter):
    """Show a default where there is one worth showing."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        shown = action.default not in (None, False, argparse.SUPPRESS, "", []) and action.option_strings
        return f"{action.help} (default: %(default)s)" if shown else action.help


def subcommand(parts: Any, name: str, help: str, description: str) -> argparse.ArgumentParser:  # noqa: ANN401, A002
    """Add a subcommand and return its parser."""
    part: argparse.ArgumentParser = parts.add_parser(
        name, help=help, description=description, formatter_class=_Formatter
    )
    return part


def add_config(part: argparse.ArgumentParser, *, required: bool = True, remark: str = "") -> None:
    """Add the option ``--config``, with a remark at the end of its help."""
    part.add_argument(
        "--config",
        action="append",
        metavar="FILE",
        required=required,
        help=f"configuration; may be repeated, later files are merged over earlier ones{remark}",
    )


def add_folder(part: argparse.ArgumentParser) -> None:
    """Add the argument ``folder``, that of a run."""
    part.add_argument("folder", type=absolute, help="the run's folder, such as results/paper")


def add_output(part: argparse.ArgumentParser, what: str) -> None:
    """Add the option ``--output``, which must be given; its help says `what` is written."""
    part.add_argument("--output", "-o", type=absolute, required=True, help=what)


def step_size(text: str) -> str | float:
    """Return a step size as given on a command line: a number or ``optimal``."""
    return text if text == "optimal" else float(text)
