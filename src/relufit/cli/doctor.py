"""``relufit doctor``: what this machine can do of what a configuration asks for."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from relufit.cli.options import add_config, subcommand

_USUAL = Path("config.yaml")


def add(parts: Any) -> None:  # noqa: ANN401
    """Add the subcommand."""
    part = subcommand(
        parts,
        "doctor",
        "what this machine can do, and what helps where it cannot",
        "Look at this machine, and say in a line each what was found, what follows, and the one command that helps: "
        "+ is good, - is missing for what the configuration asks for, . does not decide a reproduction. Nothing is "
        "written, and nothing is asked over a network. The exit status is 1 if something is missing.",
    )
    add_config(part, required=False, remark=f"; {_USUAL} of the working folder if not given and there")
    part.add_argument("--json", action="store_true", help="for programs: a list of lines")
    part.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> int:
    """Run the subcommand and return the exit status: 0, or 1 if something is missing."""
    from relufit.doctor import Sign, examine
    from relufit.experiments.configuration import load

    files = chosen.config or ([_USUAL] if _USUAL.is_file() else [])
    lines = examine(load(files) if files else None)
    missing = [line for line in lines if line.sign is Sign.MISSING]
    if chosen.json:
        json.dump([line.as_json() for line in lines], sys.stdout, indent=2)
        sys.stdout.write("\n")
    else:
        for line in lines:
            print(line.text())
        asked = ", ".join(map(str, files)) if files else "no configuration"
        print(f"{len(missing)} missing for what is asked for ({asked})" if missing else f"nothing is missing ({asked})")
    return 1 if missing else 0
