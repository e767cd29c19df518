"""What was measured beside the map of the best ways: gains over SGD in single precision by all-reduce."""

from __future__ import annotations

from typing import Any

import pandas as pd

from relufit.claims.verdict import Verdict, exactly
from relufit.exchange import BASELINE
from relufit.experiments.framework.quantized import make
from relufit.experiments.link_speed.model import DOMINATES, MOST_OUTSIDE, link_of
from relufit.experiments.link_speed.runs import run_of
from relufit.planning import Host, Machine, Problem, predict

#: What gains are stated against, as runs have it.
_PLAIN = f"sgd-fp32-{BASELINE}"
_AT = ["dimension", "workers", "rank_batch", "rate"]
_SAID = [*_AT, "run", "exchange", "compressor"]
_COLUMNS = [*_SAID, "gain", "low", "high", "planned", "planned_low", "planned_high", "network"]


def measured_gains(machine: Machine, plan: pd.DataFrame, round_trip: float) -> pd.DataFrame:
    """Return the gain of each way that was timed over SGD in fp32 by all-reduce, to the same error.

    Iterations are those of theory at the optimal step, their seconds measured or planned.

    Parameters
    ----------
    machine : Machine
    plan : DataFrame
        As `relufit.experiments.link_speed.planned.planned` returns it.
    round_trip : float
        Seconds.

    Returns
    -------
    DataFrame
        By ``dimension``, ``workers``, ``rank_batch``, ``rate`` and ``run``, with its ``exchange`` and ``compressor``:
        ``gain``, the mean of the gains of the trials, and ``low`` and ``high``, their extremes; the gain
        ``planned`` for hosts of their own; ``planned_low`` and ``planned_high``, its bounds for hosts that share this
        machine; and ``network``, the part that the network has in the measured seconds, of either run the smaller one.
    """
    rows = []
    for _, cell in plan.groupby(_AT):
        at: dict[Any, Any] = cell.iloc[0][_AT].to_dict()
        d, workers, samples, rate = at["dimension"], at["workers"], at["rank_batch"], at["rate"]
        if not (cell["run"] == _PLAIN).any():
            continue
        problem = Problem(d)
        expected = {
            run.name: predict(
                problem,
                Host(link_of(rate, round_trip)),
                machine.alone,
                run.exchange,
                make(run.compressor),
                workers,
                samples * workers,
                error_feedback=run.error_feedback,
            )
            for run in (run_of(name, d) for name in cell["run"].unique())
        }
        plain = cell[cell["run"] == _PLAIN].set_index("trial")
        for name, timed in cell[cell["run"] != _PLAIN].groupby("run"):
            due, other = expected[_PLAIN], expected[str(name)]
            fewer = due.iterations / other.iterations
            gains = fewer * plain["seconds"] / timed.set_index("trial")["seconds"]
            rows.append(
                {
                    **timed.iloc[0][_SAID].to_dict(),
                    "gain": gains.mean(),
                    "low": gains.min(),
                    "high": gains.max(),
                    "planned": fewer * due.iteration / other.iteration,
                    "planned_low": fewer * plain["at_least"].mean() / timed["predicted"].mean(),
                    "planned_high": fewer * plain["predicted"].mean() / timed["at_least"].mean(),
                    "network": min(plain["network"].mean(), timed["network"].mean()),
                }
            )
    return pd.DataFrame(rows, columns=_COLUMNS)


def marked(ways: pd.DataFrame, gains: pd.DataFrame) -> pd.DataFrame:
    """Return the map of the best ways with what was timed in its cells.

    Parameters
    ----------
    ways : DataFrame
        ``dimension``, ``workers``, ``rate``, and ``rank_batch``, the samples of a rank where they are given.
    gains : DataFrame
        As `measured_gains` returns it.

    Returns
    -------
    DataFrame
        With more columns: ``timed``, the run that gained most of those that were timed, ``timed_gain``, and
        ``timed_planned``, the gain that is planned for that run; missing where nothing was timed.
    """
    best = gains.sort_values("gain").groupby(_AT, as_index=False).last()[[*_AT, "run", "gain", "planned"]]
    names = {"run": "timed", "gain": "timed_gain", "planned": "timed_planned"}
    keys = dict.fromkeys(_AT, float)
    joined = ways.astype(keys).merge(best.rename(columns=names).astype(keys), how="left", on=_AT)
    return joined.astype({"dimension": int, "workers": int})


def agreeing(name: str, gains: pd.DataFrame, trials: int, evidence: str) -> list[Verdict]:
    """Hold the gains of a cell against those that are planned, where the network dominates both runs."""
    limited = gains[gains["network"] >= DOMINATES]
    if limited.empty:
        return []
    off = limited["gain"] / limited["gain"].clip(limited["planned_low"], limited["planned_high"]) - 1
    farthest = limited.iloc[int(off.abs().argmax())]
    return [
        exactly(
            f"gains over SGD with fp32 by {BASELINE} are within {MOST_OUTSIDE:.0%} of the bounds planned for hosts "
            "that share this machine, where the network dominates",
            name,
            bool(off.abs().max() <= MOST_OUTSIDE),
            trials=trials,
            evidence=evidence,
            note=f"Of {len(limited)} ways and rates the farthest is {farthest['run']} at {farthest['rate'] / 1e6:g} "
            f"Mbit/s: {farthest['gain']:.2g}, planned {farthest['planned_low']:.2g} to "
            f"{farthest['planned_high']:.2g}.",
        )
    ]
