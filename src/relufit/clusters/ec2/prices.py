"""What a cluster costs an hour: on-demand prices as they were written down here, or as the configuration gives them.

Prices are never fetched. They change, and differ from region to region: look them up, and give ``price`` where they
are others.
"""

from __future__ import annotations

from dataclasses import dataclass

from relufit.clusters.ec2.options import Options
from relufit.errors import ConfigError

#: When and where the prices below held, as far as this table knows: Linux, on demand, without any contract.
AS_OF, REGION, CURRENCY = "2025-01", "us-east-1", "USD"
#: USD an hour.
ON_DEMAND = {
    "t3.micro": 0.0104,
    "t3.small": 0.0208,
    "t3.medium": 0.0416,
    "t3.large": 0.0832,
    "m5.large": 0.096,
    "m5.xlarge": 0.192,
    "m5.2xlarge": 0.384,
    "m6i.large": 0.096,
    "m6i.xlarge": 0.192,
    "m6i.2xlarge": 0.384,
    "m6i.4xlarge": 0.768,
    "c5.large": 0.085,
    "c5.xlarge": 0.17,
    "c5.2xlarge": 0.34,
    "c5.4xlarge": 0.68,
    "c5n.large": 0.108,
    "c5n.xlarge": 0.216,
    "c5n.2xlarge": 0.432,
    "c5n.4xlarge": 0.864,
    "c6i.large": 0.085,
    "c6i.xlarge": 0.17,
    "c6i.2xlarge": 0.34,
    "c6i.4xlarge": 0.68,
    "r5.large": 0.126,
    "r5.xlarge": 0.252,
    "r5.2xlarge": 0.504,
}
#: USD an hour of a public IPv4 address, and of a GB of disk (gp3, .08 USD a month of 730 hours).
PUBLIC_ADDRESS, DISK_GB = 0.005, 0.08 / 730


@dataclass(frozen=True)
class Cost:
    """USD an hour of a cluster, and of what."""

    scheduler: float
    workers: float
    disks: float
    addresses: float

    @property
    def total(self) -> float:
        """USD an hour of all together."""
        return self.scheduler + self.workers + self.disks + self.addresses


def hourly(instance_type: str, options: Options) -> float:
    """Return the price of an instance, in USD an hour.

    Raises
    ------
    ConfigError
        If neither the configuration nor the table has it.
    """
    if instance_type in options.price:
        return float(options.price[instance_type])
    if options.region == REGION and instance_type in ON_DEMAND:
        return ON_DEMAND[instance_type]
    raise ConfigError(
        f"the price of {instance_type} in {options.region} is not known here",
        where="cluster.ec2.price",
        remedy=f"look it up and add `price: {{{instance_type}: ...}}`, in {CURRENCY} an hour",
    )


def cost(options: Options, workers: int) -> Cost:
    """Return what a cluster with so many workers' instances costs an hour; spot instances cost less than told here.

    Raises
    ------
    ConfigError
        If a price is not known.
    """
    count = workers + 1
    return Cost(
        hourly(options.scheduler_instance_type, options),
        workers * hourly(options.instance_type, options),
        count * options.disk * DISK_GB,
        0.0 if options.use_private_ip else count * PUBLIC_ADDRESS,
    )


def confirm(options: Options, workers: int) -> Cost:
    """Return what the cluster costs if the configuration allows that.

    Raises
    ------
    ConfigError
        If it costs more than the ceiling.
    """
    asked = cost(options, workers)
    if asked.total > options.ceiling:
        raise ConfigError(
            f"the cluster costs {asked.total:.3f} {CURRENCY} an hour, more than the ceiling of {options.ceiling:g}",
            where="cluster.ec2.ceiling",
            remedy="raise the ceiling, or take fewer or smaller instances",
        )
    return asked
