"""Clusters on EC2 from start to end, with failures in the middle: a moto server keeps the books.

What an instance does after its boot is done here by `account.Hypervisor`, which runs the command of the user data.
"""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
from account import IMAGE, Account, Hypervisor, command_of, decoded
from waiting import until

import relufit
from relufit.claims import trace_files
from relufit.clusters import open_cluster, versions
from relufit.clusters.ec2 import opening, preflight, teardown
from relufit.clusters.ec2.options import Options
from relufit.errors import ClusterError, RelufitError
from relufit.experiments.framework import trials
from relufit.experiments.framework.base import Setting
from relufit.planted import PlantedModel, dataset


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Do not wait as long as for the real thing, and leave no thread that could start another instance."""
    monkeypatch.setattr(teardown, "_SETTLE_SECONDS", 0.1)
    monkeypatch.setattr(teardown, "_PAUSE_SECONDS", 0.1)
    yield
    assert not [thread for thread in threading.enumerate() if thread.name == "relufit-ec2"]


def failing(account: Account, **changed: Any) -> RelufitError:
    with pytest.raises(RelufitError) as caught, open_cluster({"kind": "ec2", "ec2": account.options(**changed)}, 2):
        pytest.fail("it has opened")
    assert account.alive() == []
    return caught.value


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, str], None]:
    """Let EC2 refuse an instance after so many that it has given."""
    from moto.ec2.exceptions import EC2ClientError
    from moto.ec2.models import EC2Backend

    usual = EC2Backend.run_instances

    def set_up(after: int, code: str) -> None:
        given: list[int] = []

        def run_instances(self: Any, *args: Any, **kwargs: Any) -> Any:
            if len(given) >= after:
                raise EC2ClientError(code, "there is none to be had")
            given.append(1)
            return usual(self, *args, **kwargs)

        monkeypatch.setattr(EC2Backend, "run_instances", run_instances)

    return set_up


def test_a_run_on_ec2_gives_the_weights_of_this_machine_and_leaves_no_instance(
    account: Account, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boto3.client("iam").create_instance_profile(InstanceProfileName="reads-s3")
    boto3.client("s3").create_bucket(Bucket="rows")
    dataset.write(PlantedModel(400, 20, 1), "s3://rows/data", shards=2)
    spec = relufit.TrainingSpec(
        dataset="s3://rows/data", compressor={"name": "qsgd", "levels": 4}, workers=2, batch_size=10, iterations=30
    )
    asked = account.options(spot=True, instance_profile="reads-s3", idle_timeout=123, hours=3)
    with Hypervisor(account, tmp_path) as machine:
        with open_cluster({"kind": "ec2", "ec2": asked}, 2) as cluster:
            trace = relufit.train(spec, cluster.client)
            details, counters = cluster.describe(), cluster.counters()
            alive = account.alive()
            _check_processes(machine, _pages(cluster.client))
            scripts = {one["InstanceId"]: decoded(account.ec2, one["InstanceId"]) for one in alive}
            name = _tags(alive[0])["relufit-cluster"]
            assert {one.role for one in teardown.find("us-east-1", name)} == {"scheduler", "worker"}
        assert account.alive() == []
    assert trace.weights.tobytes() == relufit.train(spec).weights.tobytes()
    assert len(account.instances("terminated")) == 4
    assert details["kind"] == "ec2"
    assert (details["instances"], details["zone"], details["spot"]) == (3, "us-east-1a", True)
    assert "123456789012" not in str(details), "nothing of the account"
    assert all(count["sent"] >= 0 for count in counters.values())
    assert len(counters) == 1
    _check_requests(account, alive, scripts, machine)
    assert "4 instances in us-east-1a" in (err := capsys.readouterr().err)
    assert "USD an hour at most (ceiling 1)" in err
    assert "none is left" in err


def _check_processes(machine: Hypervisor, pages: set[int]) -> None:
    """Hold what runs on the instances against what docs/ec2.md says of who can reach it."""
    folders, listening = set(), set()
    for first in machine.processes.values():
        for process in (first, *first.children(recursive=True)):
            held = [file.path for file in process.open_files() if "/dask-scratch-space/" in file.path]
            folders |= {Path(path[: path.index("/dask-scratch-space/")]) for path in held}
            sockets = [
                connection.laddr
                for connection in process.net_connections("tcp")
                if connection.status == psutil.CONN_LISTEN
            ]
            listening |= {(address.ip, address.port) for address in sockets}
    assert len(pages) == 4, "of the scheduler and the workers"
    assert {(ip, port) for ip, port in listening if port in pages} == {("127.0.0.1", port) for port in pages}
    assert len(folders) == 4, "one for each process of Dask, which holds a lock there"
    for folder in folders:
        assert folder.parent == Path(tempfile.gettempdir())
        about = folder.stat()
        assert (stat.S_IMODE(about.st_mode), about.st_uid) == (0o700, os.getuid())


def _pages(client: Any) -> set[int]:
    """Return the ports of Dask's web pages."""
    info = client.scheduler_info(n_workers=-1)
    return {int(server["services"]["dashboard"]) for server in (info, *info["workers"].values())}


