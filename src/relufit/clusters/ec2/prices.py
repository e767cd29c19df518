"""What a cluster costs an hour: on-demand prices as they were written down, or as the configuration gives them.

Prices are never fetched. They change, and differ from region to region: look them up, and give ``price`` where they
are others than those of `relufit.instance_types`.
"""

from __future__ import annotations

from dataclasses import dataclass

from relufit.clusters.ec2.options import Options
from relufit.errors import ConfigError
from relufit.instance_types import CURRENCY, DISK_GB, ON_DEMAND, PUBLIC_ADDRESS, REGION


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
