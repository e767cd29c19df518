"""What is checked before anything is started: the account, the network, the image, the request, the price."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from relufit.clusters.certificates import Pair
from relufit.clusters.ec2 import aws, network, opening, prices
from relufit.clusters.ec2.options import Options
from relufit.clusters.ec2.teardown import TAG
from relufit.errors import ClusterError, ConfigError
from relufit.instance_types import CURRENCY

#: Bytes of user data that AWS takes.
USER_DATA_BYTES = 16384
#: The root device that dask-cloudprovider asks for.
_ROOT = "/dev/sda1"
#: Quotas of virtual processors, of types that begin with these letters: on demand, and spot.
_STANDARD, _QUOTAS = tuple("acdhimrtz"), {False: "L-1216C47A", True: "L-34B43A08"}


@dataclass(frozen=True)
class Passed:
    """What the checks found."""

    identity: str
    zone: str
    vpc: str
    cost: prices.Cost
    user_data_bytes: int
    quota: str

    def describe(self) -> dict[str, Any]:
        """Return what is worth keeping, JSON-ready; nothing of the account."""
        return {
            "zone": self.zone,
            "price_per_hour": round(self.cost.total, 4),
            "currency": CURRENCY,
            "user_data_bytes": self.user_data_bytes,
            "quota": self.quota,
        }


def check(options: Options, workers: int, name: str, pair: Pair) -> Passed:
    """Check all that can be known before anything is started.

    Raises
    ------
    ConfigError
        At the first thing that would not work, or that nobody should want.
    ClusterError
        If AWS does not answer, or has no room.
    """
    cost = prices.confirm(options, workers)
    _check_installed()
    who = aws.identity(options.region)
    ec2 = aws.client("ec2", options.region)
    zone, vpc = network.check_subnet(ec2, options, workers + 1)
    network.check_groups(ec2, options, vpc)
    types = _check_types(ec2, options, zone)
    _check_image(ec2, options, types)
    quota = _check_quota(ec2, options, workers, types)
    scripts = opening.user_data(options, name, pair)
    size = _check_user_data(scripts)
    _check_request(ec2, options, name, scripts)
    return Passed(who, zone, vpc, cost, size, quota)


def _check_installed() -> None:
    try:
        import dask_cloudprovider.aws  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "EC2 needs dask-cloudprovider", where="cluster.kind", remedy="install it with `pip install 'relufit[ec2]'`"
        ) from error


def _check_types(ec2: Any, options: Options, zone: str) -> dict[str, Any]:  # noqa: ANN401
    """Return what AWS says of the types of instances, which the zone has."""
    places = {"instance_type": options.instance_type, "scheduler_instance_type": options.scheduler_instance_type}
    types: dict[str, Any] = {}
    for key, name in places.items():
        with aws.told(f"cluster.ec2.{key}", "choose another type"):
            (types[name],) = ec2.describe_instance_types(InstanceTypes=[name])["InstanceTypes"]
            filters = [{"Name": "location", "Values": [zone]}, {"Name": "instance-type", "Values": [name]}]
            offers = ec2.describe_instance_type_offerings(LocationType="availability-zone", Filters=filters)
        if not offers["InstanceTypeOfferings"]:
            raise ConfigError(
                f"{zone} has no {name}", where=f"cluster.ec2.{key}", remedy="choose another type or another subnet"
            )
    return types


def _check_image(ec2: Any, options: Options, types: Mapping[str, Any]) -> None:  # noqa: ANN401
    where = "cluster.ec2.ami"
    with aws.told(where, "give an image of this region that is yours, or public"):
        images = ec2.describe_images(ImageIds=[options.ami])["Images"]
    if not images:
        raise ConfigError(f"{options.ami} is not there", where=where, remedy="give an image of this region")
    (image,) = images
    if image.get("State") != "available":
        raise ConfigError(f"{options.ami} is {image.get('State')}", where=where, remedy="wait, or give another")
    if image.get("RootDeviceName") != _ROOT:
        raise ConfigError(
            f"its root device is {image.get('RootDeviceName')}, and dask-cloudprovider asks for {_ROOT}",
            where=where,
            remedy="give an image made from Ubuntu",
        )
    sizes = [one["Ebs"].get("VolumeSize", 0) for one in image.get("BlockDeviceMappings", ()) if "Ebs" in one]
    if sizes and max(sizes) > options.disk:
        raise ConfigError(
            f"the image takes {max(sizes)} GB", where="cluster.ec2.disk", remedy=f"give {max(sizes)} or more"
        )
    for name, kind in types.items():
        known = kind.get("ProcessorInfo", {}).get("SupportedArchitectures", [])
        if known and image.get("Architecture") not in known:
            raise ConfigError(
                f"{options.ami} is for {image.get('Architecture')}, {name} is {', '.join(known)}",
                where=where,
                remedy="give an image for that processor, or another type",
            )


def _check_quota(ec2: Any, options: Options, workers: int, types: Mapping[str, Any]) -> str:  # noqa: ANN401
    """Return what is known of the quotas, after refusing what they do not allow."""
    cpus = {name: int(kind["VCpuInfo"]["DefaultVCpus"]) for name, kind in types.items()}
    asked = {True: 0, False: 0}
    for name, count, spot in (
        (options.scheduler_instance_type, 1, False),
        (options.instance_type, workers, options.spot),
    ):
        if name[0] in _STANDARD:
            asked[spot] += count * cpus[name]
    notes = []
    for spot, count in asked.items():
        if not count:
            continue
        label = "spot" if spot else "on demand"
        limit = _limit(options.region, _QUOTAS[spot])
        if limit is None:
            notes.append(f"{count} vCPUs {label}, quota not known")
            continue
        used = _used(ec2, spot, options)
        if used + count > limit:
            raise ConfigError(
                f"{count} virtual processors {label} beside {used} in use, and the quota is {limit:g}",
                where="cluster.ec2.instances",
                remedy="take fewer or smaller instances, or ask AWS for a higher quota",
            )
        notes.append(f"{count} + {used} of {limit:g} vCPUs {label}")
    return "; ".join(notes) or "not known for these types"


def _limit(region: str, code: str) -> float | None:
    """Return a quota, None where AWS does not tell it."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        quotas = aws.client("service-quotas", region)
        return float(quotas.get_service_quota(ServiceCode="ec2", QuotaCode=code)["Quota"]["Value"])
    except (BotoCoreError, ClientError):
        return None


