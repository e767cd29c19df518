"""The alpha-beta model of iterations between hosts, with the costs that were measured in the same runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from relufit.clusters.emulated.shaping import MTU, Link
from relufit.exchange import BASELINE, EXCHANGES
from relufit.experiments.link_speed.runs import Run, cell_name, run_of, runs_of
from relufit.theory import network

#: Numbers in a message that has next to nothing in it, and the bytes of such a payload.
EMPTY = 16
_EMPTY_BYTES = 4 * EMPTY + 4
#: The network dominates where links and latency are that part of an iteration's seconds; how far outside of what is
#: predicted seconds may be there.
DOMINATES, MOST_OUTSIDE = 2 / 3, 0.15
_CURVE_RATES = np.geomspace(1e7, 1e11, 41)


class Model:
    """The model of iterations with one dimension and number of ranks.

    Computing, encoding, decoding and the update are medians of a run over its rates and trials, as ranks have measured
    them that share the processors of one machine. A message's own cost is what an exchange of messages with next to
    nothing in them takes beyond half round trips.

    Parameters
    ----------
    cell : dict
        The ``dimension`` and the ``workers``.
    uplink_bytes : Series
        Payload bytes of all gradients of an iteration, by run.
    measured : DataFrame
        A row for each ``run``, ``rate`` and ``trial``: the ``seconds`` of an iteration, and of its ``compute``,
        ``encode``, ``decode`` (of all gradients) and ``update``. Runs that begin with ``empty-`` are those without a
        payload; what was not timed between hosts has a rate of 0.
    round_trip : float
        Seconds.
    exchanges : sequence of str
        Those of `curves`.
    messages : dict, optional
        Seconds of a message by exchange, where no run without a payload was measured.
    """

    def __init__(
        self,
        cell: Mapping[str, Any],
        uplink_bytes: pd.Series,
        measured: pd.DataFrame,
        *,
        round_trip: float,
        exchanges: Sequence[str],
        messages: Mapping[str, float] | None = None,
    ) -> None:
        self._cell, self._measured, self._d, self._ranks = cell, measured, cell["dimension"], cell["workers"]
        self._bytes, self._round_trip, self._exchanges = uplink_bytes, round_trip, exchanges
        self._works: dict[str, network.Work] = {}
        self.messages = {**(messages or {}), **self._messages()}

    def points(self) -> pd.DataFrame:
        """Return what was measured, with the seconds predicted and the part of them that the network takes.

        A row for each run, rate and trial. Of the model there are ``predicted``, its upper bound, ``at_least``, its
        lower one, and ``network``, the share of links and latency in the upper one. The seconds of an iteration and of
        its parts are those of the traces, but for ``exchange``, which is the name of the exchange.
        """
        empty = self._measured["run"].str.startswith("empty-")
        points = self._measured[(self._measured["rate"] > 0) & ~empty].copy()
        runs = {name: run_of(name, self._d) for name in points["run"].unique()}
        points = points.rename(columns={"exchange": "moving"})
        predicted = [self.iteration(runs[name], rate) for name, rate in zip(points["run"], points["rate"], strict=True)]
        points["predicted"] = [iteration.upper for iteration in predicted]
        points["at_least"] = [iteration.lower for iteration in predicted]
        points["network"] = [(iteration.link + iteration.latency) / iteration.upper for iteration in predicted]
        points["cell"] = cell_name(self._cell)
        points["exchange"] = [runs[name].exchange for name in points["run"]]
        points["compressor"] = [name.removesuffix(f"-{runs[name].exchange}") for name in points["run"]]
        return points

    def curves(self) -> pd.DataFrame:
        """Return the predicted gain of each QSGD over fp32 against the rate, with the ratio of the lower bounds.

        ``against`` is the exchange of fp32: that of the run itself, and all_reduce where that is timed too.
        """
        rows = []
        for run in runs_of(self._d, self._exchanges):
            if not run.name.startswith("qsgd"):
                continue
            for against in compared_with(run.exchange, self._exchanges):
                plain = Run(f"sgd-fp32-{against}", {"name": "fp32"}, against)
                for rate in _CURVE_RATES:
                    slow, fast = self.iteration(plain, rate), self.iteration(run, rate)
                    rows.append(
                        {
                            "cell": cell_name(self._cell),
                            "exchange": run.exchange,
                            "compressor": run.name.removesuffix(f"-{run.exchange}"),
                            "against": against,
                            "rate": rate,
                            "gain": slow.upper / fast.upper,
                            "low": slow.lower / fast.lower,
                        }
                    )
        return pd.DataFrame(rows)

    def iteration(self, run: Run, rate: float, *, ahead: bool = False) -> network.Iteration:
        """Return the predicted seconds of an iteration, `ahead` those of ranks that compute while messages travel."""
        exchange = EXCHANGES[run.exchange]
        payload, link = (
            float(self._bytes[run.name]) / exchange.sent(self._ranks).up,
            link_of(rate, self._round_trip),
        )
        work = replace(self._work(run.name), message=self.messages.get(run.exchange, 0.0))
        return exchange.iteration(self._ranks, payload, self._d, link, work, ahead=ahead)

    def _work(self, name: str) -> network.Work:
        if name not in self._works:
            iterations = self._measured[self._measured["run"] == name]
            costs = iterations[["compute", "encode", "decode", "update"]].median()
            decode = costs["decode"] / self._decodings(run_of(name, self._d).exchange)
            self._works[name] = network.Work(costs["compute"], costs["encode"], decode, costs["update"])
        return self._works[name]

    def _decodings(self, exchange: str) -> float:
        """Return how many whole vectors are decoded in an iteration, by the member whose seconds are in a trace."""
        one = EXCHANGES[exchange].seconds(self._ranks, self._ranks, 0.0, 0.0, 0.0, network.Work(decode=1.0))
        return one.decode

    def _messages(self) -> dict[str, float]:
        """Return the seconds of a message's own, from the exchanges of next to nothing."""
        seconds = {}
        for name, exchange in EXCHANGES.items():
            rows = self._measured[self._measured["run"] == f"empty-{name}"]
            if rows.empty:
                continue
            link = link_of(float(rows["rate"].iloc[0]), self._round_trip)
            nothing = exchange.iteration(self._ranks, _EMPTY_BYTES, EMPTY, link, network.Work(message=1.0))
            rest = float(rows["seconds"].median()) - nothing.latency - nothing.link
            seconds[name] = max(0.0, rest) / nothing.messages
        return seconds


def compared_with(exchange: str, timed: Sequence[str]) -> list[str]:
    """Return in which exchanges SGD in fp32 is a run's comparator: in the run's own, and in the baseline's if timed."""
    return list(dict.fromkeys([exchange, *([BASELINE] if BASELINE in timed else [])]))


def link_of(rate: float, round_trip: float) -> network.Network:
    """Return the links of emulated hosts: bit/s, and seconds there and back.

    What a link lets pass at once is saved up in the pause in which ranks compute.
    """
    return network.Network(rate, round_trip / 2, MTU, float(Link(rate=rate).burst))
