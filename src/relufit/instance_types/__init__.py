"""Instance types of EC2: what they cost an hour, and the hardware of those that `relufit plan` knows.

The numbers are those of ``on_demand.toml``, with its date: it is not asked anywhere, and prices change.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["AS_OF", "CURRENCY", "DISK_GB", "INSTANCES", "NOTED", "ON_DEMAND", "PUBLIC_ADDRESS", "REGION", "Instance"]

_HOURS_A_MONTH = 730
_TABLE: dict[str, Any] = tomllib.loads(Path(__file__).with_name("on_demand.toml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Instance:
    """An instance type.

    Parameters
    ----------
    name : str
    processors : int
        vCPUs.
    memory : float
        Bytes.
    rate : float
        Bit/s that the network sustains in each direction, not the peak of "up to".
    price : float
        US dollars an hour.
    """

    name: str
    processors: int
    memory: float
    rate: float
    price: float


#: When and where the prices held, as far as the table knows: Linux, on demand, without any contract.
AS_OF: str = _TABLE["as_of"]
REGION: str = _TABLE["region"]
CURRENCY: str = _TABLE["currency"]
NOTED = f"on-demand Linux, {REGION}, list prices of {AS_OF}: check them before you rely on them"
#: USD an hour, by name.
ON_DEMAND: dict[str, float] = _TABLE["price"]
#: USD an hour of a public IPv4 address, and of a GB of disk.
PUBLIC_ADDRESS: float = _TABLE["public_address"]
DISK_GB: float = _TABLE["disk_gb_month"] / _HOURS_A_MONTH
#: The types whose hardware the table has, by name.
INSTANCES = {
    name: Instance(
        name, hardware["processors"], hardware["memory"] * 2**30, hardware["gigabits"] * 1e9, ON_DEMAND[name]
    )
    for name, hardware in _TABLE["hardware"].items()
}
