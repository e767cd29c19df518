"""The section ``cluster.ec2``, checked as far as that needs nobody's answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field

from relufit.errors import ConfigError
from relufit.schema import Distinct, Flag, Matching, OrNull, Positive, Section, Text, Whole

_WHERE = "cluster.ec2"


def _identifier(pattern: str, example: str) -> Matching:
    return Matching(pattern, f"must be one such as {example}, see docs/ec2.md")


_Group = Annotated[str, _identifier("sg-[0-9a-f]+", "sg-0123")]


class Options(Section):
    """A cluster on EC2."""

    WHERE: ClassVar[str] = _WHERE

    region: Annotated[str, _identifier(r"[a-z]{2}(-[a-z]+)+-[0-9]", "us-east-1")] = Field(
        description="where the instances are"
    )
    ami: Annotated[str, _identifier("ami-[0-9a-f]+", "ami-0123")] = Field(
        description="image of the instances: Ubuntu with Docker, unless bootstrap"
    )
    subnet: Annotated[str, _identifier("subnet-[0-9a-f]+", "subnet-0123")] = Field(
        description="subnet of all instances, which lies in one zone"
    )
    security_groups: Distinct[_Group] = Field(
        min_length=1, description="who may reach the instances: themselves, and this program on port 8786"
    )
    instance_type: Text = Field(description="type of the workers' instances")
    image: Text = Field(description="container image with Python, Dask and relufit")
    ceiling: Positive = Field(description="USD an hour that the whole cluster may cost at most")
    scheduler_instance_type: Text = Field(default="m6i.large", description="type of the scheduler's instance")
    price: dict[str, Positive] = Field(
        default_factory=dict, description="USD an hour of instance types that the table has not, or has otherwise"
    )
    instances: Annotated[Whole | None, OrNull] = Field(
        default=None, description="number of workers' instances; null for one more than ranks, for the master"
    )
    slots: Whole = Field(default=1, description="ranks that an instance takes")
    spot: Flag = Field(default=False, description="whether workers are spot instances; the scheduler never is")
    use_private_ip: Flag = Field(
        default=True, description="whether instances have private addresses alone, and are reached by them"
    )
    instance_profile: str | None = Field(
        default=None, description="name of the profile whose role lets instances read S3"
    )
    bootstrap: Flag = Field(
        default=False, description="whether Docker is installed at the start, which needs a way to the internet"
    )
    disk: Whole = Field(default=40, description="GB of an instance")
    idle_timeout: Whole = Field(default=900, description="seconds without a task after which everything ends")
    hours: Positive = Field(default=12, description="hours after which an instance shuts down whatever it does")
    boot_timeout: Positive = Field(default=600, description="seconds until the scheduler answers")
    join_timeout: Positive = Field(default=600, description="seconds until all workers have joined")

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

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """Return the options that have these values; those that are None count as left out.

        Raises
        ------
        ConfigError
            If one is unknown, missing or impossible.
        """
        return super().read({name: value for name, value in values.items() if value is not None})
