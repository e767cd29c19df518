"""``relufit compare``: two runs side by side."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from relufit.cli.options import subcommand
from relufit.files.paths import absolute

_VERDICTS = "claims.json"


def add(parts: Any) -> None:  # noqa: ANN401
    """Add the subcommand."""
    part = subcommand(
        parts,
        "compare",
        "two runs side by side",
        "Show the verdicts and the statistics of two runs side by side, as Markdown.",
    )
    part.add_argument("one", type=absolute, help="folder of a run, such as results/paper")
    part.add_argument("other", type=absolute, help="folder of another")
    part.add_argument("--changes-only", action="store_true", help="leave out the statistics that are the same in both")
    part.add_argument("--output", "-o", type=absolute, help="Markdown file; standard output if not given")
    part.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Run the subcommand."""
    from relufit.claims.compare import as_markdown
    from relufit.files.atomic import write_text
    from relufit.files.outputs import check_outputs

    inputs = {f"the verdicts of {folder}": folder / _VERDICTS for folder in (chosen.one, chosen.other)}
    check_outputs({"--output": chosen.output}, inputs)
    one, other = _read(chosen.one), _read(chosen.other)
    names = (one["run"], other["run"]) if one["run"] != other["run"] else (str(chosen.one), str(chosen.other))
    text = as_markdown(one, other, names, changes_only=chosen.changes_only)
    if chosen.output:
        write_text(chosen.output, text)
    else:
        sys.stdout.write(text)


def _read(folder: Path) -> dict[str, Any]:
    from relufit.errors import DataError

    path = folder / _VERDICTS
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
