"""The search for a plan: over exchanges, compressors, levels, codings and mini-batches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from relufit import theory
from relufit.compression import Compressor, make_compressor
from relufit.compression.coding import CODINGS
from relufit.compression.qsgd import MAX_LEVELS
from relufit.errors import ConfigError
from relufit.planning.costs import Costs
from relufit.planning.predictions import Host, Prediction, Problem, predict
from relufit.theory.network import EXCHANGES

#: Levels over the root of the dimension: fewest bytes are sent near .6; where others cost more, finer ones are better.
SIGMAS = (0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0, 1.5, 2.5, 4.0)
#: Mini-batches are tried up to so many times the critical one, so many of them.
_BEYOND, _BATCHES = 64, 28
#: What may be made small, as columns; bytes are those of both ways.
GOALS = ("seconds", "dollars", "bytes")
#: More ranks than these are not planned for.
MAX_WORKERS = 100_000


def compressors(dimension: int) -> Iterator[Compressor]:
    """Yield what a plan chooses from."""
    for name in ("fp64", "fp32", "fp16"):
        yield make_compressor(name)
    levels = sorted({min(MAX_LEVELS, max(1, round(sigma * math.sqrt(dimension)))) for sigma in SIGMAS})
    for coding in CODINGS:
        yield make_compressor("ternary", coding=coding)
        yield make_compressor("natural", coding=coding)
        for count in levels:
            yield make_compressor("qsgd", levels=count, coding=coding)


def batches(problem: Problem, workers: int) -> list[int]:
    """Return the mini-batches that are tried: the same number of samples for each rank, to beyond the critical one."""
    critical = theory.critical_batch(problem.dimension)
    most = max(workers, min(problem.rows, _BEYOND * critical))
    tried = [*np.geomspace(workers, most, _BATCHES).tolist(), min(critical, most)]
    return sorted({workers * max(1, round(m / workers)) for m in tried})


def plan(
    problem: Problem,
    host: Host,
    costs: Costs,
    workers: Sequence[int],
    *,
    goal: str = "seconds",
    exchanges: Sequence[str] = EXCHANGES,
) -> pd.DataFrame:
    """Return, for each number of ranks, exchange and compressor, the prediction at its best mini-batch.

    Parameters
    ----------
    problem, host, costs
        What is to be done, on what, and what its parts cost.
    workers : sequence of int
        Numbers of ranks, a host each.
    goal : str
        What is to be small: ``"seconds"``, ``"dollars"`` or ``"bytes"``.
    exchanges : sequence of str
        Ways to exchange gradients.

    Returns
    -------
    DataFrame
        A row a plan, with the columns of `Prediction` and ``bytes``, the best first: those that fit into memory, then
        those whose vectors do, then the rest, each by the goal.

    Raises
    ------
    ConfigError
        If a number of ranks is impossible, or money is the goal and there is no price.
    """
    if goal not in GOALS:
        raise ConfigError(f"unknown goal {goal!r}", where="goal", remedy=f"choose one of {', '.join(GOALS)}")
    if goal == "dollars" and host.price is None:
        raise ConfigError("there is no price of a host", where="goal", remedy="give an instance type, or a price")
    for count in workers:
        if not 1 <= count <= min(MAX_WORKERS, problem.rows):
            most = min(MAX_WORKERS, problem.rows)
            raise ConfigError(f"{count} ranks", where="workers", remedy=f"give 1 to {most}")
    rows = []
    for count in workers:
        sizes = batches(problem, count)
        for exchange in exchanges:
            for compressor in compressors(problem.dimension):
                tried = (predict(problem, host, costs, exchange, compressor, count, m) for m in sizes)
                rows.append(min(tried, key=lambda its: (_value(its, goal), its.mini_batch)))
    table = pd.DataFrame([asdict(row) for row in rows])
    table.insert(table.columns.get_loc("hosts"), "bytes", table["uplink"] + table["downlink"])  # type: ignore[arg-type]
    order = ["shard_fits", "fits", goal, "seconds", "workers"]
    ascending = [False, False, True, True, True]
    return table.sort_values(order, ascending=ascending, kind="stable", ignore_index=True)


def best(table: pd.DataFrame, **fixed: Any) -> pd.Series:  # noqa: ANN401 - values of columns
    """Return the first row of a plan with these values of columns.

    Raises
    ------
    ConfigError
        If there is none.
    """
    for column, value in fixed.items():
        table = table[table[column] == value]
    if table.empty:
        raise ConfigError(f"no plan with {fixed}", where="plan")
    return table.iloc[0]


def _value(prediction: Prediction, goal: str) -> float:
    return prediction.uplink + prediction.downlink if goal == "bytes" else float(getattr(prediction, goal))
