"""Where compression pays: the best way to exchange and encode, by dimension, number of ranks and rate of the links."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from relufit.planning.comparators import BASELINE, Comparator
from relufit.planning.costs import Costs
from relufit.planning.problem import Host, Problem
from relufit.planning.search import best, plan
from relufit.theory.network import Network

#: Columns of a plan that say which way it is, and what it takes.
_WAY = ["exchange", "compressor", "coding", "levels", "error_feedback", "mini_batch", "seconds"]


def payoff(
    costs: Costs,
    *,
    dimensions: Sequence[int],
    workers: Sequence[int],
    rates: Sequence[float],
    network: Callable[[float], Network],
    ratio: float = 10.0,
    tolerance: float = 1e-6,
    against: Comparator = BASELINE,
    rank_batch: int | None = None,
) -> pd.DataFrame:
    """Return what `plan` recommends for each dimension, number of ranks and rate, and its gain over a comparator.

    Hosts have a link of their own, and nothing else runs on them.

    Parameters
    ----------
    costs : Costs
    dimensions, workers, rates
        What is gone through; rates in bit/s.
    network : callable
        Returns what connects the hosts, at a rate.
    ratio, tolerance
        As in `Problem`.
    against : Comparator
        SGD in fp32 by all-reduce if not given.
    rank_batch : int, optional
        Samples of a rank in an iteration, for both; if not given each is at its own best mini-batch.

    Returns
    -------
    DataFrame
        A row a combination: ``dimension``, ``workers``, ``rate``; of the plan that takes the fewest seconds
        ``exchange``, ``compressor``, ``coding``, ``levels``, ``error_feedback``, ``mini_batch`` and ``seconds``; and
        ``gain``, the seconds of the comparator over those.

    Raises
    ------
    ConfigError
        If a number is impossible.
    DataError
        If the costs have not those of a compressor.
    """
    rows = []
    for d in dimensions:
        problem = Problem(d, ratio, tolerance)
        for count in workers:
            for rate in rates:
                host = Host(network(rate))
                first = best(plan(problem, host, costs, [count], against=against, rank_batch=rank_batch))
                rows.append({"dimension": d, "workers": count, "rate": rate, **first[[*_WAY, "gain"]]})
    return pd.DataFrame(rows, columns=["dimension", "workers", "rate", *_WAY, "gain"])
