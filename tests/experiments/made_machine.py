"""A machine with known costs, for tests of what a plan makes of them."""

from __future__ import annotations

from relufit.compression.coding import CODINGS
from relufit.planning import Codec, Costs, Machine
from relufit.planning.costs import Curve
from relufit.theory import network

_WITHOUT_LEVELS = (("natural", 0.0), ("ternary", 0.0))
_PLAIN = [
    *((name, "", 0.0) for name in ("fp64", "fp32", "fp16", "rand_k", "sign", "one_bit")),
    *((name, "", share) for name in ("top_k", "top_k_sign") for share in (0.05, 0.2)),
    *(("eden", "", float(bits)) for bits in range(1, 5)),
]
_CODED = [(name, coding, sigma) for name, sigma in (("qsgd", 0.6), *_WITHOUT_LEVELS) for coding in CODINGS]


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
        for name, coding, sigma in [*_PLAIN, *_CODED]
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
