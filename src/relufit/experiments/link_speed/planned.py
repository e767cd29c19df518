"""Iterations between hosts beside what `relufit plan` says of them, from costs that it measures itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from relufit.claims.verdict import Verdict, exactly
from relufit.clusters.emulated.shaping import MTU
from relufit.experiments.framework.quantized import make
from relufit.experiments.link_speed.model import DOMINATES, MOST_OUTSIDE, link_of
from relufit.experiments.link_speed.runs import cell_name, run_of
from relufit.planning import Machine, payoff, sweep
from relufit.theory.network import Network

#: More ranks than this machine carries, for which there is the plan alone.
_BEYOND = (16, 64)
#: 30 Mbit/s to 100 Gbit/s, in bit/s.
_RATES = tuple(float(rate) for rate in np.geomspace(3e7, 1e11, 29))


def planned(
    machine: Machine, points: pd.DataFrame, cell: Mapping[str, Any], rows: int, round_trip: float
) -> pd.DataFrame:
    """Return what an iteration of each run at each rate has taken, and what is predicted.

    Parameters
    ----------
    machine : Machine
    points : DataFrame
        ``run``, ``exchange``, ``compressor``, ``rate``, ``trial`` and ``seconds`` of iterations that were measured.
    cell : dict
        ``dimension`` and ``workers``.
    rows : int
        Of a rank in an iteration.
    round_trip : float
        Seconds.

    Returns
    -------
    DataFrame
        Of an iteration: ``seconds`` measured; ``at_least`` and ``predicted``, the bounds for hosts that share this
        machine; ``apart``, what is planned with for hosts of their own; ``network``, the part of links and latency in
        ``seconds``, which hardly depends on the costs; ``outside``, how far the measured seconds are outside of the
        bounds, and ``error``, how far from ``predicted``, both relative and below 0 where the run was quicker.
    """
    d, workers, made = cell["dimension"], cell["workers"], list[dict[Any, Any]]()
    for point in points[["run", "exchange", "compressor", "rate", "trial", "seconds"]].to_dict("records"):
        exchange, rate, seconds = point["exchange"], point["rate"], point["seconds"]
        links = link_of(rate, round_trip)
        run = run_of(point["run"], d)
        apart, shared = machine.iteration(
            exchange, make(run.compressor), workers, d, rows, links, error_feedback=run.error_feedback
        )
        made.append(
            {
                "cell": cell_name(cell),
                "dimension": d,
                "workers": workers,
                "rank_batch": rows,
                **point,
                "at_least": apart.lower,
                "predicted": shared.upper,
                "apart": apart.upper,
                "network": min(1.0, (shared.link + shared.latency) / seconds),
                "outside": max(0.0, seconds / shared.upper - 1) + min(0.0, seconds / apart.lower - 1),
                "error": seconds / shared.upper - 1,
            }
        )
    return pd.DataFrame(made, columns=_COLUMNS)


_COLUMNS = [
    "cell", "dimension", "workers", "rank_batch", "run", "exchange", "compressor", "rate", "trial", "seconds",
    "at_least", "predicted", "apart", "network", "outside", "error",
]  # fmt: skip


def together(plans: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the rows of several tables of `planned` in one, which has its columns even if there are none."""
    return pd.concat(plans, ignore_index=True) if plans else pd.DataFrame(columns=_COLUMNS)