def _used(ec2: Any, spot: bool, options: Options) -> int:  # noqa: ANN401
    """Return the virtual processors of the instances that run now and count against a quota."""
    filters = [{"Name": "instance-state-name", "Values": ["pending", "running"]}]
    with aws.told("cluster.ec2.region", "allow ec2:DescribeInstances"):
        pages = ec2.get_paginator("describe_instances").paginate(Filters=filters)
        instances = [one for page in pages for group in page["Reservations"] for one in group["Instances"]]
    return sum(
        one.get("CpuOptions", {}).get("CoreCount", 1) * one.get("CpuOptions", {}).get("ThreadsPerCore", 1)
        for one in instances
        if one["InstanceType"][0] in _STANDARD and (one.get("InstanceLifecycle") == "spot") == spot
    )


def _check_user_data(scripts: opening.UserData) -> int:
    size = max(len(text.encode()) for text in (scripts.scheduler, scripts.worker))
    if size >= USER_DATA_BYTES:
        raise ConfigError(
            f"an instance's user data have {size} bytes, and AWS takes fewer than {USER_DATA_BYTES}",
            where="cluster.ec2.image",
            remedy="shorten the names in the configuration",
        )
    secrets = aws.secrets()
    for text in (scripts.scheduler, scripts.worker):
        handed = json.dumps(inherited(text))
        if any(secret in text or secret in handed for secret in secrets):
            raise ClusterError(
                "the user data would hold AWS credentials", where="cluster.ec2", remedy="use instance_profile"
            )
    return size


def inherited(script: str) -> dict[str, Any]:
    """Return the configuration of Dask that a script hands over."""
    import dask.config

    coded = script.split('DASK_INTERNAL_INHERIT_CONFIG="', 1)[1].split('"', 1)[0]
    handed: dict[str, Any] = dask.config.deserialize(coded)
    return handed


def _check_request(ec2: Any, options: Options, name: str, scripts: opening.UserData) -> None:  # noqa: ANN401
    """Make the requests as they will be made, as a trial: AWS says whether they would be granted."""
    where = "cluster.ec2"
    kinds: list[tuple[str, str, dict[str, Any]]] = [(options.scheduler_instance_type, scripts.scheduler, {})]
    market = {"InstanceMarketOptions": {"MarketType": "spot", "SpotOptions": {"SpotInstanceType": "one-time"}}}
    kinds.append((options.instance_type, scripts.worker, market if options.spot else {}))
    for kind, script, extra in kinds:
        if options.instance_profile:
            extra["IamInstanceProfile"] = {"Name": options.instance_profile}
        tags = [{"Key": TAG, "Value": name}]
        interface = {
            "AssociatePublicIpAddress": not options.use_private_ip,
            "DeviceIndex": 0,
            "Groups": list(options.security_groups),
            "SubnetId": options.subnet,
        }
        request = partial(
            ec2.run_instances,
            DryRun=True,
            MinCount=1,
            MaxCount=1,
            ImageId=options.ami,
            InstanceType=kind,
            UserData=script,
            InstanceInitiatedShutdownBehavior="terminate",
            MetadataOptions=opening.METADATA,
            NetworkInterfaces=[interface],
            TagSpecifications=[{"ResourceType": part, "Tags": tags} for part in ("instance", "volume")],
            **extra,
        )
        _try(request, where)


def _try(request: Callable[[], Any], where: str) -> None:
    from botocore.exceptions import ClientError

    with aws.told(where, "see docs/ec2.md"):
        try:
            request()
        except ClientError as error:
            if aws.code_of(error) != "DryRunOperation":
                raise
