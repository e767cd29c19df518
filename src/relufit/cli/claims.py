"""``relufit claims``: the claims of the paper, judged by all experiments of a run."""

from __future__ import annotations

import argparse
import json
from typing import Any

from relufit.cli.options import add_config, add_output, subcommand
from relufit.files.paths import absolute


def add(parts: Any) -> None:  # noqa: ANN401
    """Add the subcommand."""
    part = subcommand(
        parts,
        "claims",
        "the claims of the paper, judged by all experiments",
        "Put the verdicts of the experiments together, claim by claim: claims.json, and claims.md beside it.",
    )
    part.add_argument("judgements", nargs="+", type=absolute, help="JSON files written by `relufit judge`")
    add_config(part)
    add_output(part, "claims.json")
    part.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Run the subcommand."""
    from relufit.claims.report import as_json, as_markdown
    from relufit.experiments.configuration import load
    from relufit.files.atomic import write_json, write_text
    from relufit.files.outputs import check_outputs, is_stream

    markdown = None if is_stream(chosen.output) else chosen.output.with_suffix(".md")
    inputs = {f"the input {path}": path for path in (*chosen.judgements, *chosen.config)}
    check_outputs({"--output": chosen.output, "the Markdown beside it": markdown}, inputs)
    config = load(chosen.config)
    judged = [json.loads(path.read_text(encoding="utf-8")) for path in chosen.judgements]
    content = as_json(config["run"], config["seed"], {judgement.pop("experiment"): judgement for judgement in judged})
    if markdown:
        write_text(markdown, as_markdown(content))
    write_json(chosen.output, content)
    for claim in content["claims"]:
        print(f"{claim['verdict']:>12}  {claim['words']}")
