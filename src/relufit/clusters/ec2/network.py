"""Where instances would be, and who may reach them there."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from relufit.clusters.ec2 import aws
from relufit.clusters.ec2.options import Options
from relufit.errors import ConfigError


def check_subnet(ec2: Any, options: Options, instances: int) -> tuple[str, str]:  # noqa: ANN401
    """Return zone and VPC of the subnet, which has addresses for all.

    Raises
    ------
    ConfigError
        If there is no such subnet, or it has too few addresses.
    """
    with aws.told("cluster.ec2.subnet", "give a subnet of this region"):
        (subnet,) = ec2.describe_subnets(SubnetIds=[options.subnet])["Subnets"]
    if subnet["AvailableIpAddressCount"] < instances:
        raise ConfigError(
            f"{subnet['AvailableIpAddressCount']} free addresses for {instances} instances",
            where="cluster.ec2.subnet",
            remedy="give a larger one",
        )
    return subnet["AvailabilityZone"], subnet["VpcId"]


def check_groups(ec2: Any, options: Options, vpc: str) -> None:  # noqa: ANN401
    """Refuse groups that let in the world, or do not let in the instances themselves.

    Raises
    ------
    ConfigError
        If one does, or is of another VPC.
    """
    where = "cluster.ec2.security_groups"
    with aws.told(where, "give security groups of this region"):
        groups = ec2.describe_security_groups(GroupIds=list(options.security_groups))["SecurityGroups"]
    for group in groups:
        if group["VpcId"] != vpc:
            raise ConfigError(
                f"{group['GroupId']} belongs to {group['VpcId']}, the subnet to {vpc}",
                where=where,
                remedy="give groups of the subnet's VPC",
            )
        for rule in group["IpPermissions"]:
            for what in _too_open(rule):
                raise ConfigError(
                    f"{group['GroupId']} lets in {what} on {_ports(rule)}",
                    where=where,
                    remedy="let in the group itself, and your own addresses on port 8786 at most",
                )
    if not any(_lets_in(rule, set(options.security_groups)) for group in groups for rule in group["IpPermissions"]):
        raise ConfigError(
            "instances cannot reach each other",
            where=where,
            remedy="add a rule that lets in all TCP ports from the group itself",
        )


def _too_open(rule: Mapping[str, Any]) -> list[str]:
    """Return the sources of a rule that are no limit: the world, large parts of it, lists that cannot be read."""
    ranges = [one["CidrIp"] for one in rule.get("IpRanges", ())]
    ranges += [one["CidrIpv6"] for one in rule.get("Ipv6Ranges", ())]
    lists = [one["PrefixListId"] for one in rule.get("PrefixListIds", ())]
    return [text for text in ranges if _is_large(text)] + [f"the list {one}, which is not read here" for one in lists]


def _is_large(text: str) -> bool:
    network = ipaddress.ip_network(text, strict=False)
    least = 16 if network.version == 4 else 32
    return network.prefixlen == 0 or (not network.is_private and network.prefixlen < least)


def _ports(rule: Mapping[str, Any]) -> str:
    if rule["IpProtocol"] == "-1":
        return "all ports"
    return f"{rule['IpProtocol']} ports {rule.get('FromPort')} to {rule.get('ToPort')}"


def _lets_in(rule: Mapping[str, Any], groups: set[str]) -> bool:
    """Tell whether a rule lets in members of some groups on every TCP port that Dask may choose."""
    whole = rule["IpProtocol"] == "-1" or (
        rule["IpProtocol"] in ("tcp", "6") and rule.get("FromPort", 0) <= 1024 and rule.get("ToPort", 0) == 65535
    )
    return whole and bool(groups & {pair.get("GroupId") for pair in rule.get("UserIdGroupPairs", ())})
