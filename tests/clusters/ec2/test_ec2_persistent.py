"""A cluster on EC2 that outlives the command, against a moto server; its instances' commands run on this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from account import Account, Hypervisor
from waiting import until

from relufit.cli import main

BIN = Path(sys.executable).parent
LOOK = """
import os, yaml
from pathlib import Path
from distributed import Client
from relufit.clusters.certificates import Files
section = yaml.safe_load(Path(os.environ["RELUFIT_CLUSTER_FILE"]).read_text())["cluster"]["address"]
security = Files(*(Path(section["tls"][part]) for part in ("ca_file", "cert", "key"))).security()
with Client(scheduler_file=section["scheduler_file"], security=security, timeout=300) as client:
    print(len(client.scheduler_info()["workers"]), "workers", flush=True)
"""


@pytest.fixture
def config(account: Account, tmp_path: Path) -> str:
    """A file with the section ``cluster`` alone."""
    path = tmp_path / "ec2.yaml"
    asked: dict[str, Any] = {**account.options(instances=1), "price": {"c5.large": "1e-1"}}
    path.write_text(yaml.safe_dump({"cluster": {"kind": "ec2", "ec2": asked}}))
    return str(path)


def test_up_status_and_down(account: Account, config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--name", "test", "--state", str(tmp_path / "state")]
    with Hypervisor(account, tmp_path):
        assert main(["cluster", "up", "--config", config, "--workers", "1", *where]) == 0
        assert "1 workers, scheduler at tls://127." in capsys.readouterr().out
        assert json.loads((tmp_path / "state/test/cluster.json").read_text())["place"] == {"region": "us-east-1"}
        assert "never-to-be-sent" not in "".join(p.read_text() for p in (tmp_path / "state/test").glob("*.*"))
        assert main(["cluster", "status", *where]) == 0
        output = capsys.readouterr().out
        assert "test (ec2): 2 members" in output
        assert "0.121 USD an hour" in output
        assert "  scheduler  t3.small  running" in output
        assert main(["cluster", "up", "--config", config, "--workers", "1", *where]) == 2
        assert "stands already" in capsys.readouterr().err
        # On another machine, where nothing is written down:
        elsewhere = ["--name", "test", "--state", str(tmp_path / "other"), "--kind", "ec2", "--region", "us-east-1"]
        assert main(["cluster", "status", *elsewhere]) == 0
        assert "test (ec2): 2 members" in capsys.readouterr().out
        assert main(["cluster", "down", *elsewhere]) == 0
        assert "2 members ended, none is left" in capsys.readouterr().out
        assert account.alive() == []


def test_a_command_that_is_interrupted_leaves_no_instance_and_one_that_ends_tells_its_status(
    account: Account, config: str, tmp_path: Path
) -> None:
    words = ["--config", config, "--workers", "1", "--name", "test", "--state", str(tmp_path / "state")]
    command = [BIN / "relufit", "cluster", "run", *words, "--", sys.executable, "-c"]
    with Hypervisor(account, tmp_path):
        done = subprocess.run([*command, LOOK + "raise SystemExit(5)"], capture_output=True, text=True, check=False)
        assert (done.stdout, done.returncode) == ("1 workers\n", 5), done.stderr
        assert account.alive() == []
        sleeping = LOOK + "import time; time.sleep(600)"
        running = subprocess.Popen([*command, sleeping], stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL)
        assert running.stdout is not None
        assert running.stdout.readline() == "1 workers\n"
        os.kill(running.pid, signal.SIGTERM)
        assert running.wait(300) == 130
        running.stdout.close()
        assert account.alive() == []


def test_an_up_that_is_killed_is_ended_by_down(account: Account, config: str, tmp_path: Path) -> None:
    where = ["--name", "test", "--state", str(tmp_path / "state")]
    # Nobody boots the scheduler's instance, so that `up` waits for it.
    starting = subprocess.Popen([BIN / "relufit", "cluster", "up", "--config", config, "--workers", "1", *where])
    until(account.alive)
    starting.kill()
    starting.wait()
    assert main(["cluster", "down", *where]) == 0
    assert account.alive() == []
