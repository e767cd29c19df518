"""``relufit trials``: all trials of some settings of an experiment, or of groups of small ones."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from relufit.cli.options import add_config, add_output, subcommand
from relufit.cli.progress import progress, told

if TYPE_CHECKING:
    from relufit.training import Progress


def add(parts: Any) -> None:  # noqa: ANN401
    """Add the subcommand."""
    part = subcommand(
        parts,
        "trials",
        "all trials of some settings, or of groups of them",
        "Run the trials of some settings of an experiment, or of groups of small ones, and write the traces of each "
        "to a Parquet file, its timings to another beside it. An unknown name is answered with the names there are.",
    )
    part.add_argument("experiment", help="such as qsgd_convergence")
    part.add_argument("settings", nargs="+", metavar="setting", help="such as qsgd-s16")
    add_config(part)
    part.add_argument("--data", help="folder or bucket of the data sets; ../../data from the output if not given")
    add_output(part, "folder for {setting}.parquet")
    part.add_argument("--reuse", action="store_true", help="take the same from another run beside this one")
    part.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Run the subcommand."""
    from relufit.claims.trace_files import timing_path
    from relufit.experiments import find_group
    from relufit.experiments.configuration import load
    from relufit.experiments.framework import trials
    from relufit.experiments.framework.capability import take_over
    from relufit.files.outputs import check_outputs
    from relufit.planted.stores import inside

    config = load(chosen.config)
    groups = {name: find_group(config, chosen.experiment, name) for name in chosen.settings}
    data = chosen.data or chosen.output.parent.parent / "data"
    for name, settings in groups.items():
        path = chosen.output / f"{name}.parquet"
        names = dict.fromkeys(f"{name}.zarr" for setting in settings for name in setting.datasets)
        inputs = {f"the data set {name}": inside(data, name) for name in names}
        inputs |= {f"the configuration {file}": file for file in chosen.config}
        check_outputs({"the traces": path, "the timings": timing_path(path)}, inputs)
    total = sum(setting.trials for settings in groups.values() for setting in settings)
    with progress(" ".join([chosen.experiment, *groups]), total) as tell:
        done = 0
        for name, settings in groups.items():
            path = chosen.output / f"{name}.parquet"
            if not (chosen.reuse and take_over(settings, config["seed"], path)):
                told_of = partial(_tell, tell, done, total)
                trials.run(settings, config["seed"], path, data, told_of, config["cluster"])
            done += sum(setting.trials for setting in settings)
        tell(total, "trials")


def _tell(tell: Callable[[int, str], None], before: int, total: int, done: int, of: int, news: Progress | None) -> None:
    """Say how far the trials are, after those of earlier groups."""
    if before + done < total:
        tell(before + done, f"trials, {told(news)}" if news else "trials")
