"""What a delay saves: gradients are computed while the messages before travel, in place of before the next ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from relufit.claims.statistics import mean_interval
from relufit.claims.trace_files import Record
from relufit.claims.verdict import Verdict, judge
from relufit.experiments.link_speed.model import Model
from relufit.experiments.link_speed.runs import Run, cell_name
from relufit.experiments.link_speed.verdicts import LEAST_GAIN

#: What is timed is SGD with fp32.
_PLAIN = {"name": "fp32"}


def cell_of(overlap: Mapping[str, Any]) -> dict[str, Any]:
    """Return the cell of the part ``overlap`` of the section."""
    return {**{key: overlap[key] for key in ("dimension", "workers", "rank_batch")}, "rates": [overlap["rate"]]}


def name_of(overlap: Mapping[str, Any]) -> str:
    """Return the name of its setting: the scaling may have a cell of the same sizes."""
    return f"ahead-{cell_name(cell_of(overlap))}"


def runs_with_and_without(overlap: Mapping[str, Any]) -> Iterator[tuple[Run, str]]:
    """Yield the run without a delay in each exchange, and the name of the same run with it."""
    for exchange in overlap["exchanges"]:
        yield Run(f"sgd-fp32-{exchange}", _PLAIN, exchange), f"sgd-fp32-delay-{overlap['delay']}-{exchange}"


def ahead_runs(overlap: Mapping[str, Any], iterations: int) -> dict[str, dict[str, Any]]:
    """Return what is timed, as `relufit.experiments.framework.emulated_trials.time_links` takes it."""
    points, runs = [(overlap["rate"], iterations)], dict[str, dict[str, Any]]()
    for run, delayed in runs_with_and_without(overlap):
        runs[run.name] = {**run.options, "points": points}
        runs[delayed] = {**run.options, "delay": overlap["delay"], "points": points}
    return runs


def computed_ahead(
    overlap: Mapping[str, Any],
    results: Record,
    timing: pd.DataFrame,
    round_trip: float,
    messages: Mapping[str, float] | None,
) -> pd.DataFrame:
    """Return the seconds of an iteration with and without a delay, and the model's.

    The model has the costs that were measured without a delay, see `relufit.exchange.Exchange.iteration`.

    Parameters
    ----------
    overlap : dict
        The part of the section.
    results, timing
        Of the trials.
    round_trip : float
        Seconds.
    messages : dict or None
        Seconds of a message by exchange, where they are known already.

    Returns
    -------
    DataFrame
        A row for each ``exchange`` and ``trial``: ``seconds`` and ``seconds_delayed``, the medians of a run;
        ``predicted`` and ``predicted_delayed``, the model's upper bounds; ``gain`` and ``gain_predicted``, the ratios
        of both.
    """
    uplink, rows = results.table.groupby("run")["uplink_bytes"].mean(), []
    timed = timing[timing["rate"] > 0].set_index(["run", "trial"])["seconds"]
    for run, delayed in runs_with_and_without(overlap):
        # Runs without a payload tell what a message takes.
        plain = timing[(timing["run"] == run.name) | timing["run"].str.startswith("empty-")]
        model = Model(cell_of(overlap), uplink, plain, round_trip=round_trip, exchanges=(), messages=messages)
        predicted, ahead = (model.iteration(run, overlap["rate"], ahead=ahead).upper for ahead in (False, True))
        for trial, seconds in timed[run.name].items():
            late = timed[delayed, trial]
            made = (run.exchange, trial, seconds, late, predicted, ahead, seconds / late, predicted / ahead)
            rows.append(made)
    columns = [
        "exchange", "trial", "seconds", "seconds_delayed", "predicted", "predicted_delayed", "gain", "gain_predicted",
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def saved(name: str, overlap: Mapping[str, Any], measured: pd.DataFrame, trials: int, evidence: str) -> list[Verdict]:
    """Hold the gain of computing ahead against the model's, exchange by exchange."""
    verdicts = []
    for exchange, rows in measured.groupby("exchange", sort=False):
        mean = rows[["seconds", "seconds_delayed", "gain_predicted"]].mean()
        verdicts.append(
            judge(
                f"seconds of an iteration over those with a delay of {overlap['delay']}, over the model's ratio",
                f"{name}, fp32, {exchange}",
                mean_interval(np.asarray(rows["gain"] / rows["gain_predicted"])),
                least=LEAST_GAIN,
                trials=trials,
                evidence=evidence,
                note=f"{1e3 * mean['seconds']:.3g} ms without, {1e3 * mean['seconds_delayed']:.3g} ms with it, when a "
                f"gradient is computed while the one before is exchanged; the model's ratio is "
                f"{mean['gain_predicted']:.3g}.",
            )
        )
    return verdicts
