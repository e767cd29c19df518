"""A cluster on EC2 that outlives the command: its instances bear its name as a tag."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from relufit.clusters.certificates import Pair
from relufit.clusters.ec2 import prices, teardown
from relufit.clusters.ec2.kind import joined, started
from relufit.clusters.ec2.options import Options
from relufit.clusters.persistent.base import Member, Up
from relufit.clusters.persistent.state import Folder
from relufit.errors import ConfigError
from relufit.instance_types import ON_DEMAND, REGION


class Instances:
    """The kind ``ec2``, standing."""

    def place(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the region."""
        if not options.get("region"):
            raise ConfigError("missing", where="cluster.ec2.region", remedy="give --region, or --config with it")
        return {"region": options["region"]}

    def up(self, options: Mapping[str, Any], ranks: int, name: str, pair: Pair, folder: Folder) -> Up:
        """Start the instances, and wait until all workers have joined."""
        checked = Options.read(options)
        with started(checked, checked.workers(ranks), name, pair) as cluster:
            joined(checked, cluster, pair).close()
        types = {checked.instance_type, checked.scheduler_instance_type}
        return Up(cluster.address, cluster.workers, {kind: prices.hourly(kind, checked) for kind in sorted(types)})

    def members(self, name: str | None, place: Mapping[str, Any]) -> list[Member]:
        """Return the living instances with the tag."""
        return [
            Member(one.id, one.cluster, one.role, one.type, one.state, one.launched.timestamp())
            for one in teardown.find(place["region"], name)
        ]

    def down(self, name: str, place: Mapping[str, Any]) -> int:
        """End all instances with the tag."""
        return teardown.end(place["region"], name)

    def price(self, member_type: str, place: Mapping[str, Any]) -> float | None:
        """Return the on-demand price if the table has it."""
        return ON_DEMAND.get(member_type) if place["region"] == REGION else None