def _tags(one: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in one["Tags"]}


def _check_requests(
    account: Account, alive: list[dict[str, Any]], scripts: dict[str, str], machine: Hypervisor
) -> None:
    """Hold what moto wrote down against what was asked for."""
    (scheduler,) = [one for one in alive if _tags(one)["Name"].endswith("-scheduler")]
    workers = [one for one in alive if one is not scheduler]
    assert scheduler["InstanceType"] == "t3.small"
    assert "InstanceLifecycle" not in scheduler, "the scheduler is never a spot instance"
    assert len(workers) == 3
    names = set()
    for one in alive:
        names.add(_tags(one)["relufit-cluster"])
        assert one["ImageId"] == account.ami
        assert one["SubnetId"] == account.subnet
        assert one["Placement"]["AvailabilityZone"] == "us-east-1a"
        assert [group["GroupId"] for group in one["NetworkInterfaces"][0]["Groups"]] == [account.group]
        assert one["IamInstanceProfile"]["Arn"].endswith("/reads-s3")
        assert one["PrivateIpAddress"].startswith(account.net)
        metadata = one["MetadataOptions"]
        assert (metadata["HttpTokens"], metadata["HttpPutResponseHopLimit"]) == ("required", 1)
        script = scripts[one["InstanceId"]]
        assert len(script.encode()) < 16384
        assert "never-to-be-sent" not in script
        assert "AKIA" not in script
        handed = preflight.inherited(script)
        assert "-----BEGIN PRIVATE KEY-----" in handed["distributed"]["comm"]["tls"]["worker"]["key"]
        assert "never-to-be-sent" not in str(handed)
        lines = script.splitlines()
        assert "  - shutdown -P +180" in lines
        assert lines.index("  - shutdown -P +180") < next(i for i, line in enumerate(lines) if "docker run" in line)
        assert script.strip().endswith("- shutdown -h now")
        assert f" {IMAGE} " in script
        assert account.ec2.describe_instance_attribute(
            InstanceId=one["InstanceId"], Attribute="instanceInitiatedShutdownBehavior"
        )["InstanceInitiatedShutdownBehavior"] == {"Value": "terminate"}
    assert len(names) == 1
    for one in workers:
        assert (one["InstanceType"], one["InstanceLifecycle"]) == ("c5.large", "spot")
        command = " ".join(command_of(scripts[one["InstanceId"]]))
        assert f"dask_spec tls://{scheduler['PrivateIpAddress']}:8786" in command
        assert '"resources": {"slot": 1}' in command
        assert '"death_timeout": 300' in command
        assert '"dashboard_address": "127.0.0.1:0"' in command
    command = machine.commands[scheduler["InstanceId"]]
    assert "relufit.clusters.ec2.process distributed.cli.dask_scheduler" in " ".join(command)
    assert command[command.index("--idle-timeout") + 1] == "123s"
    assert command[command.index("--dashboard-address") + 1] == "127.0.0.1:0"


