"""A machine with known costs, for tests of what a plan makes of them."""

from __future__ import annotations

from relufit.planning import Codec, Costs, Machine
from relufit.planning.costs import Curve
from relufit.theory import network

_CODED = [("qsgd", coding, 0.6) for coding in ("rans", "packed")]


def machine_with(work: network.Work, dearer: float = 1.0) -> Machine:
    """Return a machine on which the parts of an iteration take those seconds, or `dearer` times as many."""

    def curve(seconds: float) -> Curve:
        return Curve((1, 10**6), (dearer * seconds, dearer * seconds))

    codecs = [
        Codec(
            name,
            coding,
            sigma,
            curve(0.0 if name == "fp64" else work.encode),
            curve(0.0 if name == "fp64" else work.decode),
        )
        for name, coding, sigma in [("fp64", "", 0.0), ("fp32", "", 0.0), ("fp16", "", 0.0), *_CODED]
    ]
    costs = Costs(
        curve(work.compute),
        curve(0.0),
        curve(work.update),
        dearer * work.message,
        dearer * work.byte,
        tuple(codecs),
        {},
    )
    return Machine(costs, costs, processors=2)
