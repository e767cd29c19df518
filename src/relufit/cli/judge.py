"""``relufit judge``: the verdicts of an experiment, from its traces."""

from __future__ import annotations

import argparse
from typing import Any

from relufit.cli.options import add_config, add_output, subcommand
from relufit.files.paths import absolute


def add(parts: Any) -> None:  # noqa: ANN401
    """Add the subcommand."""
    part = subcommand(
        parts,
        "judge",
        "the verdicts of an experiment",
        "Compare the traces of an experiment with theory; write its verdicts as JSON and its tables as CSV.",
    )
    part.add_argument("experiment", help="such as qsgd_convergence")
    add_config(part)
    part.add_argument("--traces", type=absolute, required=True, help="folder of the experiment's traces")
    part.add_argument("--tables", type=absolute, required=True, help="folder for the tables")
    add_output(part, "JSON file of the verdicts")
    part.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Run the subcommand."""
    from relufit.experiments import find_experiment
    from relufit.experiments.configuration import load
    from relufit.experiments.framework import judging
    from relufit.files.outputs import check_outputs

    config = load(chosen.config)
    experiment = find_experiment(chosen.experiment)
    tables = {name: chosen.tables / f"{experiment.NAME}.{name}.csv" for name in experiment.TABLES}
    outputs = {"--output": chosen.output, **{f"the table {name}": table for name, table in tables.items()}}
    groups = dict.fromkeys(setting.group for setting in experiment.settings(config))
    check_outputs(outputs, {f"the traces {group}": chosen.traces / f"{group}.parquet" for group in groups})
    judging.judge(experiment, config, chosen.traces, tables, chosen.output)
