"""``relufit config``: merge, check and write a configuration, or the schema of all configurations."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import yaml

from relufit.cli.options import subcommand
from relufit.files.atomic import write_text
from relufit.files.outputs import check_outputs
from relufit.files.paths import absolute


class _WithoutAliases(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


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
    source.add_argument("--schema", action="store_true", help="write the JSON schema of configurations, for editors")
    part.add_argument("--output", "-o", type=absolute, help="where to write it; standard output if not given")
    part.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Run the subcommand."""
    check_outputs({"--output": chosen.output}, {f"the input {name}": name for name in chosen.files})
    text = _schema() if chosen.schema else yaml.safe_dump(_config(chosen), sort_keys=False)
    if chosen.output:
        write_text(chosen.output, text)
    else:
        sys.stdout.write(text)


def _config(chosen: argparse.Namespace) -> dict[str, Any]:
    from relufit.experiments.configuration import check, load
    from relufit.pipeline.config_values import parse_json

    return check(parse_json(chosen.json, where="--json")) if chosen.json is not None else load(chosen.files)


def _schema() -> str:
    from relufit.experiments.configuration import schema

    head = "# Written by `make schema` from the models beside the code that each section configures.\n"
    return head + yaml.dump(schema(), Dumper=_WithoutAliases, sort_keys=False, width=120, default_flow_style=None)
