"""``relufit trials``: all trials of one setting of an experiment, or of a group of small ones."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from relufit.cli.options import add_config, subcommand
from relufit.cli.progress import progress


def add(parts: Any) -> None:  # noqa: ANN401
    """Add the subcommand."""
    part = subcommand(
        parts,
        "trials",
        "all trials of a setting, or of a group of them",
        "Run the trials of one setting of an experiment, or of a group of small ones, and write their traces "
        "to one Parquet file, their timings "
        "to another beside it. An unknown name is answered with the names there are.",
    )
    part.add_argument("experiment", help="such as qsgd_convergence")
    part.add_argument("setting", help="such as qsgd-s16")
    add_config(part)
    part.add_argument("--data", type=Path, help="folder of the data sets; ../../data from the output if not given")
    part.add_argument("--output", "-o", type=Path, required=True, help="Parquet file of the traces")
    part.add_argument("--reuse", action="store_true", help="link the same from another run beside this one")
    part.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Run the subcommand."""
    from relufit.config import load
    from relufit.experiments import find_group, trials

    config = load(chosen.config)
    settings = find_group(config, chosen.experiment, chosen.setting)
    if chosen.reuse and trials.take_over(settings, config["seed"], chosen.output):
        return
    data = chosen.data or chosen.output.parent.parent.parent / "data"
    total = sum(setting.trials for setting in settings)
    with progress(f"{chosen.experiment} {chosen.setting}", total) as tell:
        trials.run(
            settings,
            config["seed"],
            chosen.output,
            data,
            lambda done, of, iteration, error, uplink: tell(
                done, f"trials, iteration {iteration}, relative error {error:.3g}, {uplink} B up"
            ),
        )
        tell(total, "trials")
