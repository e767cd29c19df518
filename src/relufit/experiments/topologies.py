"""How many bytes an iteration moves over a topology, given the encoded gradients of the ranks.

What runs is a master that receives an encoded gradient from each of the K ranks and sends each the weights in fp64.
The others are counted from the same payloads; nothing of them is sent, and their names begin with ``model_``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from relufit.compression import make_compressor


@dataclass(frozen=True)
class Topology:
    """A topology.

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

    copies: Callable[[int], int]
    weights: Callable[[int], int]
    number: str = "fp64"
    runs: bool = False

    def down(self, workers: int, d: int) -> int:
        """Return the bytes of the weights in an iteration."""
        return self.weights(workers) * payload_bytes(self.number, d)


def payload_bytes(name: str, d: int) -> int:
    """Return the length of the payload of d numbers in a floating-point format, which is the same for all numbers."""
    return len(make_compressor(name).encode(np.ones(d), 0))


#: By name. Gradients alone; the master that runs; with fp32, a message of the weights for each rank, or one that all
#: of them hear; a master that passes to each rank the encoded gradients of the others; ranks that send them to each
#: other.
TOPOLOGIES = {
    "uplink": Topology(lambda ranks: 1, lambda ranks: 0),
    "master_fp64": Topology(lambda ranks: 1, lambda ranks: ranks, runs=True),
    "model_master_fp32": Topology(lambda ranks: 1, lambda ranks: ranks, "fp32"),
    "model_broadcast_fp32": Topology(lambda ranks: 1, lambda ranks: 1, "fp32"),
    "model_relay": Topology(lambda ranks: ranks, lambda ranks: 0),
    "model_all_to_all": Topology(lambda ranks: ranks - 1, lambda ranks: 0),
}