def held(name: str, table: pd.DataFrame, trials: int, evidence: str) -> list[Verdict]:
    """Hold the seconds of an iteration against what was planned, where the network dominates."""
    mean = table.groupby(["run", "rate"])[["seconds", "at_least", "predicted", "network"]].mean()
    outside = mean["seconds"] / mean["seconds"].clip(mean["at_least"], mean["predicted"]) - 1
    error, limited = mean["seconds"] / mean["predicted"] - 1, mean["network"] >= DOMINATES
    if not limited.any():
        return []
    run, rate = outside[limited].index[int(outside[limited].abs().argmax())]
    note = (
        f"Of {limited.sum()} ways and rates the farthest outside is {run} at {rate / 1e6:g} Mbit/s, "
        f"{outside[limited].abs().max():.1%}. What is planned with, the upper bound, is missed by "
        f"{error[limited].abs().median():.1%} in the median, and from {error[limited].min():+.1%} to "
        f"{error[limited].max():+.1%}."
    )
    if not limited.all():
        rest = outside[~limited]
        note += (
            f" Where the network does not dominate, {len(rest)} ways and rates are from {rest.min():+.1%} to "
            f"{rest.max():+.1%} outside."
        )
    return [
        exactly(
            f"seconds of an iteration are within {MOST_OUTSIDE:.0%} of what relufit plan predicts from costs of its "
            "own, where the network dominates",
            name,
            bool(outside[limited].abs().max() <= MOST_OUTSIDE),
            trials=trials,
            evidence=evidence,
            note=note,
        )
    ]


def speed_up(machine: Machine, table: pd.DataFrame, section: Mapping[str, Any]) -> pd.DataFrame:
    """Return how much sooner QSGD comes to an accuracy than SGD in single precision, against the rate.

    For the dimensions and ranks of all cells, and for more ranks, rows of `relufit.planning.sweep` with hosts of their
    own, whose ``source`` is ``planned``. Where iterations were measured there are rows with their seconds, times the
    iterations that theory expects, whose ``source`` is ``measured``, and such with the seconds that were predicted for
    hosts that share this machine, ``shared``; ``low`` and ``high`` are the extremes over trials.
    """
    cells, rows = section["cells"], []
    sweeps = [
        sweep(
            machine.alone,
            dimensions=[d],
            workers=sorted({*_BEYOND, *(cell["workers"] for cell in cells if cell["dimension"] == d)}),
            rates=_RATES,
            rank_batch=section["rank_batch"],
            network=lambda rate: link_of(rate, section["round_trip"]),
        )
        for d in sorted({cell["dimension"] for cell in cells})
    ]
    predicted = pd.concat(sweeps, ignore_index=True).assign(source="planned")
    keys = ["dimension", "workers", "exchange"]
    known = {tuple(row[:3]): row[3:] for row in predicted[[*keys, "levels", "slower"]].itertuples(index=False)}
    for (*at, rate), group in table.groupby([*keys, "rate"]):
        if tuple(at) not in known:
            continue
        levels, more = known[tuple(at)]
        common = {**dict(zip(keys, at, strict=True)), "rate": rate, "levels": levels, "slower": more}
        for column, source in (("seconds", "measured"), ("predicted", "shared")):
            plain = group[group["compressor"] == "sgd-fp32"].set_index("trial")[column]
            coded = group[group["compressor"].str.startswith(f"qsgd-s{levels}-")].groupby("trial")[column].min()
            ratio = (plain / (coded * more)).dropna()
            if len(ratio):
                its_own = {"speed_up": ratio.mean(), "low": ratio.min(), "high": ratio.max(), "source": source}
                rows.append({**common, **its_own})
    return pd.concat([predicted, pd.DataFrame(rows)], ignore_index=True) if rows else predicted


def best_ways(machine: Machine, section: Mapping[str, Any]) -> pd.DataFrame:
    """Return `relufit.planning.payoff` for the ``map`` of the section: hosts of their own, links without a burst.

    ``batch`` says of which mini-batch: the best of each way, or the one that iterations are timed with, whose samples
    of a rank are the ``rank_batch``.
    """

    def links(rate: float) -> Network:
        return Network(rate, section["round_trip"] / 2, MTU)

    given = section["rank_batch"]
    return pd.concat(
        [
            payoff(machine.alone, **section["map"], network=links, rank_batch=samples).assign(
                batch=batch, rank_batch=samples
            )
            for samples, batch in ((None, "best of each"), (given, f"{given} $K$"))
        ],
        ignore_index=True,
    )
