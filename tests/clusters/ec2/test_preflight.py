"""What is refused before anything is started on EC2, each against a moto server; afterwards there is no instance."""

from __future__ import annotations

import sys
from typing import Any

import boto3
import pytest
import requests
from account import Account

from relufit.clusters.certificates import make
from relufit.clusters.ec2 import opening, preflight, prices
from relufit.clusters.ec2.kind import open_ec2
from relufit.clusters.ec2.options import Options
from relufit.errors import ClusterError, ConfigError, RelufitError


def refused(account: Account, **changed: Any) -> RelufitError:
    with pytest.raises(RelufitError) as caught, open_ec2(account.options(**changed), 2):
        pass
    assert account.instances() == [], "nothing has ever been started"
    return caught.value


def passed(account: Account, **changed: Any) -> preflight.Passed:
    return preflight.check(Options.read(account.options(**changed)), 3, "test", make("test"))


def test_what_is_right_passes_and_starts_nothing(account: Account) -> None:
    result = passed(account)
    assert result.zone == "us-east-1a"
    assert result.identity.startswith("arn:aws:")
    assert 2000 < result.user_data_bytes < 16384
    assert "quota not known" in result.quota, "moto does not tell quotas of EC2"
    assert account.instances() == []


@pytest.mark.parametrize("key", ["region", "ami", "subnet", "security_groups", "instance_type", "image", "ceiling"])
def test_a_key_that_is_missing_is_named(account: Account, key: str) -> None:
    error = refused(account, **{key: None})
    assert (error.where, error.what) == (f"cluster.ec2.{key}", "missing")


@pytest.mark.parametrize(
    ("changed", "where", "what"),
    [
        ({"ami": "ami-00000000"}, "ami", "does not exist"),
        ({"ami": "ubuntu"}, "ami", "'ubuntu' is not possible"),
        ({"subnet": "subnet-00000000"}, "subnet", "does not exist"),
        ({"security_groups": ["sg-00000000"]}, "security_groups", "does not exist"),
        ({"security_groups": "default"}, "security_groups", "default"),
        ({"instance_type": "x9.huge", "price": {"x9.huge": 0.1}}, "instance_type", "do not exist"),
        ({"instance_type": "x9.huge"}, "price", "not known here"),
        ({"region": "eu-west-1"}, "price", "not known here"),
        ({"ceiling": 0.2}, "ceiling", "more than the ceiling"),
        ({"instances": 1}, "instances", "1 instances of 1 slots for 2 ranks"),
        ({"disk": 4}, "disk", "takes 15 GB"),
        ({"instance_type": "c6g.large", "price": {"c6g.large": 0.1}}, "ami", "is for x86_64, c6g.large is arm64"),
        ({"idle_timeout": 0}, "idle_timeout", "0"),
        ({"keys": {"AWS_SECRET_ACCESS_KEY": "x"}}, "keys", "unknown key"),
        ({"image": "registry/" + "i" * 16000}, "image", "AWS takes fewer than 16384"),
    ],
)
def test_what_cannot_work_is_refused_by_its_key(
    account: Account, changed: dict[str, Any], where: str, what: str
) -> None:
    error = refused(account, **changed)
    assert isinstance(error, ConfigError)
    assert error.where == f"cluster.ec2.{where}"
    assert what in error.what
    assert error.remedy


#: Sources that are each too many, or only together.
MANY = {
    "the world": ["0.0.0.0/0"],
    "the world of IPv6": ["::/0"],
    "half of the internet": ["128.0.0.0/1"],
    "both halves of the internet": ["0.0.0.0/1", "128.0.0.0/1"],
    "both halves of IPv6": ["::/1", "8000::/1"],
    "all that is routed of IPv6": ["2000::/3"],
    "half of the internet in rules of a sixteenth of it": [f"{16 * part}.0.0.0/4" for part in range(8, 14)],
    "all networks of eight bits": [f"{part}.0.0.0/8" for part in range(11, 40)],
    "many small networks": [f"198.51.{part}.0/24" for part in range(40)],
    "two small networks": ["198.51.100.0/24", "198.51.102.0/32"],
    "two networks of IPv6": ["2001:db8::/64", "2001:db8:1::/64"],
    "a range that begins in a private one": ["10.0.0.0/7"],
    "the private ranges and what is between them": ["172.16.0.0/11"],
}


@pytest.mark.parametrize("sources", MANY)
@pytest.mark.parametrize("groups", [1, 2])
def test_security_groups_that_together_let_in_many_are_refused(account: Account, sources: str, groups: int) -> None:
    """It makes no difference how the sources are spread over rules and groups."""
    asked = [account.new_group(*MANY[sources][start::groups]) for start in range(groups)]
    error = refused(account, security_groups=[account.group, *asked])
    assert error.where == "cluster.ec2.security_groups"
    assert f"lets in {MANY[sources][0]}" in error.what
    assert "on tcp ports 8786 to 8787: " in error.what
    assert "together, and " in error.what
    assert asked[0] in error.what
    assert error.remedy == "let in the group itself, and your own addresses on port 8786"


