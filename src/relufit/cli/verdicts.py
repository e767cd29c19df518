"""``relufit verdicts``: the claims of the paper, judged by all experiments of a run."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from relufit.cli.options import add_config, subcommand


def add(parts: Any) -> None:  # noqa: ANN401
    """Add the subcommand."""
    part = subcommand(
        parts,
        "verdicts",
        "the claims of the paper, judged by all experiments",
        "Put the verdicts of the experiments together, claim by claim: claims.json, and claims.md beside it.",
    )
    part.add_argument("judgements", nargs="+", type=Path, help="JSON files written by `relufit claims`")
    add_config(part)
    part.add_argument("--output", "-o", type=Path, required=True, help="claims.json")
    part.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Run the subcommand."""
    from relufit.claims.report import as_json, as_markdown
    from relufit.config import load
    from relufit.files import write_json, write_text

    config = load(chosen.config)
    judged = [json.loads(path.read_text(encoding="utf-8")) for path in chosen.judgements]
    content = as_json(config["run"], config["seed"], {its.pop("experiment"): its for its in judged})
    write_text(chosen.output.with_suffix(".md"), as_markdown(content))
    write_json(chosen.output, content)
    for claim in content["claims"]:
        print(f"{claim['verdict']:>12}  {claim['words']}")
