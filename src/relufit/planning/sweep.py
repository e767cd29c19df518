"""How much sooner QSGD comes to an accuracy than SGD in single precision, by the rate of the links."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from relufit.compression import make_compressor
from relufit.exchange import EXCHANGES
from relufit.planning.costs import Costs
from relufit.planning.predictions import predict
from relufit.planning.problem import Host, Problem
from relufit.theory.network import Network

#: Levels over the root of the dimension: about where fewest bytes are sent.
_SIGMA = 0.6
#: 10 Mbit/s to 100 Gbit/s, in bit/s.
RATES = tuple(float(rate) for rate in np.geomspace(1e7, 1e11, 17))


def _plain(rate: float) -> Network:
    return Network(rate, 2.5e-4)


def sweep(
    costs: Costs,
    *,
    dimensions: Sequence[int] = (10_000, 1_000_000),
    workers: Sequence[int] = (4, 16, 64),
    rates: Sequence[float] = RATES,
    exchanges: Sequence[str] = tuple(EXCHANGES),
    codings: Sequence[str] = ("packed", "rans"),
    rank_batch: int = 8,
    ratio: float = 10.0,
    tolerance: float = 1e-6,
    network: Callable[[float], Network] = _plain,
) -> pd.DataFrame:
    """Return predicted seconds of SGD in fp32 and QSGD at s = .6 sqrt(d), over the same exchange, and their ratio.

    Parameters
    ----------
    costs : Costs
    dimensions, workers, rates, exchanges, codings
        What is gone through; rates in bit/s.
    rank_batch : int
        Samples of a rank in an iteration, the same for both.
    ratio, tolerance
        As in `Problem`.
    network : callable
        Returns what connects the hosts, at a rate; with a round trip of .5 ms, and packets of 1500 bytes, if not given.

    Returns
    -------
    DataFrame
        Columns ``dimension``, ``workers``, ``exchange``, ``rate``, ``levels``, ``coding`` (that of the codings which
        is fastest there), ``slower``, how many times as many iterations QSGD takes, ``sgd_seconds``,
        ``qsgd_seconds``, ``speed_up``, and ``low`` and ``high``: between these the ratio lies whatever overlaps.
    """
    rows = []
    for d in dimensions:
        problem, levels = Problem(d, ratio, tolerance), max(1, round(_SIGMA * math.sqrt(d)))
        for count in workers:
            for exchange in exchanges:
                for rate in rates:
                    host, m = Host(network(rate)), rank_batch * count
                    sgd = predict(problem, host, costs, exchange, make_compressor("fp32"), count, m)
                    coded = [
                        predict(
                            problem,
                            host,
                            costs,
                            exchange,
                            make_compressor("qsgd", levels=levels, coding=coding),
                            count,
                            m,
                        )
                        for coding in codings
                    ]
                    qsgd = min(coded, key=lambda prediction: prediction.seconds)
                    slower = qsgd.iterations / sgd.iterations
                    rows.append(
                        {
                            "dimension": d,
                            "workers": count,
                            "exchange": exchange,
                            "rate": rate,
                            "levels": levels,
                            "coding": qsgd.coding,
                            "slower": slower,
                            "sgd_seconds": sgd.seconds,
                            "qsgd_seconds": qsgd.seconds,
                            "speed_up": sgd.seconds / qsgd.seconds,
                            "low": sgd.at_least / (qsgd.iteration * slower),
                            "high": sgd.iteration / (qsgd.at_least * slower),
                        }
                    )
    return pd.DataFrame(rows)
