"""Traces of runs that never were: errors that fall or grow by a given factor, with the spread that real ones have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from relufit.claims.trace_files import Record
from relufit.experiments.framework.base import Experiment, Setting


def run(
    setting: Setting, rate: float, start: float, draw: np.random.Generator, *, spread: float = 0.005, cost: int = 100
) -> Record:
    """Return traces in which ln error^2 goes by ln `rate` an iteration, from `start` squared, and ends as runs do.

    Parameters
    ----------
    setting : Setting
        Its budget, tolerance, trials and interval of recording are kept.
    rate, start : float
        Factor on the squared error; the squared error at first.
    spread : float
        Variance of ln error^2 for each unit that it goes.
    cost : int
        Uplink bytes of an iteration.
    """
    spec, tables = setting.spec, []
    for trial in range(setting.trials):
        step = np.log(rate)
        walk = step + np.sqrt(spread * abs(step)) * draw.standard_normal(spec["iterations"])
        errors = np.exp((np.log(start) + np.concatenate([[0.0], np.cumsum(walk)])) / 2)
        ended = np.flatnonzero((errors <= spec.get("tolerance", 0.0)) | (errors > 1e3))
        last = int(ended[0]) if ended.size else spec["iterations"]
        kept = np.unique(np.append(np.arange(0, last, spec.get("record_every", 1)), last))
        sent = 10 + cost * kept
        losses = np.concatenate([[np.nan], errors[:-1] ** 2 / 4])  # in the mean, near w*
        columns = {"iteration": kept, "relative_error": errors[kept], "loss": losses[kept]}
        tables.append(pd.DataFrame({**columns, "uplink_bytes": sent, "downlink_bytes": sent, "trial": trial}))
    return Record(pd.concat(tables, ignore_index=True), {})


def cut(record: Record, rows: int = 1) -> Record:
    """Return the first rows of each trial alone."""
    return Record(record.table.groupby("trial").head(rows).reset_index(drop=True), record.about)


def faster(record: Record, factor: float) -> Record:
    """Return the traces of runs that take so many times fewer iterations."""
    iterations = (record.table["iteration"] / factor).round().astype(int)
    return Record(record.table.assign(iteration=iterations), record.about)


def judged(experiment: Experiment, config: dict[str, Any], make: Callable[[Setting], Record]) -> dict[str, list[str]]:
    """Return what an experiment says of the traces that `make` makes, by topics."""
    results = {setting.name: make(setting) for setting in experiment.settings(config)}
    verdicts = experiment.judge(config, results, {}).verdicts
    return {topic: [verdict.verdict for verdict in topic_verdicts] for topic, topic_verdicts in verdicts.items()}
