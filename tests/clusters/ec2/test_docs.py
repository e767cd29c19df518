"""The commands and the policy of docs/ec2.md, against a moto server."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
import yaml
from account import Account, Hypervisor

from relufit.clusters import KINDS, open_cluster
from relufit.clusters.ec2 import prices
from relufit.clusters.ec2.options import Options

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
    words = shlex.split(command)
    done = subprocess.run([BIN / words[0], *words[1:]], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_commands_work_one_after_the_other(ready: Account, tmp_path: Path) -> None:
    commands = [line for block in blocks("bash") for line in block.strip().splitlines()]
    assert len(commands) == 7
    told = []
    with Hypervisor(ready, tmp_path):
        for command in commands[:-1]:
            told.append(run(command, tmp_path))
            if command.endswith("--region us-east-1") and "status" in command:
                run(commands[1], tmp_path)  # so that there is something to end without a state
                (tmp_path / "state").rename(tmp_path / "elsewhere")
        assert ready.alive() == []
    assert "4 members" in told[2]
    assert "none is left" in told[3]
    assert "4 members ended" in told[5]


def test_the_workflow_is_planned_on_a_cluster(ready: Account, tmp_path: Path) -> None:
    if "address" not in KINDS:
        pytest.skip("needs the kind address")
    command = blocks("bash")[-1].strip().replace("ec2.yaml", str(tmp_path / "ec2.yaml"))
    with Hypervisor(ready, tmp_path):
        told = run(command.replace("--cores all", "--cores all --nolock -n"), ROOT)
        assert ready.alive() == []
    assert "s3://my-bucket/runs/cloud" in told or "this was a dry-run" in told.lower()


def test_the_policy_is_enough(ready: Account, aws_environment: str, tmp_path: Path, monkeypatch: Any) -> None:
    iam = boto3.client("iam")
    iam.create_user(UserName="student")
    iam.put_user_policy(UserName="student", PolicyName="relufit", PolicyDocument=blocks("json")[0])
    key = iam.create_access_key(UserName="student")["AccessKey"]
    with Hypervisor(ready, tmp_path):
        # Whoever asks as somebody else than the student, as the hypervisor does, is the account's own root.
        iam.create_user(UserName="root")
        everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
        iam.put_user_policy(UserName="root", PolicyName="all", PolicyDocument=json.dumps(everything))
        root = iam.create_access_key(UserName="root")["AccessKey"]
        ready.ec2 = boto3.client(
            "ec2",
            region_name="us-east-1",
            aws_access_key_id=root["AccessKeyId"],
            aws_secret_access_key=root["SecretAccessKey"],
        )
        monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
        requests.post(f"{aws_environment}/moto-api/reset-auth", data="0", timeout=10)
        try:
            section = configured(ready)["cluster"]
            with open_cluster(section, 1) as cluster:
                assert cluster.client is not None
        finally:
            requests.post(f"{aws_environment}/moto-api/reset-auth", data="inf", timeout=10)
        assert ready.alive() == []


def test_the_table_of_prices_is_that_of_the_program() -> None:
    for row in re.findall(r"^\| ([cmr]\d\w*) \|(.*)\|$", PAGE, re.M):
        for size, told in zip(("large", "xlarge", "2xlarge", "4xlarge"), row[1].split("|"), strict=True):
            assert prices.ON_DEMAND.get(f"{row[0]}.{size}") == (float(told) if told.strip() else None)
    small = re.findall(r"(t3\.\w+) (0\.\d+)", PAGE)
    assert len(small) == 4
    for name, told in small:
        assert prices.ON_DEMAND[name] == float(told)
    assert prices.AS_OF in PAGE


def test_every_key_is_on_the_page() -> None:
    for name in Options.__dataclass_fields__:
        assert f"`{name}`" in PAGE