def test_instances_have_public_addresses_only_if_asked(account: Account) -> None:
    asked = opening.arguments(
        Options.read(account.options(use_private_ip=False)), "test", opening.Pair("", ""), "vpc-0"
    )
    assert asked["use_private_ip"] is False
    assert Options.read(account.options()).use_private_ip


@pytest.mark.parametrize(
    ("after", "code"), [(0, "UnauthorizedOperation"), (0, "VcpuLimitExceeded"), (2, "InsufficientInstanceCapacity")]
)
def test_an_instance_that_is_refused_ends_all_that_were_given(
    account: Account, tmp_path: Path, refuse: Callable[[int, str], None], after: int, code: str
) -> None:
    refuse(after, code)
    with Hypervisor(account, tmp_path):
        error = failing(account)
    assert "there is none to be had" in error.what
    assert len(account.instances("terminated")) == after


def test_a_scheduler_that_does_not_answer_is_given_up_at_the_deadline(account: Account) -> None:
    error = failing(account, boot_timeout=5)
    assert "does not answer within 5 s" in error.what
    assert "port 8786" in error.remedy
    # On a busy machine the time may be over before EC2 is asked for the instance.
    assert len(account.instances()) <= 1
    assert account.instances() == account.instances("terminated")


def test_workers_that_do_not_join_are_given_up_at_the_deadline(account: Account, tmp_path: Path) -> None:
    with Hypervisor(account, tmp_path, dead=("worker",)):
        error = failing(account, join_timeout=3)
    assert "3 workers have not joined within 3 s" in error.what
    assert len(account.instances("terminated")) == 4


