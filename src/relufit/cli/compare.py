"""``relufit compare``: two runs side by side."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from relufit.cli.options import subcommand


def add(parts: Any) -> None:  # noqa: ANN401
    """Add the subcommand."""
    part = subcommand(
        parts,
        "compare",
        "two runs side by side",
        "Show the verdicts and the statistics of two runs side by side, as Markdown.",
    )
    part.add_argument("one", type=Path, help="folder of a run, such as results/paper")
    part.add_argument("other", type=Path, help="folder of another")
    part.add_argument("--changes-only", action="store_true", help="leave out the statistics that are the same in both")
    part.add_argument("--output", "-o", type=Path, help="Markdown file; standard output if not given")
    part.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Run the subcommand."""
    from relufit.claims.compare import as_markdown
    from relufit.files import write_text

    one, other = _read(chosen.one), _read(chosen.other)
    names = (one["run"], other["run"]) if one["run"] != other["run"] else (str(chosen.one), str(chosen.other))
    text = as_markdown(one, other, names, changes_only=chosen.changes_only)
    if chosen.output:
        write_text(chosen.output, text)
    else:
        sys.stdout.write(text)


def _read(folder: Path) -> dict[str, Any]:
    from relufit.errors import DataError

    path = folder / "claims.json"
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if not {"run", "seed", "claims", "findings", "experiments"} <= set(content):
            raise ValueError("some of its keys are missing")
    except OSError as error:
        raise DataError(
            f"there are no verdicts ({error.strerror})", where=str(path), remedy="finish the run, or give its folder"
        ) from error
    except (ValueError, TypeError) as error:
        raise DataError(f"no verdicts of ours ({error})", where=str(path), remedy="make the run again") from error
    return content
