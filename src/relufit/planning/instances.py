"""Instance types of EC2 and what they cost; other machines are given by their link."""

from __future__ import annotations

from dataclasses import dataclass

#: What the table is of: it is not asked anywhere, and prices change.
NOTED = "on-demand Linux, us-east-1, list prices of 2024: check them before you rely on them"


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


#: By name. Jumbo frames of 9001 bytes are the default within a VPC.
INSTANCES = {
    name: Instance(name, processors, memory * 2**30, gigabits * 1e9, price)
    for name, processors, memory, gigabits, price in (
        ("t3.medium", 2, 4, 0.256, 0.0416),
        ("m5.large", 2, 8, 0.75, 0.096),
        ("m5.4xlarge", 16, 64, 5, 0.768),
        ("c5.large", 2, 4, 0.75, 0.085),
        ("c5.xlarge", 4, 8, 1.25, 0.17),
        ("c5.4xlarge", 16, 32, 5, 0.68),
        ("c5.18xlarge", 72, 144, 25, 3.06),
        ("c5n.xlarge", 4, 10.5, 5, 0.216),
        ("c5n.4xlarge", 16, 42, 15, 0.864),
        ("c5n.18xlarge", 72, 192, 100, 3.888),
        ("r5.large", 2, 16, 0.75, 0.126),
        ("r5.4xlarge", 16, 128, 5, 1.008),
        ("r5.24xlarge", 96, 768, 25, 6.048),
    )
}
MTU = 9001
