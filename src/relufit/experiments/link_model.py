"""What is timed between hosts, and the alpha-beta model of it with the costs that were measured in the same runs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from relufit.experiments.quantized import make
from relufit.theory import network

#: Exchanges by name: what a training run is told.
EXCHANGES: dict[str, dict[str, str]] = {
    "master": {},
    "relay": {"downlink": "relay"},
    "all_to_all": {"topology": "all_to_all"},
}
#: Compressors that are timed in some exchanges only.
_ONLY = {"sgd-fp64": ("master",), "qsgd-s4-rans": ("all_to_all",)}
#: Bytes of a packet on the emulated links.
MTU = 9001
#: Levels over sqrt(d) at which QSGD with an entropy code takes the fewest bits to an error.
_BEST = 0.6
_CURVE_RATES = np.geomspace(1e7, 1e11, 41)


class Run(NamedTuple):
    """One way to train: by name, the compressor and the exchange."""

    name: str
    compressor: dict[str, Any]
    exchange: str


def _compressors(d: int) -> dict[str, dict[str, Any]]:
    best = max(1, round(_BEST * math.sqrt(d)))
    return {
        "sgd-fp64": {"name": "fp64"},
        "sgd-fp32": {"name": "fp32"},
        f"qsgd-s{best}-rans": {"name": "qsgd", "levels": best, "coding": "rans"},
        f"qsgd-s{best}-packed": {"name": "qsgd", "levels": best, "coding": "packed"},
        "qsgd-s4-rans": {"name": "qsgd", "levels": 4, "coding": "rans"},
    }


def runs_of(d: int) -> Iterator[Run]:
    """Yield what is timed: fp64 with a master alone, and the fewest levels where nothing but gradients travels."""
    for name, compressor in _compressors(d).items():
        for exchange in EXCHANGES:
            if exchange in _ONLY.get(name, EXCHANGES):
                yield Run(f"{name}-{exchange}", compressor, exchange)


def cell_name(cell: Mapping[str, Any]) -> str:
    """Return the name of a cell's setting."""
    return f"d{cell['dimension']}-K{cell['workers']}"


def expected_payload(compressor: dict[str, Any], d: int) -> float:
    """Return the bytes of an encoded gradient that are to be expected."""
    made = make(compressor)
    expected = getattr(made, "expected_bits", None)
    return expected(d) / 8 if expected else float(len(made.encode(np.ones(d), 0)))


def expected_traffic(run: Run, cell: Mapping[str, Any], payload: float, rate: float, round_trip: float) -> float:
    """Return the bits a second that all links together are expected to carry."""
    d, ranks = cell["dimension"], cell["workers"]
    gradients, weights = network.messages_sent(run.exchange, ranks)
    whole = gradients * payload + weights * network.weights_bytes(d)
    return 8 * whole / network.iteration(run.exchange, ranks, payload, d, _link(rate, round_trip), network.Work()).lower


def _link(rate: float, round_trip: float) -> network.Network:
    return network.Network(rate, round_trip / 2, MTU)


def whole_runs(whole: Mapping[str, Any]) -> list[Run]:
    """Return what is trained to the tolerance."""
    chosen = {run.name: run for run in runs_of(whole["dimension"]) if run.exchange == "all_to_all"}
    return [run._replace(name=f"run-{name}") for name, run in chosen.items() if "-s4-" not in name]


class Model:
    """The model of one cell, with the costs that its runs have measured.

    `measured` has a row for each run, rate and trial.
    """

    def __init__(
        self,
        cell: Mapping[str, Any],
        section: Mapping[str, Any],
        bytes_table: pd.DataFrame,
        measured: pd.DataFrame,
        told: list[dict[str, Any]],
    ) -> None:
        self._cell, self._measured, self._d, self._ranks = cell, measured, cell["dimension"], cell["workers"]
        self._bytes = bytes_table.groupby("run")["uplink_bytes"].mean()
        trips = [its["cluster"]["measured"]["round_trip"] for its in told if not its["refused"]]
        self._round_trip = float(np.median(trips)) if trips else section["round_trip"]

    def points(self) -> pd.DataFrame:
        """Return what was measured, with the seconds predicted and the part of them that the network takes."""
        found = self._measured[self._measured["rate"] > 0].copy()
        runs = {run.name: run for run in runs_of(self._d)}
        predicted = [self.iteration(runs[name], rate) for name, rate in zip(found["run"], found["rate"], strict=True)]
        found["predicted"] = [its.upper for its in predicted]
        found["at_least"] = [its.lower for its in predicted]
        found["network"] = [(its.link + its.latency) / its.upper for its in predicted]
        found["cell"] = cell_name(self._cell)
        found["exchange"] = [runs[name].exchange for name in found["run"]]
        found["compressor"] = [name.removesuffix(f"-{runs[name].exchange}") for name in found["run"]]
        return found

    def curves(self) -> pd.DataFrame:
        """Return the predicted gain of each QSGD over fp32 against the rate, with bounds."""
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
        its = self._measured[self._measured["run"] == run.name]
        copies = self._ranks * (self._ranks - 1 if run.exchange == "all_to_all" else 1)
        costs = its[["compute", "encode", "decode", "update"]].median()
        work = network.Work(costs["compute"], costs["encode"], costs["decode"] / self._ranks, costs["update"])
        payload = float(self._bytes[run.name]) / copies
        return network.iteration(run.exchange, self._ranks, payload, self._d, _link(rate, self._round_trip), work)
