"""How many bytes an iteration moves in each exchange, given the encoded gradients of the ranks.

What runs is the exchange of a specification that names none: a master that sends each rank the weights in fp64. The
others are counted from the same payloads; nothing of them is sent, and their names begin with ``model_``.

The baseline that counts is SGD in fp32 by all-reduce (`baseline_bytes`). It is counted too: it adds the same gradients
as SGD in fp32 in the exchange that runs, and so takes its iterations. In a run by all-reduce the sums are rounded to
fp32 once more, by a relative 2^-24 at most, which is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import pandas as pd

from relufit.compression import make_compressor
from relufit.exchange import BASELINE, DEFAULT, EXCHANGES, Exchange

#: Numbers of iterations.
Iterations = TypeVar("Iterations", float, pd.Series)


@dataclass(frozen=True)
class CountedExchange:
    """What travels in an exchange.

    Parameters
    ----------
    copies : callable
        Of the number of ranks; how often each encoded gradient is sent.
    weights : callable
        Of the number of ranks; how often the weights are sent in an iteration.
    number : str
        The floating-point format in which they are.
    runs : bool
        Whether its weights are sent in a run, and counted there.
    """

    copies: Callable[[int], float]
    weights: Callable[[int], float]
    number: str = "fp64"
    runs: bool = False

    def down(self, workers: int, d: int) -> float:
        """Return the bytes of the weights in an iteration."""
        return self.weights(workers) * payload_bytes(self.number, d)


def payload_bytes(name: str, d: int) -> int:
    """Return the length of the payload of d numbers in a floating-point format, which is the same for all numbers."""
    return len(make_compressor(name).encode(np.ones(d), 0))


def baseline_bytes(iterations: Iterations, workers: int, d: int) -> Iterations:
    """Return the payload bytes that K ranks send in a run of SGD in fp32 by all-reduce, moments included.

    Every part of a vector has a header of its own.
    """
    exchange = EXCHANGES[BASELINE]
    moments = workers * sum(exchange.moment_copies(workers)) * payload_bytes("fp64", d)
    sent, vector = exchange.sent(workers), exchange.vector_length(partial(payload_bytes, "fp32"), d, workers)
    return moments + iterations * ((sent.up + sent.down) * vector + sent.weights * payload_bytes("fp64", d))


def _counted(exchange: Exchange, number: str = "fp64", *, runs: bool = False) -> CountedExchange:
    """Return what travels in an exchange of the registry, with the weights in another format."""

    def copies(ranks: int) -> float:
        sent = exchange.sent(ranks)
        return (sent.up + sent.down) / ranks

    return CountedExchange(copies, lambda ranks: exchange.sent(ranks).weights, number, runs)


def _adds_as_encoded(exchange: Exchange) -> bool:
    """Tell whether no weights travel and no sum is encoded: a run takes the iterations of the one that runs."""
    return exchange.replicas and exchange.parts(1, 1) is None


_RUNS = EXCHANGES[DEFAULT]
#: By name. Gradients alone; the exchange that runs; with fp32, a message of the weights for each rank, or one that all
#: of them hear; and the exchanges in which no weights travel.
COUNTED = {
    "uplink": CountedExchange(lambda ranks: 1, lambda ranks: 0),
    f"{DEFAULT}_fp64": _counted(_RUNS, runs=True),
    f"model_{DEFAULT}_fp32": _counted(_RUNS, "fp32"),
    "model_broadcast_fp32": CountedExchange(lambda ranks: 1, lambda ranks: 1, "fp32"),
    **{f"model_{name}": _counted(exchange) for name, exchange in EXCHANGES.items() if _adds_as_encoded(exchange)},
}
#: Those that are a whole exchange: in the first nothing comes back to the ranks.
WHOLE = tuple(COUNTED)[1:]
