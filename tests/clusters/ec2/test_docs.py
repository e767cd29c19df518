"""The commands and the policy of docs/ec2.md, against a moto server."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
import yaml
from account import Account, Hypervisor

from relufit.claims import trace_files
from relufit.clusters import open_cluster
from relufit.clusters.ec2.options import Options
from relufit.errors import ConfigError
from relufit.instance_types import AS_OF, ON_DEMAND

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/ec2.md").read_text()
BIN = Path(sys.executable).parent


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.S)


def configured(account: Account) -> dict[str, Any]:
    """Return the page's configuration with what the tests' account has."""
    section = yaml.safe_load(blocks("yaml")[0])
    own = {key: account.options()[key] for key in ("ami", "subnet", "security_groups")}
    section["cluster"]["ec2"] |= own
    return section


@pytest.fixture
def ready(account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Account:
    """The account with what the page says is needed, and a folder with ec2.yaml."""
    boto3.client("iam").create_instance_profile(InstanceProfileName="relufit-reads-s3")
    boto3.client("s3").create_bucket(Bucket="my-bucket")
    (tmp_path / "ec2.yaml").write_text(yaml.safe_dump(configured(account)))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return account


def run(command: str, folder: Path) -> str:
    words, active = shlex.split(command), {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        [BIN / words[0], *words[1:]], cwd=folder, env=active, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_commands_work_one_after_the_other(ready: Account, tmp_path: Path) -> None:
    commands = [line for block in blocks("bash") for line in block.strip().splitlines()]
    assert len(commands) == 7
    put, up, status, down, status_by_tag, down_by_tag, _ = commands
    with Hypervisor(ready, tmp_path):
        run(put, tmp_path)
        run(up, tmp_path)
        assert "4 members" in run(status, tmp_path)
        (tmp_path / "state").rename(tmp_path / "elsewhere")
        assert "4 members" in run(status_by_tag, tmp_path)
        assert "4 members ended, none is left" in run(down_by_tag, tmp_path)
        assert ready.alive() == []
        (tmp_path / "elsewhere").rename(tmp_path / "state")
        assert "0 members ended, none is left" in run(down, tmp_path)


#: What makes the page's workflow short: an experiment with real ranks, and one whose trials are spread.
SMALL = [
    "experiments=[quantizer_variance, time_to_accuracy]",
    "time_to_accuracy={dimension: 100, mini_batch: 8, iterations: 500}",
]


def test_the_workflow_runs_on_a_cluster_from_its_start_to_its_end(ready: Account, tmp_path: Path) -> None:
    command = blocks("bash")[-1].strip().replace("ec2.yaml", str(tmp_path / "ec2.yaml"))
    command = command.replace("--cores all", "--cores 2 --nolock --configfile config/smoke.yaml")
    with Hypervisor(ready, tmp_path):
        run(f"{command} {shlex.join([f'results={tmp_path}/results', *SMALL])}", ROOT)
        assert ready.alive() == []
    assert len(ready.instances("terminated")) == 4
    here = tmp_path / "results/cloud"
    assert (here / "report.html").exists()
    about = trace_files.read(here / "traces/time_to_accuracy/runs.timing.parquet").about
    assert about["cluster"] == {"kind": "address", "slots": 3, "tls": True}
    trained = [trial for setting in about["settings"].values() for trial in setting["trials"]]
    assert trained
    assert all(trial["weights_sha256"] == trial["serial_sha256"] for trial in trained)
    for path in (here / "traces/quantizer_variance").glob("*.timing.parquet"):
        assert trace_files.read(path).about["cluster"] == {"kind": "address", "slots": 3, "tls": True}
    for marker in (here / "data").iterdir():
        assert marker.read_text() == f"s3://my-bucket/runs/cloud/{marker.stem}.zarr\n"


def only_with(policy: dict[str, Any], account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work from now on as a user with that policy, as moto enforces it; the hypervisor stays who may do everything."""
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    iam, keys = boto3.client("iam"), {}
    for name, document in (("student", policy), ("owner", everything)):
        iam.create_user(UserName=name)
        iam.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=json.dumps(document))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        keys[name] = {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}
    account.ec2 = boto3.client("ec2", region_name="us-east-1", **keys["owner"])
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    for name, value in keys["student"].items():
        monkeypatch.setenv(name.upper(), value)
    requests.post(f"{iam.meta.endpoint_url}/moto-api/reset-auth", data="0", timeout=300)


@pytest.fixture
def _no_policies_afterwards(aws_environment: str) -> Iterator[None]:
    yield
    requests.post(f"{aws_environment}/moto-api/reset-auth", data="inf", timeout=300)


@pytest.mark.usefixtures("_no_policies_afterwards")
def test_the_policy_is_enough(ready: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only_with(json.loads(blocks("json")[0]), ready, monkeypatch)
    with Hypervisor(ready, tmp_path):
        with open_cluster(configured(ready)["cluster"], 1) as cluster:
            assert cluster.client is not None
        assert ready.alive() == []


@pytest.mark.usefixtures("_no_policies_afterwards")
@pytest.mark.parametrize("action", ["ec2:RunInstances", "ec2:DescribeSubnets"])
def test_nothing_in_the_policy_can_be_left_out(ready: Account, action: str, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = json.loads(blocks("json")[0])
    policy["Statement"][0]["Action"].remove(action)
    only_with(policy, ready, monkeypatch)
    with (
        pytest.raises(ConfigError, match=rf"refuses permission.*{action}.*docs/ec2\.md"),
        open_cluster(configured(ready)["cluster"], 1),
    ):
        pass
    assert ready.alive() == []


def test_the_table_of_prices_is_that_of_the_program() -> None:
    for row in re.findall(r"^\| ([cmr]\d\w*) \|(.*)\|$", PAGE, re.M):
        for size, price in zip(("large", "xlarge", "2xlarge", "4xlarge"), row[1].split("|"), strict=True):
            assert ON_DEMAND.get(f"{row[0]}.{size}") == (float(price) if price.strip() else None)
    small = re.findall(r"(t3\.\w+) (0\.\d+)", PAGE)
    assert len(small) == 4
    for name, price in small:
        assert ON_DEMAND[name] == float(price)
    assert AS_OF in PAGE


def test_every_key_is_on_the_page() -> None:
    for name in Options.model_fields:
        assert f"`{name}`" in PAGE
