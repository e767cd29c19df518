"""``relufit config``: merge, check and write a configuration."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import yaml

from relufit.cli.options import subcommand
from relufit.config import check, load
from relufit.files import write_text


def add(parts: Any) -> None:  # noqa: ANN401 - argparse's own type is private
    """Add the subcommand."""
    part = subcommand(
        parts,
        "config",
        "merge and check configuration files",
        "Merge configuration files, later over earlier, check the result and write it.",
    )
    source = part.add_mutually_exclusive_group(required=True)
    source.add_argument("files", nargs="*", default=[], metavar="FILE", help="YAML files")
    source.add_argument("--json", help="the configuration itself, as JSON")
    part.add_argument("--output", "-o", type=Path, help="where to write it; standard output if not given")
    part.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Run the subcommand."""
    config = check(json.loads(chosen.json)) if chosen.json else load(chosen.files)
    text = yaml.safe_dump(config, sort_keys=False)
    if chosen.output:
        write_text(chosen.output, text)
    else:
        sys.stdout.write(text)
