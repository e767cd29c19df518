"""The search for a plan: over exchanges, compressors, levels, codings and mini-batches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from relufit import theory
from relufit.compression import Compressor, compressor_classes
from relufit.errors import ConfigError
from relufit.exchange import EXCHANGES, find_exchange
from relufit.planning.comparators import BASELINE, Comparator
from relufit.planning.costs import Costs
from relufit.planning.predictions import Prediction, Way, largest_batch
from relufit.planning.problem import Host, Problem

#: Levels over the root of the dimension: fewest bytes are sent near .6; where others cost more, finer ones are better.
SIGMAS = (0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0, 1.5, 2.5, 4.0)
#: Mini-batches are tried up to so many times the critical one, so many of them.
_BEYOND, _BATCHES = 64, 28
#: What may be made small, as columns; bytes are those of both ways.
GOALS = ("seconds", "dollars", "bytes")
#: More ranks than these are not planned for.
MAX_WORKERS = 100_000


def compressors(dimension: int) -> list[Compressor]:
    """Return what a plan chooses from: the families of all compressors of which iterations are predicted.

    Those that are biased have error feedback.
    """
    members = [make(dimension) for family in compressor_classes() for _, make in family.family(SIGMAS)]
    return [member for member in dict.fromkeys(members) if member.encoding(dimension) is not None]


def needs_feedback(compressor: Compressor, dimension: int) -> bool:
    """Tell whether iterations with a compressor are predicted with error feedback alone: it is biased."""
    return compressor.variance(dimension) is None


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
    exchanges: Sequence[str] = tuple(EXCHANGES),
    against: Comparator = BASELINE,
    rank_batch: int | None = None,
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
    against : Comparator
        What gains are stated against: SGD in fp32 by all-reduce if not given.
    rank_batch : int, optional
        Samples of a rank in an iteration, for all plans and the comparator, in place of the best of each.

    Returns
    -------
    DataFrame
        A row a plan, biased compressors with error feedback, with the columns of `Prediction`, ``bytes`` and ``gain``,
        the best first: those that fit into memory, then those whose vectors do, then the rest, each by the goal.
        ``gain`` is what the comparator takes of the goal, on as many ranks at its own best mini-batch, over what the
        plan takes: below 1 the plan is the worse one. It is NaN where neither takes anything, or neither comes to the
        tolerance.

    Raises
    ------
    ConfigError
        If a number of ranks or of samples is impossible, money is the goal and there is no price, or the comparator
        is biased.
    """
    if goal not in GOALS:
        raise ConfigError(f"unknown goal {goal!r}", where="goal", remedy=f"choose one of {', '.join(GOALS)}")
    if goal == "dollars" and host.price is None:
        raise ConfigError("there is no price of a host", where="goal", remedy="give an instance type, or a price")
    for count in workers:
        if not 1 <= count <= min(MAX_WORKERS, problem.rows):
            most = min(MAX_WORKERS, problem.rows)
            raise ConfigError(f"{count} ranks", where="workers", remedy=f"give 1 to {most}")
        if rank_batch is not None and not 1 <= rank_batch <= problem.rows // count:
            what = f"{rank_batch} samples for each of {count} ranks, of {problem.rows} rows"
            raise ConfigError(what, where="rank_batch", remedy=f"give 1 to {problem.rows // count}")
    rows, gains = [], []
    for count in workers:
        compared = _value(
            best_batch(problem, host, costs, against.exchange, against.compressor, count, goal, rank_batch), goal
        )
        for exchange in exchanges:
            # Where vectors are cut into parts, levels follow the coordinates of a part.
            size = max(find_exchange(exchange).part_sizes(problem.dimension, count))
            for compressor in compressors(size):
                least = count * (rank_batch or 1)
                if needs_feedback(compressor, size) and least > largest_batch(problem.dimension):
                    continue
                row = best_batch(problem, host, costs, exchange, compressor, count, goal, rank_batch)
                rows.append(row)
                gains.append(_ratio(compared, _value(row, goal)))
    table = pd.DataFrame([vars(row) for row in rows]).assign(gain=gains)
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


def best_batch(
    problem: Problem,
    host: Host,
    costs: Costs,
    exchange: str,
    compressor: Compressor,
    workers: int,
    goal: str,
    rank_batch: int | None = None,
) -> Prediction:
    """Return the prediction at the mini-batch that is best by the goal, or with that many samples of a rank.

    A biased compressor has error feedback, and mini-batches up to `largest_batch`.
    """
    feedback = needs_feedback(compressor, problem.dimension)
    sizes = batches(problem, workers) if rank_batch is None else [rank_batch * workers]
    if feedback and rank_batch is None:
        most = largest_batch(problem.dimension)
        sizes = [*(size for size in sizes if size <= most), most - most % workers or workers]
    way = Way(problem, host, costs, exchange, compressor, workers, error_feedback=feedback)
    return way.predict(min(sizes, key=lambda size: (way.value(size, goal), size)))


def _ratio(compared: float, value: float) -> float:
    if compared == value == 0 or (math.isinf(compared) and math.isinf(value)):
        return math.nan
    return compared / value if value else math.inf


def _value(prediction: Prediction, goal: str) -> float:
    return prediction.uplink + prediction.downlink if goal == "bytes" else float(getattr(prediction, goal))