def test_sources_are_added_up_for_each_port_by_itself(account: Account) -> None:
    """Rules for all protocols and ports count for every port; those for other ports do not."""
    ranges = {"IpRanges": [{"CidrIp": "198.51.100.0/24"}]}, {"IpRanges": [{"CidrIp": "198.51.101.0/24"}]}
    group = account.new_group()
    account.let_in(group, ports=(8000, 8785), **ranges[0])
    account.let_in(group, ports=(8786, 9000), **ranges[1])
    account.let_in(group, "udp", ports=(8000, 9000), **ranges[0])
    assert passed(account, security_groups=[group])
    account.let_in(group, ports=(9000, 9000), **ranges[0])
    assert "512 public addresses of IPv4 together" in refused(account, security_groups=[group]).what
    everything = account.new_group("198.51.100.0/24")
    account.let_in(everything, "-1", ports=(-1, -1), **ranges[1])
    assert "on all ports, tcp ports 8786 to 8787" in refused(account, security_groups=[everything]).what


@pytest.mark.parametrize("protocol", ["tcp", "-1"])
def test_a_security_group_that_lets_in_another_one_is_refused_by_its_name(account: Account, protocol: str) -> None:
    group, other = account.new_group(), account.new_group()
    account.let_in(group, protocol, (0, 65535), UserIdGroupPairs=[{"GroupId": other}])
    what = refused(account, security_groups=[group]).what
    assert f"{group} lets in the group {other} on {'all ports' if protocol == '-1' else 'tcp ports 0 to 65535'}" in what
    assert passed(account, security_groups=[group, other]), "all instances are in both"


def test_a_security_group_that_lets_in_a_list_of_addresses_is_refused_by_its_name(account: Account) -> None:
    lists = account.ec2.create_managed_prefix_list(PrefixListName="all", MaxEntries=5, AddressFamily="IPv4")
    name, group = lists["PrefixList"]["PrefixListId"], account.new_group()
    account.let_in(group, PrefixListIds=[{"PrefixListId": name}])
    assert f"{group} lets in the list {name}, which is not read here," in refused(account, security_groups=[group]).what


@pytest.mark.parametrize(
    "sources",
    [
        ["203.0.113.7/32"],
        ["198.51.100.0/25", "198.51.100.128/25", "198.51.100.7/32"],
        ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"],
        ["2001:db8::/64", "203.0.113.0/24"],
    ],
)
def test_a_security_group_that_lets_in_private_addresses_and_few_others_is_taken(
    account: Account, sources: list[str]
) -> None:
    assert passed(account, security_groups=[account.new_group(*sources)])


def test_the_addresses_of_the_network_itself_are_taken_wherever_they_are(account: Account) -> None:
    vpc = account.ec2.create_vpc(CidrBlock="20.1.0.0/16")["Vpc"]["VpcId"]
    subnet = account.ec2.create_subnet(VpcId=vpc, CidrBlock="20.1.0.0/24", AvailabilityZone="us-east-1a")
    asked = {"subnet": subnet["Subnet"]["SubnetId"]}
    assert passed(account, security_groups=[account.new_group("20.1.0.0/16", vpc=vpc)], **asked)
    error = refused(account, security_groups=[account.new_group("20.0.0.0/15", vpc=vpc)], **asked)
    assert "131072 public addresses" in error.what


def test_a_security_group_whose_members_cannot_reach_each_other_is_refused(account: Account) -> None:
    error = refused(account, security_groups=[account.new_group("10.0.0.0/8", members=False)])
    assert "cannot reach each other" in error.what


def test_a_security_group_of_another_network_is_refused(account: Account) -> None:
    other = account.ec2.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
    assert f"belongs to {other}" in refused(account, security_groups=[account.new_group(vpc=other)]).what


def test_an_image_with_another_root_device_is_refused(account: Account) -> None:
    images = account.ec2.describe_images(Filters=[{"Name": "root-device-name", "Values": ["/dev/xvda"]}])["Images"]
    assert "root device is /dev/xvda" in refused(account, ami=images[0]["ImageId"]).what


def test_a_type_that_the_zone_does_not_have_is_refused(account: Account) -> None:
    zone = "us-east-1e"
    subnet = account.ec2.create_subnet(VpcId=account.second_vpc(), CidrBlock="10.9.0.0/24", AvailabilityZone=zone)
    group = account.new_group(vpc=subnet["Subnet"]["VpcId"])
    asked = {"subnet": subnet["Subnet"]["SubnetId"], "security_groups": [group], "instance_type": "m6i.large"}
    assert f"{zone} has no m6i.large" in refused(account, **asked).what


def test_a_subnet_without_room_is_refused(account: Account) -> None:
    small = account.ec2.create_subnet(
        VpcId=account.second_vpc(), CidrBlock="10.9.0.0/28", AvailabilityZone="us-east-1a"
    )
    assert (
        "free addresses for 21 instances"
        in refused(account, subnet=small["Subnet"]["SubnetId"], instances=20, ceiling=9.0).what
    )


