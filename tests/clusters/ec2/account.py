"""An account of AWS on this machine: a moto server over HTTP, a network, and somebody who boots its instances.

Moto keeps books and boots nothing. `Hypervisor` does for an instance what cloud-init would do on it, without Docker:
it takes the command out of the user data and runs it here, and when it has ended shuts the instance down, as the line
after it says. The instances' private addresses are loopback's.
"""

from __future__ import annotations

import base64
import os
import secrets
import shlex
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any

import boto3
import psutil
import yaml
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError

REGION, ZONE = "us-east-1", "us-east-1a"
IMAGE = "relufit:test"


def decoded(ec2: Any, identifier: str) -> str:
    """Return the user data of an instance."""
    attribute = ec2.describe_instance_attribute(InstanceId=identifier, Attribute="userData")
    return base64.b64decode(attribute["UserData"]["Value"]).decode()


def command_of(script: str) -> list[str]:
    """Return what the container runs."""
    line = next(part for part in yaml.safe_load(script)["runcmd"] if part.startswith("docker run"))
    words = shlex.split(line)
    return words[words.index(IMAGE) + 1 :]


@dataclass
class Account:
    """What the tests' account has."""

    ec2: Any = field(default_factory=lambda: boto3.client("ec2", region_name=REGION))
    vpc: str = ""
    subnet: str = ""
    group: str = ""
    ami: str = "ami-785db401"  # an Ubuntu that moto knows

    def __post_init__(self) -> None:
        self.net = f"127.{secrets.randbelow(200) + 20}.{secrets.randbelow(250)}"
        self.vpc = self.ec2.create_vpc(CidrBlock=f"{self.net}.0/24")["Vpc"]["VpcId"]
        self.subnet = self.ec2.create_subnet(VpcId=self.vpc, CidrBlock=f"{self.net}.0/24", AvailabilityZone=ZONE)[
            "Subnet"
        ]["SubnetId"]
        self.group = self.new_group()

    def new_group(self, *sources: str, members: bool = True, vpc: str = "") -> str:
        name = secrets.token_hex(4)
        group = self.ec2.create_security_group(GroupName=name, Description=name, VpcId=vpc or self.vpc)["GroupId"]
        rules: list[dict[str, Any]] = []
        if members:
            pairs = [{"GroupId": group}]
            rules.append({"IpProtocol": "tcp", "FromPort": 0, "ToPort": 65535, "UserIdGroupPairs": pairs})
        for source in sources:
            ranges = {"Ipv6Ranges": [{"CidrIpv6": source}]} if ":" in source else {"IpRanges": [{"CidrIp": source}]}
            rules.append({"IpProtocol": "tcp", "FromPort": 8786, "ToPort": 8787, **ranges})
        if rules:
            self.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=rules)
        return group

    def let_in(self, group: str, protocol: str = "tcp", ports: tuple[int, int] = (8786, 8786), **sources: Any) -> None:
        """Add a rule to a group; the sources are those that boto3 takes."""
        rule = {"IpProtocol": protocol, "FromPort": ports[0], "ToPort": ports[1], **sources}
        self.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])

    def second_vpc(self) -> str:
        return str(self.ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"])

    def options(self, **changed: Any) -> dict[str, Any]:
        return {
            "region": REGION,
            "ami": self.ami,
            "subnet": self.subnet,
            "security_groups": [self.group],
            "instance_type": "c5.large",
            "scheduler_instance_type": "t3.small",
            "image": IMAGE,
            "ceiling": 1.0,
            "boot_timeout": 300,
            "join_timeout": 300,
            **changed,
        }

    def instances(self, *states: str) -> list[dict[str, Any]]:
        instances = [one for group in self.ec2.describe_instances()["Reservations"] for one in group["Instances"]]
        return [one for one in instances if not states or one["State"]["Name"] in states]

    def alive(self) -> list[dict[str, Any]]:
        return self.instances("pending", "running", "stopping", "stopped")


class Hypervisor:
    """Boots the instances of an account on this machine until it is left."""

    def __init__(self, account: Account, logs: Path, dead: tuple[str, ...] = ()) -> None:
        self._account, self._logs, self._dead = account, logs, dead
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.commands: dict[str, list[str]] = {}
        self._over = Event()
        self._thread = Thread(target=self._watch)

    @property
    def processes(self) -> dict[str, psutil.Process]:
        """What runs on each instance first."""
        return {name: psutil.Process(process.pid) for name, process in self._running.items() if process.poll() is None}

    def __enter__(self) -> Hypervisor:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()
        for process in self._running.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            try:
                self._look()
            except (ClientError, ResponseParserError) as error:
                # moto's server fails now and then where tags are written while it lists them; the next look has them.
                response = getattr(error, "response", {"ResponseMetadata": {"HTTPStatusCode": 500}})
                if response["ResponseMetadata"]["HTTPStatusCode"] < 500:
                    raise

    def _look(self) -> None:
        alive = {one["InstanceId"]: one for one in self._account.instances("running")}
        for identifier, one in alive.items():
            if identifier not in self._running and self._role(one) not in self._dead:
                self._running[identifier] = self._boot(identifier, one["PrivateIpAddress"])
        for identifier, process in list(self._running.items()):
            if identifier not in alive and process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            elif identifier in alive and process.poll() is not None:
                # `shutdown -h now`, which ends an instance that was asked for with that behaviour.
                self._account.ec2.terminate_instances(InstanceIds=[identifier])

    def _role(self, one: dict[str, Any]) -> str:
        names = [tag["Value"] for tag in one.get("Tags", ()) if tag["Key"] == "Name"]
        return "scheduler" if names and names[0].endswith("-scheduler") else "worker"

    def _boot(self, identifier: str, address: str) -> subprocess.Popen[bytes]:
        words = command_of(decoded(self._account.ec2, identifier))
        self.commands[identifier] = words
        # Every instance of the real thing has all of its addresses to itself.
        extra = ["--host", address] if "distributed.cli.dask_scheduler" in words else []
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DASK")}
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
        with (self._logs / f"{identifier}.log").open("wb") as log:
            return subprocess.Popen([*words, *extra], env=environment, stdout=log, stderr=log, start_new_session=True)
