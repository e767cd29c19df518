"""``relufit claims``: judge the traces of an experiment."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from relufit.cli.options import add_config, subcommand


def add(parts: Any) -> None:  # noqa: ANN401
    """Add the subcommand."""
    part = subcommand(
        parts,
        "claims",
        "judge the traces of an experiment",
        "Compare the traces of an experiment with theory; write its verdicts as JSON and its tables as CSV.",
    )
    part.add_argument("experiment", help="such as qsgd_convergence")
    add_config(part)
    part.add_argument("--traces", type=Path, required=True, help="folder of the experiment's traces")
    part.add_argument("--tables", type=Path, required=True, help="folder for the tables")
    part.add_argument("--output", "-o", type=Path, required=True, help="JSON file of the verdicts")
    part.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Run the subcommand."""
    from relufit.config import load
    from relufit.experiments import find_experiment, trials
    from relufit.files import replacing, write_json

    config = load(chosen.config)
    experiment = find_experiment(chosen.experiment)
    results, timings = trials.read(experiment, config, chosen.traces)
    judged = experiment.judge(config, results, timings)
    for name, table in judged.tables.items():
        with replacing(chosen.tables / f"{experiment.NAME}.{name}.csv") as path:
            table.to_csv(path, index=False)
    write_json(
        chosen.output,
        {
            "experiment": experiment.NAME,
            "title": experiment.TITLE,
            "question": experiment.QUESTION,
            "prediction": experiment.PREDICTION,
            "setting": judged.setting,
            "budget": judged.budget,
            "verdicts": {topic: [v.as_json() for v in verdicts] for topic, verdicts in judged.verdicts.items()},
        },
    )
