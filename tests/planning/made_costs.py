"""Costs that are round numbers, for tests of what is made of them."""

from __future__ import annotations

from relufit.compression.coding import CODINGS
from relufit.planning.costs import Codec, Costs, Curve


def _line(start: float, each: float) -> Curve:
    """Return seconds that are linear in the number of coordinates."""
    return Curve((0, 10**6), (start, start + 10**6 * each))


_QUICK, _SLOW = _line(1e-5, 1e-9), _line(1e-5, 5e-9)

COSTS = Costs(
    batch=_line(1e-5, 1e-9),
    row=_line(1e-7, 2e-10),
    update=_line(1e-6, 2e-9),
    message=2e-5,
    byte=3e-10,
    codecs=(
        *(Codec(name, "", 0.0, _QUICK, _QUICK) for name in ("fp64", "fp32", "fp16", "rand_k", "sign", "one_bit")),
        *(Codec(name, "", share, _SLOW, _QUICK) for name in ("top_k", "top_k_sign") for share in (0.05, 0.2)),
        *(Codec("eden", "", float(bits), _SLOW, _SLOW) for bits in range(1, 5)),
        *(
            Codec(name, coding, sigma, _QUICK if coding == "packed" else _SLOW, _QUICK)
            for coding in CODINGS
            for name, sigma in (("ternary", 0.0), ("natural", 0.0), ("qsgd", 0.15), ("qsgd", 0.6), ("qsgd", 2.0))
        ),
    ),
    machine={"machine": "none"},
)
