"""The alpha-beta model of iterations between hosts, with the costs that were measured in the same runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from relufit.clusters.emulated.shaping import MTU, Link
from relufit.experiments.link_runs import EXCHANGES, Run, cell_name, run_of, runs_of
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
        messages: Mapping[str, float] | None = None,
    ) -> None:
        self._cell, self._measured, self._d, self._ranks = cell, measured, cell["dimension"], cell["workers"]
        self._bytes, self._round_trip = uplink_bytes, round_trip
        self.messages = {**(messages or {}), **self._messages()}

    def points(self) -> pd.DataFrame:
        """Return what was measured, with the seconds predicted and the part of them that the network takes.

        A row for each run, rate and trial. Of the model there are ``predicted``, its upper bound, ``at_least``, its
        lower one, and ``network``, the share of links and latency in the upper one. The seconds of an iteration and of
        its parts are those of the traces, but for ``exchange``, which is the name of the exchange.
        """
        empty = self._measured["run"].str.startswith("empty-")
        found = self._measured[(self._measured["rate"] > 0) & ~empty].copy()
        runs = {name: run_of(name, self._d) for name in found["run"].unique()}
        found = found.rename(columns={"exchange": "moving"})
        predicted = [self.iteration(runs[name], rate) for name, rate in zip(found["run"], found["rate"], strict=True)]
        found["predicted"] = [its.upper for its in predicted]
        found["at_least"] = [its.lower for its in predicted]
        found["network"] = [(its.link + its.latency) / its.upper for its in predicted]
        found["cell"] = cell_name(self._cell)
        found["exchange"] = [runs[name].exchange for name in found["run"]]
        found["compressor"] = [name.removesuffix(f"-{runs[name].exchange}") for name in found["run"]]
        return found

    def curves(self) -> pd.DataFrame:
        """Return the predicted gain of each QSGD over fp32 against the rate, with the ratio of the lower bounds."""
        rows = []
        for run in runs_of(self._d):
            if not run.name.startswith("qsgd"):
                continue
            plain = Run(f"sgd-fp32-{run.exchange}", {"name": "fp32"}, run.exchange)
            for rate in _CURVE_RATES:
                slow, fast = self.iteration(plain, rate), self.iteration(run, rate)
                rows.append(
                    {
                        "cell": cell_name(self._cell),
                        "exchange": run.exchange,
                        "compressor": run.name.removesuffix(f"-{run.exchange}"),
                        "rate": rate,
                        "gain": slow.upper / fast.upper,
                        "low": slow.lower / fast.lower,
                    }
                )
        return pd.DataFrame(rows)

    def iteration(self, run: Run, rate: float) -> network.Iteration:
        """Return the predicted seconds of an iteration."""
        copies = self._ranks * (self._ranks - 1 if run.exchange == "all_to_all" else 1)
        payload, link = float(self._bytes[run.name]) / copies, link_of(rate, self._round_trip)
        work = replace(self._work(run.name), message=self.messages.get(run.exchange, 0.0))
        return network.iteration(run.exchange, self._ranks, payload, self._d, link, work)

    def _work(self, name: str) -> network.Work:
        its = self._measured[self._measured["run"] == name]
        costs = its[["compute", "encode", "decode", "update"]].median()
        return network.Work(costs["compute"], costs["encode"], costs["decode"] / self._ranks, costs["update"])

    def _messages(self) -> dict[str, float]:
        """Return the seconds of a message's own, from the exchanges of next to nothing."""
        found = {}
        for exchange in EXCHANGES:
            its = self._measured[self._measured["run"] == f"empty-{exchange}"]
            if its.empty:
                continue
            link = link_of(float(its["rate"].iloc[0]), self._round_trip)
            nothing = network.iteration(exchange, self._ranks, _EMPTY_BYTES, EMPTY, link, network.Work(message=1.0))
            rest = float(its["seconds"].median()) - nothing.latency - nothing.link
            found[exchange] = max(0.0, rest) / nothing.messages
        return found


def link_of(rate: float, round_trip: float) -> network.Network:
    """Return the links of emulated hosts: bit/s, and seconds there and back."""
    return network.Network(rate, round_trip / 2, MTU, Link(rate=rate).burst)
