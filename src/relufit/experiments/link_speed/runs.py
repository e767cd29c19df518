"""What is run between hosts: compressors, exchanges, and the rates at which a machine carries them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from relufit.clusters.emulated.shaping import MTU
from relufit.compression.lengths import payload_bits
from relufit.exchange import BASELINE, EXCHANGES, Exchange
from relufit.experiments.framework.quantized import make
from relufit.theory import network

#: Compressors that are timed in some exchanges only: fp16 in the exchange that gains are compared with, an entropy code
#: and few levels without a master. Others are in whole runs at most.
_ONLY: dict[str, Callable[[Exchange], bool]] = {
    "fp64": lambda _: False,
    "fp16": lambda exchange: exchange.name == BASELINE,
    "rans": lambda exchange: not exchange.has_master,
    "s4-rans": lambda _: False,
    "s4-packed": lambda exchange: not exchange.has_master,
    "sign": lambda exchange: not exchange.has_master,
}
#: Levels over sqrt(d) at which QSGD with an entropy code takes the fewest bits to an error.
_BEST = 0.6


class Coded(NamedTuple):
    """A compressor, by the name that its runs begin with, and whether it has error feedback."""

    name: str
    compressor: dict[str, Any]
    error_feedback: bool = False

    def over(self, exchange: str) -> Run:
        """Return its run in an exchange."""
        return Run(f"{self.name}-{exchange}", self.compressor, exchange, self.error_feedback)


class Run(NamedTuple):
    """One way to train: by name, the compressor, the exchange, and whether there is error feedback."""

    name: str
    compressor: dict[str, Any]
    exchange: str
    error_feedback: bool = False

    @property
    def options(self) -> dict[str, Any]:
        """What `relufit.TrainingSpec` takes of it."""
        feedback = {"error_feedback": True} if self.error_feedback else {}
        return {"compressor": self.compressor, "exchange": self.exchange, **feedback}


#: How the names of runs begin that are compared with SGD in fp32, and what they are called.
QUANTIZED, SIGNS = "qsgd", "sgd-sign"
COMPARED = {QUANTIZED: "QSGD", SIGNS: "signs with error feedback"}


def compressors(d: int) -> dict[str, Coded]:
    """Return the compressors by the names that a configuration has for them."""
    best = max(1, round(_BEST * math.sqrt(d)))
    plain = {name: Coded(f"sgd-{name}", {"name": name}) for name in ("fp64", "fp32", "fp16")}
    quantized = {
        f"{ending}{coding}": Coded(f"qsgd-s{levels}-{coding}", {"name": "qsgd", "levels": levels, "coding": coding})
        for ending, levels in (("", best), ("s4-", 4))
        for coding in ("rans", "packed")
    }
    return plain | quantized | {"sign": Coded("sgd-sign-feedback", {"name": "sign"}, error_feedback=True)}


def runs_of(d: int, exchanges: Sequence[str]) -> Iterator[Run]:
    """Yield what is timed in some exchanges; not every compressor is timed in each of them."""
    for known, coded in compressors(d).items():
        for exchange in exchanges:
            if known not in _ONLY or _ONLY[known](EXCHANGES[exchange]):
                yield coded.over(exchange)


def run_of(name: str, d: int) -> Run:
    """Return the run with a name."""
    exchange = next(exchange for exchange in EXCHANGES if name.endswith(f"-{exchange}"))
    return next(run for coded in compressors(d).values() if (run := coded.over(exchange)).name == name)


def cell_name(cell: Mapping[str, Any]) -> str:
    """Return the name of a cell of dimension and ranks, and of the mini-batch if the cell has samples of its own."""
    name = f"d{cell['dimension']}-K{cell['workers']}"
    return f"{name}-m{cell['rank_batch'] * cell['workers']}" if "rank_batch" in cell else name


def expected_payload(compressor: dict[str, Any], d: int) -> float:
    """Return the bytes of an encoded gradient that are to be expected."""
    return payload_bits(make(compressor), d) / 8


def expected_vector(run: Run, cell: Mapping[str, Any]) -> float:
    """Return the bytes of a whole gradient that are to be expected, of all of its parts where it is cut into parts."""
    d, workers = cell["dimension"], cell["workers"]
    return EXCHANGES[run.exchange].vector_length(lambda size: expected_payload(run.compressor, size), d, workers)


def expected_traffic(run: Run, cell: Mapping[str, Any], rate: float, round_trip: float) -> float:
    """Return the bits a second that all links together are expected to carry."""
    d, payload = cell["dimension"], expected_vector(run, cell)
    sent = EXCHANGES[run.exchange].sent(cell["workers"])
    whole = (sent.up + sent.down) * payload + sent.weights * network.weights_bytes(d)
    return 8 * whole / _network_alone(run, cell, rate, round_trip).lower


def points_of(run: Run, cell: Mapping[str, Any], section: Mapping[str, Any]) -> list[tuple[float, int]]:
    """Return the rates at which a run is timed, and for how many iterations.

    Those are timed that the machine carries, in exchanges in which an iteration of SGD with fp32 is not too long.
    """
    points, trip = [], section["round_trip"]
    least, most = section["iterations"]
    plain = Run("sgd-fp32", {"name": "fp32"}, run.exchange)
    for rate in cell["rates"]:
        carried = expected_traffic(run, cell, rate, trip) <= section["carried"]
        if carried and _network_alone(plain, cell, rate, trip).upper <= section["longest"]:
            seconds = _network_alone(run, cell, rate, trip).upper
            points.append((rate, min(most, max(least, round(section["seconds"] / seconds)))))
    return points


def _network_alone(run: Run, cell: Mapping[str, Any], rate: float, round_trip: float) -> network.Iteration:
    """Return the seconds of an iteration if nothing but the network took any."""
    d, payload = cell["dimension"], expected_vector(run, cell)
    link = network.Network(rate, round_trip / 2, MTU)
    return EXCHANGES[run.exchange].iteration(cell["workers"], payload, d, link, network.Work())


class Whole(NamedTuple):
    """A run on rows from disk: at which rate, and for how many iterations at most."""

    name: str
    run: Run
    rate: float
    iterations: int
    complete: bool


def whole_runs(whole: Mapping[str, Any]) -> list[Whole]:
    """Return what is trained on rows from disk: to the tolerance, or so many iterations as are given."""
    d, runs = whole["dimension"], []
    for entry in whole["runs"]:
        coded = compressors(d)[entry["compressor"]]
        for exchange in entry["exchanges"]:
            for rate in entry["rates"]:
                run = coded.over(exchange)
                budget = entry.get("iterations")
                named = f"run-{run.name}-{rate / 1e6:g}"
                runs.append(Whole(named, run, rate, budget or whole["iterations"], budget is None))
    return runs
