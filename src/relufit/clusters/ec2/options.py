"""What the configuration says of a cluster on EC2, checked as far as that needs nobody's answer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from relufit.errors import ConfigError

_IDENTIFIERS = {
    "ami": re.compile(r"ami-[0-9a-f]+"),
    "subnet": re.compile(r"subnet-[0-9a-f]+"),
    "region": re.compile(r"[a-z]{2}(-[a-z]+)+-\d"),
}
_GROUP = re.compile(r"sg-[0-9a-f]+")
_WHERE = "cluster.ec2"


@dataclass(frozen=True)
class Options:
    """A cluster on EC2.

    Parameters
    ----------
    region, ami, subnet : str
        Where, and from which image; the subnet lies in one zone, and so do all instances.
    security_groups : tuple of str
        Who may reach the instances: themselves, and this program on port 8786.
    instance_type, scheduler_instance_type : str
        Of the workers and of the scheduler.
    image : str
        The container image with Python, Dask and relufit that each instance runs.
    ceiling : float
        USD an hour that the whole cluster may cost at most.
    price : mapping
        USD an hour of instance types, in place of the table of `relufit.clusters.ec2.prices`.
    instances : int or None
        Number of workers' instances; None is one more than there are ranks, for the master.
    slots : int
        Ranks that an instance takes.
    spot : bool
        Whether workers are spot instances; the scheduler never is.
    use_private_ip : bool
        Whether instances have private addresses alone, and are reached by them.
    instance_profile : str or None
        Name of the profile whose role lets the instances read S3.
    bootstrap : bool
        Whether Docker is installed at the start; an AMI that has it needs no way out to the internet.
    disk : int
        GB of an instance.
    idle_timeout : int
        Seconds without a task after which the scheduler ends, the workers with it, and the instances shut down.
    hours : float
        Hours after which an instance shuts down whatever it does.
    boot_timeout, join_timeout : float
        Seconds until the scheduler answers, and until all workers have joined.
    """

    region: str
    ami: str
    subnet: str
    security_groups: tuple[str, ...]
    instance_type: str
    image: str
    ceiling: float
    scheduler_instance_type: str = "m6i.large"
    price: Mapping[str, float] = field(default_factory=dict)
    instances: int | None = None
    slots: int = 1
    spot: bool = False
    use_private_ip: bool = True
    instance_profile: str | None = None
    bootstrap: bool = False
    disk: int = 40
    idle_timeout: int = 900
    hours: float = 12
    boot_timeout: float = 600
    join_timeout: float = 600

    def workers(self, ranks: int) -> int:
        """Return the number of workers' instances for so many ranks.

        Raises
        ------
        ConfigError
            If there are too few.
        """
        if self.instances is None:
            return -(-(ranks + 1) // self.slots)
        if self.instances * self.slots < ranks:
            raise ConfigError(
                f"{self.instances} instances of {self.slots} slots for {ranks} ranks",
                where=f"{_WHERE}.instances",
                remedy="give more of them, or leave it out",
            )
        return self.instances


def read(options: Mapping[str, Any]) -> Options:
    """Return the options of the configuration's section ``cluster.ec2``.

    Raises
    ------
    ConfigError
        If one is unknown, missing or impossible.
    """
    known = {part.name: part for part in fields(Options)}
    for name in options:
        if name not in known:
            raise ConfigError("unknown key", where=f"{_WHERE}.{name}", remedy=f"the keys are {', '.join(known)}")
    values = {name: value for name, value in options.items() if value is not None}
    for name in ("region", "ami", "subnet", "security_groups", "instance_type", "image", "ceiling"):
        if not values.get(name):
            raise ConfigError("missing", where=f"{_WHERE}.{name}", remedy="add it; docs/ec2.md says what it is")
    for name, shape in _IDENTIFIERS.items():
        if not shape.fullmatch(str(values[name])):
            raise ConfigError(f"{values[name]!r} is none", where=f"{_WHERE}.{name}", remedy="see docs/ec2.md")
    groups = values["security_groups"]
    if not isinstance(groups, (list, tuple)) or not all(_GROUP.fullmatch(str(group)) for group in groups):
        raise ConfigError(
            f"{groups!r}", where=f"{_WHERE}.security_groups", remedy="give a list of identifiers such as sg-0123"
        )
    for name in ("ceiling", "slots", "disk", "idle_timeout", "hours", "boot_timeout", "join_timeout", "instances"):
        if name in values and not values[name] > 0:
            raise ConfigError(f"{values[name]!r}", where=f"{_WHERE}.{name}", remedy="give a number above 0")
    return Options(**{**values, "security_groups": tuple(groups)})
