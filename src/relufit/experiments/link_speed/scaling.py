"""Strong and weak scaling: more hosts for the same mini-batch, and for one that grows with their number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from relufit.compression.cast import Float32
from relufit.exchange import BASELINE, find_exchange
from relufit.experiments.framework.quantized import make
from relufit.experiments.link_speed.model import link_of
from relufit.experiments.link_speed.runs import Run, compressors
from relufit.planning import Machine, Problem
from relufit.planning.predictions import iterations_by_batch, work_of

#: What of the mini-batch is the same for all numbers of ranks.
STRONG, WEAK = "same $m$", "same $m/K$"


def cells_of(scaling: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the cells that are timed, with their ``rank_batch``, once where both mini-batches are the same."""
    rows = [
        (workers, count)
        for workers in scaling["workers"]
        for count in (scaling["rank_batch"], scaling["mini_batch"] // workers)
    ]
    return [
        {"dimension": scaling["dimension"], "workers": workers, "rates": [scaling["rate"]], "rank_batch": count}
        for workers, count in dict.fromkeys(rows)
    ]


def scaled_runs(scaling: Mapping[str, Any]) -> Iterator[Run]:
    """Yield the ways to train that are compared."""
    known = compressors(scaling["dimension"])
    for way in scaling["runs"]:
        yield known[way["compressor"]].over(way["exchange"])


def scaled(machine: Machine, measured: pd.DataFrame, scaling: Mapping[str, Any], round_trip: float) -> pd.DataFrame:
    """Return the seconds to the tolerance by the number of ranks.

    Iterations are those of theory at the optimal step, see `relufit.planning.predictions.iterations_by_batch`;
    their seconds are measured or planned.

    Parameters
    ----------
    machine : Machine
    measured : DataFrame
        The ``seconds`` of an iteration by ``run``, ``workers``, ``rank_batch`` and ``trial``, of the cells of
        `cells_of`.
    scaling : dict
        The part ``scaling`` of the section.
    round_trip : float
        Seconds.

    Returns
    -------
    DataFrame
        ``batch`` is what does not depend on the number of ranks, `STRONG` or `WEAK`; ``run``, ``exchange``,
        ``compressor``, ``workers``, ``mini_batch``, ``iterations``; ``iteration``, its seconds, and ``seconds``, all;
        ``speed_up`` over SGD on one host with the mini-batch of the row of one rank; ``low`` and ``high``, its extremes
        over trials. ``source`` is ``measured``, ``planned`` for hosts of their own, or ``shared`` for hosts that share
        this machine.
    """
    d, made = scaling["dimension"], []
    for batch in (STRONG, WEAK):
        one = _one_host(machine, scaling, _samples(scaling, batch, 1))
        made.append({"batch": batch, **one, "speed_up": 1.0, "source": "planned"})
        for run in scaled_runs(scaling):
            for workers in sorted({*scaling["workers"], *scaling["beyond"]}):
                samples = _samples(scaling, batch, workers)
                compressor, rows = make(run.compressor), -(-samples // workers)
                exchange, feedback = find_exchange(run.exchange), {"error_feedback": run.error_feedback}
                needed = iterations_by_batch(_problem(scaling), exchange, compressor, workers, **feedback)[1](samples)
                apart, shared = machine.iteration(
                    run.exchange, compressor, workers, d, rows, link_of(scaling["rate"], round_trip), **feedback
                )
                at = (measured["run"] == run.name) & (measured["workers"] == workers) & (measured["rank_batch"] == rows)
                known = {"planned": [apart.upper]}
                if at.any():
                    known |= {"shared": [shared.upper], "measured": list(measured.loc[at, "seconds"])}
                for source, each in known.items():
                    seconds = sum(each) / len(each)
                    made.append(
                        {
                            "batch": batch,
                            "run": run.name,
                            "exchange": run.exchange,
                            "compressor": run.name.removesuffix(f"-{run.exchange}"),
                            "workers": workers,
                            "mini_batch": samples,
                            "iterations": needed,
                            "iteration": seconds,
                            "seconds": needed * seconds,
                            "speed_up": one["seconds"] / (needed * seconds),
                            "low": one["seconds"] / (needed * max(each)),
                            "high": one["seconds"] / (needed * min(each)),
                            "source": source,
                        }
                    )
    return pd.DataFrame(made)


def _samples(scaling: Mapping[str, Any], batch: str, workers: int) -> int:
    return int(scaling["mini_batch"] if batch == STRONG else scaling["rank_batch"] * workers)


def _problem(scaling: Mapping[str, Any]) -> Problem:
    return Problem(scaling["dimension"], scaling["ratio"], scaling["tolerance"])


def _one_host(machine: Machine, scaling: Mapping[str, Any], samples: int) -> dict[str, Any]:
    """Return what SGD on one host takes, which computes and updates, and sends nothing."""
    exchange, plain = find_exchange(BASELINE), Float32()
    work = work_of(machine.alone, plain, exchange, scaling["dimension"], 1, samples)
    needed = iterations_by_batch(_problem(scaling), exchange, plain, 1)[1](samples)
    seconds = work.compute + work.update
    whole = {"iterations": needed, "iteration": seconds, "seconds": needed * seconds}
    return {"run": "one host", "exchange": "", "compressor": "", "workers": 1, "mini_batch": samples, **whole}
