"""The exchanges by name: how gradients and weights travel between the ranks of a run.

A new exchange is a module here with a line in `EXCHANGES`, and a module of the same name in
`relufit.training.exchanges`. Training, planning, experiments and figures ask this registry.
"""

from __future__ import annotations

from relufit.errors import ConfigError
from relufit.exchange.all_gather import AllGather
from relufit.exchange.all_reduce import AllReduce
from relufit.exchange.base import Content, Exchange, Flow, Links, Role, Sent, Variances
from relufit.exchange.master import Master
from relufit.exchange.relay import Relay
from relufit.exchange.requantize import Requantize

__all__ = [
    "BASELINE",
    "DEFAULT",
    "EXCHANGES",
    "Content",
    "Exchange",
    "Flow",
    "Links",
    "Role",
    "Sent",
    "Variances",
    "find_exchange",
]

EXCHANGES: dict[str, Exchange] = {
    exchange.name: exchange
    for exchange in (
        Master(),
        Relay(),
        Requantize(),
        AllGather(),
        AllReduce(),
    )
}
#: The exchange of a run whose specification names none.
DEFAULT = Master.name
#: The exchange of the baseline that counts, SGD in fp32: of all it asks the least of the busiest link, and without a
#: lossy compressor the sums are those of every other exchange.
BASELINE = AllReduce.name


def find_exchange(name: str) -> Exchange:
    """Return an exchange by its name.

    Raises
    ------
    ConfigError
        If there is none.
    """
    # What is not hashable is no name either.
    if not isinstance(name, str) or name not in EXCHANGES:
        remedy = f"choose one of {', '.join(EXCHANGES)}"
        raise ConfigError(f"unknown exchange {name!r}", where="exchange", remedy=remedy)
    return EXCHANGES[name]