def test_workers_with_other_versions_are_refused(
    account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = versions.here()
    monkeypatch.setattr(versions, "version", lambda name: "0.0.1" if name == "numba" else real[name])
    with Hypervisor(account, tmp_path):
        error = failing(account, instances=2)
    assert error.what == "versions differ from those of this program"
    assert error.where == "cluster.ec2.image"
    assert ["numba", "0.0.1", real["numba"], "scheduler"] == error.remedy.splitlines()[2].split()[:4]
    assert error.remedy.endswith("and 2 more")


def test_trials_without_real_ranks_are_spread_over_instances(account: Account, tmp_path: Path) -> None:
    spec = {"compressor": {"name": "qsgd", "levels": 4}, "vectors": 20}
    settings = [Setting("quantizer_variance", "q", {"d": 64}, spec, 3, "quantize")]
    for name, cluster in (("here", None), ("there", {"kind": "ec2", "ec2": account.options()})):
        with Hypervisor(account, tmp_path):
            trials.run(settings, 7, tmp_path / f"{name}.parquet", tmp_path, cluster=cluster)
        assert account.alive() == []
    assert (tmp_path / "here.parquet").read_bytes() == (tmp_path / "there.parquet").read_bytes()
    details = trace_files.read(trace_files.timing_path(tmp_path / "there.parquet")).about["cluster"]
    assert (details["kind"], details["instances"]) == ("ec2", 1), "one, where the options do not say how many"
    assert len(account.instances("terminated")) == 2


def test_a_run_that_is_interrupted_leaves_no_instance(account: Account, tmp_path: Path) -> None:
    with Hypervisor(account, tmp_path):
        options = {"kind": "ec2", "ec2": account.options(instances=1)}
        with pytest.raises(KeyboardInterrupt), open_cluster(options, 1):
            assert len(account.alive()) == 2
            raise KeyboardInterrupt
        assert account.alive() == []


PROGRAM = """
import json, sys, time
from relufit.clusters import open_cluster
with open_cluster({"kind": "ec2", "ec2": json.loads(sys.argv[1])}, 1):
    print("open", flush=True)
    time.sleep(600)
"""


def test_a_program_that_is_killed_leaves_instances_that_end_by_their_own_idle_time_out(
    account: Account, tmp_path: Path
) -> None:
    import json

    asked = json.dumps(account.options(instances=1, idle_timeout=20))
    with Hypervisor(account, tmp_path):
        program = subprocess.Popen([sys.executable, "-c", PROGRAM, asked], stdout=subprocess.PIPE, text=True)
        assert program.stdout is not None
        assert program.stdout.readline() == "open\n"
        os.kill(program.pid, signal.SIGKILL)
        program.wait()
        program.stdout.close()
        assert len(account.alive()) == 2
        until(lambda: account.alive() == [], "an instance is left")


def test_instances_are_found_and_ended_by_their_tag_alone(account: Account) -> None:
    def give(name: str, count: int) -> None:
        tags = [{"ResourceType": "instance", "Tags": [{"Key": "relufit-cluster", "Value": name}]}]
        account.ec2.run_instances(ImageId=account.ami, MinCount=count, MaxCount=count, TagSpecifications=tags)

    give("mine", 3)
    give("another", 1)
    account.ec2.run_instances(ImageId=account.ami, MinCount=1, MaxCount=1)
    assert [one.cluster for one in teardown.find("us-east-1", "mine")] == ["mine"] * 3
    assert len(teardown.find("us-east-1")) == 4
    assert teardown.end("us-east-1", "mine") == 3
    assert [one.cluster for one in teardown.find("us-east-1")] == ["another"]
    assert len(account.alive()) == 2


def test_a_refusal_while_ending_is_tried_again_and_an_interrupt_does_not_stop_it(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    from moto.ec2.exceptions import EC2ClientError
    from moto.ec2.models import EC2Backend

    tags = [{"ResourceType": "instance", "Tags": [{"Key": "relufit-cluster", "Value": "mine"}]}]
    account.ec2.run_instances(ImageId=account.ami, MinCount=2, MaxCount=2, TagSpecifications=tags)
    usual, refusals = EC2Backend.terminate_instances, [1, 1, 1]

    def terminate(self: Any, identifiers: list[str]) -> Any:
        if refusals:
            refusals.pop()
            os.kill(os.getpid(), signal.SIGINT)  # which Python gives to the main thread
            raise EC2ClientError("InternalFailure", "try again")
        return usual(self, identifiers)

    monkeypatch.setattr(EC2Backend, "terminate_instances", terminate)
    assert teardown.end("us-east-1", "mine") == 2
    assert account.alive() == []


def test_where_aws_does_not_answer_the_end_is_an_error_that_says_how_to_look(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(teardown, "_DEADLINE_SECONDS", 0.1)
    monkeypatch.setattr(teardown, "_end", lambda region, name, known: int(over.wait(60)))
    with pytest.raises(ClusterError, match="i-1") as caught:
        teardown.end("us-east-1", "mine", ["i-1"])
    with pytest.raises(ClusterError, match="AWS has not answered"):
        teardown.end("us-east-1", "mine")
    over.set()
    assert "relufit cluster down --kind ec2 --name mine --region us-east-1" in caught.value.remedy


def test_instances_that_cannot_be_ended_are_named(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    from moto.ec2.models import EC2Backend

    tags = [{"ResourceType": "instance", "Tags": [{"Key": "relufit-cluster", "Value": "mine"}]}]
    made = account.ec2.run_instances(ImageId=account.ami, MinCount=1, MaxCount=1, TagSpecifications=tags)
    monkeypatch.setattr(EC2Backend, "terminate_instances", lambda self, identifiers: [])
    monkeypatch.setattr(teardown, "_DEADLINE_SECONDS", 8.0)
    with pytest.raises(ClusterError, match=made["Instances"][0]["InstanceId"]) as caught:
        teardown.end("us-east-1", "mine")
    assert "relufit cluster down --kind ec2 --name mine --region us-east-1" in caught.value.remedy
