"""Where instances would be, and who may reach them there."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from relufit.clusters.ec2 import aws
from relufit.clusters.ec2.options import Options
from relufit.errors import ConfigError

Address = ipaddress.IPv4Network | ipaddress.IPv6Network
#: Ranges that nobody on the internet has.
_PRIVATE: tuple[Address, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "fc00::/7",
        "fe80::/10",
        "::1/128",
    )
)
#: So many public addresses, by version of IP, may be those of who works with the cluster: a /24, and a /64.
_MOST_ADDRESSES = {4: 2**8, 6: 2**64}
_ANY, _LAST_PORT = "-1", 65535
_PROTOCOLS = {"6": "tcp", "17": "udp"}


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


@dataclass(frozen=True)
class _Rule:
    """One source that a security group lets in: its addresses if it is a range, and on which ports."""

    group: str
    protocol: str
    first: int
    last: int
    source: str
    ports: str
    addresses: Address | None = None


def check_groups(ec2: Any, options: Options, vpc: str) -> None:  # noqa: ANN401
    """Refuse groups that let in strangers, or do not let in the instances themselves.

    Instances have all of the groups, so that what they let in together counts.

    Raises
    ------
    ConfigError
        If they do, or one is of another VPC.
    """
    where = "cluster.ec2.security_groups"
    with aws.told(where, "give security groups of this region"):
        groups = ec2.describe_security_groups(GroupIds=list(options.security_groups))["SecurityGroups"]
        (about,) = ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"]
    for group in groups:
        if group["VpcId"] != vpc:
            raise ConfigError(
                f"{group['GroupId']} belongs to {group['VpcId']}, the subnet to {vpc}",
                where=where,
                remedy="give groups of the subnet's VPC",
            )
    own = set(options.security_groups)
    rules = [rule for group in groups for rule in _rules(group, own)]
    for what in (*_unreadable(rules), *_too_many(rules, [*_PRIVATE, *_ranges_of(about)])):
        raise ConfigError(what, where=where, remedy="let in the group itself, and your own addresses on port 8786")
    if not any(_lets_in(rule, own) for group in groups for rule in group["IpPermissions"]):
        raise ConfigError(
            "instances cannot reach each other",
            where=where,
            remedy="add a rule that lets in all TCP ports from the group itself",
        )


def _rules(group: Mapping[str, Any], own: set[str]) -> Iterator[_Rule]:
    """Yield all that a group lets in but the groups of the instances themselves."""
    for rule in group["IpPermissions"]:
        protocol = _PROTOCOLS.get(rule["IpProtocol"], rule["IpProtocol"])
        limited = protocol in ("tcp", "udp")
        first, last = (rule.get("FromPort", 0), rule.get("ToPort", _LAST_PORT)) if limited else (0, _LAST_PORT)
        make = partial(_Rule, group["GroupId"], protocol, first, last, ports=_ports(rule))
        for text in (one["CidrIp"] for one in rule.get("IpRanges", ())):
            yield make(text, addresses=ipaddress.ip_network(text, strict=False))
        for text in (one["CidrIpv6"] for one in rule.get("Ipv6Ranges", ())):
            yield make(text, addresses=ipaddress.ip_network(text, strict=False))
        for one in rule.get("PrefixListIds", ()):
            yield make(f"the list {one['PrefixListId']}, which is not read here,")
        for one in rule.get("UserIdGroupPairs", ()):
            if one.get("GroupId") not in own:
                yield make(f"the group {one.get('GroupId') or one.get('GroupName')}")


def _ranges_of(vpc: Mapping[str, Any]) -> list[Address]:
    """Return the ranges of addresses of a VPC."""
    texts = [one["CidrBlock"] for one in vpc.get("CidrBlockAssociationSet", ())] or [vpc["CidrBlock"]]
    texts += [one["Ipv6CidrBlock"] for one in vpc.get("Ipv6CidrBlockAssociationSet", ())]
    return [ipaddress.ip_network(text) for text in texts]


def _unreadable(rules: Sequence[_Rule]) -> Iterator[str]:
    """Yield what is wrong with rules that let in others than addresses."""
    for rule in rules:
        if rule.addresses is None:
            yield f"{rule.group} lets in {rule.source} on {rule.ports}"


def _too_many(rules: Sequence[_Rule], known: Sequence[Address]) -> Iterator[str]:
    """Yield where more public addresses are let in than one's own, by all rules for a port together."""
    public = [rule for rule in rules if rule.addresses and not any(_within(rule.addresses, one) for one in known)]
    for protocol in sorted({rule.protocol for rule in public}):
        # The rules that apply change where one begins.
        for port in sorted({rule.first for rule in public if rule.protocol in (protocol, _ANY)}):
            here = [rule for rule in public if rule.protocol in (protocol, _ANY) and rule.first <= port <= rule.last]
            for version, most in _MOST_ADDRESSES.items():
                of_version = [rule for rule in here if rule.addresses and rule.addresses.version == version]
                count = _count(of_version)
                if count > most:
                    groups = " and ".join(sorted({rule.group for rule in of_version}))
                    ports = ", ".join(sorted({rule.ports for rule in of_version}))
                    yield (
                        f"{groups} lets in {_some([rule.source for rule in of_version])} on {ports}: {count} public "
                        f"addresses of IPv{version} together, and {most} at most are taken for your own"
                    )


def _within(one: Address, other: Address) -> bool:
    return one.version == other.version and one.subnet_of(other)  # type: ignore[arg-type]


def _count(rules: Sequence[_Rule]) -> int:
    """Return how many addresses rules of one version of IP let in together."""
    ranges: list[Any] = [rule.addresses for rule in rules]
    return sum(int(one.num_addresses) for one in ipaddress.collapse_addresses(ranges))


def _some(sources: Sequence[str]) -> str:
    shown = ", ".join(sources[:3])
    return shown if len(sources) <= 3 else f"{shown} and {len(sources) - 3} more"


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