def test_an_instance_profile_that_is_not_there_is_refused(account: Account) -> None:
    assert "no-such-profile" in refused(account, instance_profile="no-such-profile").what


def test_an_instance_profile_that_is_there_passes(account: Account) -> None:
    boto3.client("iam").create_instance_profile(InstanceProfileName="reads-s3")
    assert passed(account, instance_profile="reads-s3")


def test_missing_credentials_are_told_of(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(ConfigError, match="there are none; log in") as caught, open_ec2(account.options(), 2):
        pass
    assert caught.value.where == "AWS credentials"
    assert account.instances() == []


def test_credentials_that_aws_does_not_know_are_told_of(account: Account, aws_environment: str) -> None:
    requests.post(f"{aws_environment}/moto-api/reset-auth", data="0", timeout=300)
    try:
        with pytest.raises(ConfigError, match="AWS refuses the credentials"), open_ec2(account.options(), 2):
            pass
    finally:
        requests.post(f"{aws_environment}/moto-api/reset-auth", data="inf", timeout=300)
    assert account.instances() == []


def test_an_account_without_permission_is_told_what_to_allow(account: Account, aws_environment: str) -> None:
    iam = boto3.client("iam")
    iam.create_user(UserName="nobody")
    key = iam.create_access_key(UserName="nobody")["AccessKey"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("boto3.DEFAULT_SESSION", None)
        patch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
        patch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
        requests.post(f"{aws_environment}/moto-api/reset-auth", data="0", timeout=300)
        try:
            with pytest.raises(ConfigError, match=r"refuses permission.*docs/ec2\.md"), open_ec2(account.options(), 2):
                pass
        finally:
            requests.post(f"{aws_environment}/moto-api/reset-auth", data="inf", timeout=300)
    assert account.instances() == []


@pytest.mark.parametrize("package", ["boto3", "dask_cloudprovider.aws"])
def test_a_package_that_is_missing_is_told_of(account: Account, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=r"pip install 'relufit\[ec2\]'"), open_ec2(account.options(), 2):
        pass


def test_an_endpoint_that_does_not_answer_is_told_of_in_time(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(ClusterError, match="AWS does not answer"), open_ec2(account.options(), 2):
        pass


@pytest.mark.parametrize("spot", [True, False])
def test_a_quota_is_held_against_what_is_asked_and_what_runs(
    account: Account, monkeypatch: pytest.MonkeyPatch, spot: bool
) -> None:
    from moto.servicequotas.models import ServiceQuotasBackend

    limits = {"L-1216C47A": 10.0 if spot else 7.0, "L-34B43A08": 5.0}

    def told(self: object, service_code: str, quota_code: str) -> dict[str, Any]:
        assert service_code == "ec2"
        return {"QuotaCode": quota_code, "Value": limits[quota_code]}

    monkeypatch.setattr(ServiceQuotasBackend, "get_service_quota", told)
    with pytest.raises(ConfigError, match="6 virtual processors spot beside 0" if spot else "8 virtual processors on"):
        passed(account, spot=spot)
    limits |= {"L-1216C47A": 10.0, "L-34B43A08": 6.0}
    quota = passed(account, spot=spot).quota
    assert quota == ("6 + 0 of 6 vCPUs spot; 2 + 0 of 10 vCPUs on demand" if spot else "8 + 0 of 10 vCPUs on demand")


def test_the_scripts_hold_no_credentials_and_nothing_of_this_machine(account: Account) -> None:
    import dask

    with dask.config.set({"secret-of-this-machine": "swordfish"}):
        scripts = opening.user_data(Options.read(account.options()), "test", make("test"))
        assert dask.config.get("secret-of-this-machine") == "swordfish"
    for script in (scripts.scheduler, scripts.worker):
        inherited = preflight.inherited(script)
        for text in (script, str(inherited)):
            assert "swordfish" not in text
            assert "never-to-be-sent" not in text
            assert "AKIAFORTESTSONLY" not in text
        assert inherited["distributed"]["comm"]["require-encryption"] is True
        assert inherited["distributed"]["comm"]["tls"]["ca-file"].startswith("-----BEGIN CERTIFICATE-----")
    assert dask.config.get("distributed.comm.require-encryption") is None, "nothing stays behind here"


def test_credentials_in_the_scripts_are_refused(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    error = refused(account, image="registry/never-to-be-sent-anywhere-0123456789abcd")
    assert error.what == "the user data would hold AWS credentials"


def test_the_cost_is_that_of_all_parts() -> None:
    options = Options.read(
        {
            "region": "us-east-1",
            "ami": "ami-0",
            "subnet": "subnet-0",
            "security_groups": ["sg-0"],
            "instance_type": "c5.large",
            "scheduler_instance_type": "t3.small",
            "image": "image",
            "ceiling": 1,
            "use_private_ip": False,
            "price": {"c5.large": 0.1},
        }
    )
    assert prices.cost(options, 4).total == pytest.approx(0.0208 + 4 * 0.1 + 5 * (40 * 0.08 / 730 + 0.005))
