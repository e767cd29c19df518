"""Clusters of processes that outlive the command that started them, from the command line."""

from __future__ import annotations

import json
import os
import secrets
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import psutil
import pytest
import yaml
from distributed import Client

from relufit.cli import main
from relufit.clusters.certificates import Files
from relufit.clusters.persistent import commands, run_command
from relufit.clusters.persistent.local import LocalProcesses
from relufit.clusters.persistent.state import Folder, State
from relufit.errors import ConfigError

LOCAL = LocalProcesses()
BIN = Path(sys.executable).parent


@pytest.fixture
def name() -> Iterator[str]:
    """A name of a cluster; at the end no process may bear it."""
    made = f"test-{secrets.token_hex(4)}"
    yield made
    left = LOCAL.members(made, {})
    LOCAL.down(made, {})
    assert left == []


def relufit(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [BIN / "relufit", *map(str, words)]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)


def connected(section: dict[str, Any]) -> Client:
    tls = Files(*(Path(section["address"]["tls"][part]) for part in ("ca_file", "cert", "key")))
    return Client(scheduler_file=section["address"]["scheduler_file"], security=tls.security(), timeout=300)


def others_of(folder: Path) -> dict[str, str]:
    """An environment with code and settings that are not to be followed."""
    hostile = folder / "tmp" / "dask-scratch-space"
    hostile.mkdir(parents=True)
    for module in ("relufit", "numpy", "yaml"):
        (hostile / f"{module}.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\n")
    text = "distributed: {worker: {preload: [no_such_module]}, scheduler: {preload: [no_such_module]}}"
    (folder / "dask.yaml").write_text(text)
    return {
        "TMPDIR": str(hostile.parent),
        "DASK_CONFIG": str(folder / "dask.yaml"),
        "DASK_SCHEDULER_ADDRESS": "tcp://0",
    }


def test_a_cluster_is_up_until_it_is_down(
    tmp_path: Path, name: str, assert_on_loopback: Callable[[list[psutil.Process]], None]
) -> None:
    base = tmp_path / "deep" / "state"
    where = ["--name", name, "--state", base]
    others = others_of(tmp_path)
    done = relufit("cluster", "up", "--kind", "local", "--workers", 1, *where, **others)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "ran").exists(), "what another user has put there was run"
    assert_on_loopback([psutil.Process(int(one.id)) for one in LOCAL.members(name, {})])
    assert f"relufit cluster down --name {name}" in done.stdout
    folder = base / name
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for file in ("cluster.json", "scheduler.json", "address.yaml", "key.pem", "cert.pem", "ca.pem"):
        assert stat.S_IMODE((folder / file).stat().st_mode) == 0o600, file
    section = yaml.safe_load((folder / "address.yaml").read_text())["cluster"]
    assert section["kind"] == "address"
    with connected(section) as client:
        assert client.scheduler.address.startswith("tls://127.0.0.1:")
        workers = client.scheduler_info()["workers"].values()
        assert [worker["resources"] for worker in workers] == [{"slot": 1}, {"slot": 1}]
        assert client.submit(sum, [1, 2]).result() == 3

        assert set(client.run(dask.config.get, "distributed.admin.tick.interval").values()) == {"500ms"}

        # Rows that are mapped are no memory, and Dask's folders are nobody else's.
        def look(dask_worker: Any) -> tuple[object, str]:  # travels by value
            return dask_worker.memory_manager.memory_limit, str(dask_worker.local_directory)

        for limit, scratch in client.run(look).values():
            assert limit is None
            assert Path(scratch).is_relative_to(folder / "scratch")
    command_lines = [" ".join(psutil.Process(int(one.id)).cmdline()) for one in LOCAL.members(name, {})]
    assert not any("BEGIN" in line for line in command_lines), "secrets are files"
    output = relufit("cluster", "status", *where).stdout
    assert f"{name} (local): " in output
    assert "  scheduler  process  " in output
    again = relufit("cluster", "up", "--kind", "local", "--workers", 1, *where)
    assert again.returncode == 2
    assert "stands already" in again.stderr
    (folder / "cluster.json").unlink()
    assert name in relufit("cluster", "status", "--kind", "local", *where).stdout, "found by its mark"
    ended = relufit("cluster", "down", "--kind", "local", *where)
    assert "none is left" in ended.stdout, ended.stderr
    assert LOCAL.members(name, {}) == []


WORK = """
import os, sys, yaml
from pathlib import Path
from distributed import Client
from relufit.clusters.certificates import Files
section = yaml.safe_load(Path(os.environ["RELUFIT_CLUSTER_FILE"]).read_text())["cluster"]["address"]
security = Files(*(Path(section["tls"][part]) for part in ("ca_file", "cert", "key"))).security()
with Client(scheduler_file=section["scheduler_file"], security=security, timeout=300) as client:
    print(sum(client.gather(client.map(lambda x: x * x, range(4)))))
sys.exit(7)
"""


def test_a_command_runs_on_a_cluster_that_is_gone_afterwards_and_its_exit_status_is_told(
    tmp_path: Path, name: str
) -> None:
    words = ["--kind", "local", "--workers", 1, "--name", name, "--state", tmp_path]
    done = relufit("cluster", "run", *words, "--", sys.executable, "-c", WORK)
    assert done.stdout == "14\n", done.stderr
    assert done.returncode == 7
    assert LOCAL.members(name, {}) == []
    assert list(tmp_path.iterdir()) == []


SNAKEFILE = """
configfile: "config.yaml"

rule all:
    output: "cluster.json"
    run:
        import json
        json.dump(config, open(output[0], "w"))
"""


@pytest.mark.parametrize("extra", [[], ["--config", "seed=7"]])
def test_snakemake_gets_the_cluster_as_its_configuration(
    tmp_path: Path, name: str, extra: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "config.yaml").write_text("cluster: {kind: local}\nseed: 1\n")
    section = Folder(tmp_path / "state", name).section()
    words = run_command.pointed([str(BIN / "snakemake"), "--cores", "1", *extra], section)
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    config = json.loads((tmp_path / "cluster.json").read_text())
    assert config["cluster"] == section
    assert int(config["seed"]) == (7 if extra else 1)


SLEEPER = """
import signal, sys, time
print("ready", flush=True)
try:
    time.sleep(600)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_bracket_that_is_ended_ends_its_command_and_cluster_and_one_that_is_killed_can_be_ended(
    tmp_path: Path, name: str, number: signal.Signals
) -> None:
    words = ["--kind", "local", "--workers", "1", "--name", name, "--state", str(tmp_path)]
    command = [BIN / "relufit", "cluster", "run", *words, "--", sys.executable, "-c", SLEEPER]
    bracketed = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert bracketed.stdout is not None
    assert bracketed.stdout.readline() == "ready\n"
    bracketed.send_signal(number)
    if number == signal.SIGTERM:
        assert bracketed.stdout.readline() == "interrupted\n"
        assert bracketed.wait(300) == 130
        assert list(tmp_path.iterdir()) == []
    else:
        bracketed.wait(300)
        os.killpg(bracketed.pid, signal.SIGKILL)  # its command
        assert LOCAL.members(name, {})
        assert main(["cluster", "down", "--name", name, "--state", str(tmp_path)]) == 0
    bracketed.stdout.close()
    assert LOCAL.members(name, {}) == []


def test_a_cluster_that_cannot_start_leaves_nothing(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relufit.clusters.persistent.local._ORPHAN_SECONDS", "no number")
    monkeypatch.setattr("relufit.clusters.persistent.local._START_SECONDS", 3600.0)  # it is told at once
    with pytest.raises(Exception, match=r"the process of the workers has ended"):
        commands.up({"kind": "local"}, 1, name, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["up", "--workers", "1"], "which cluster?"),
        (["up", "--workers", "1", "--kind", "inprocess"], "does not outlive a command"),
        (["up", "--workers", "0", "--kind", "local"], "0 is no number of ranks"),
        (["up", "--workers", "1", "--kind", "local", "--name", "../up"], "is no name of a cluster"),
        (["run", "--workers", "1", "--kind", "local", "--", "no-such-command"], "no command 'no-such-command'"),
        (["run", "--workers", "1", "--kind", "local"], "no command"),
        (["down", "--name", "nobody"], "nothing is written down"),
        (["status", "--kind", "ec2"], "give --region"),
    ],
)
def test_a_mistake_is_told_before_anything_starts(
    tmp_path: Path, words: list[str], what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    state = ["--state", str(tmp_path)]
    assert main(["cluster", words[0], *state, *words[1:]]) == 2
    assert what in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_section_of_a_configuration_is_enough(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cluster.yaml").write_text("cluster: {kind: local, ec2: {regoin: x}}\n")
    words = ["cluster", "up", "--workers", "1", "--config", str(tmp_path / "cluster.yaml")]
    assert main(words) == 2
    assert "cluster.ec2" in capsys.readouterr().err


@pytest.mark.parametrize("other", ["thesis.tex", "cluster.json", "key.pem"])
def test_a_folder_with_something_else_is_not_touched(tmp_path: Path, other: str) -> None:
    theirs = tmp_path / "mine" / other
    theirs.parent.mkdir()
    theirs.write_text(json.dumps({"kind": "local", "name": "mine", "place": {}, "began": 0}))
    with pytest.raises(ConfigError, match=f"holds something else .{other}"):
        commands.up({"kind": "local"}, 1, "mine", tmp_path)
    assert Folder(tmp_path, "mine").remove() == [other]
    assert main(["cluster", "down", "--name", "mine", "--kind", "local", "--state", str(tmp_path)]) == 0
    assert theirs.exists()


def test_what_others_have_put_into_a_cluster_s_folder_stays_and_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Folder(tmp_path, "mine")
    folder.create(State("local", "mine", {}, time.time()))
    folder.scratch.mkdir()
    (folder.path / "notes.txt").write_text("mine")
    (folder.path / "scratch.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"holds something else .notes.txt, scratch.txt"):
        folder.create(State("local", "mine", {}, time.time()))
    assert folder.read() is not None
    assert main(["cluster", "down", "--name", "mine", "--state", str(tmp_path)]) == 0
    assert "has not made, and stays: notes.txt, scratch.txt" in capsys.readouterr().out
    assert sorted(path.name for path in folder.path.iterdir() if path.suffix == ".txt") == ["notes.txt", "scratch.txt"]
    assert folder.read() is None


def test_what_is_left_of_a_file_that_was_being_written_is_removed(tmp_path: Path) -> None:
    folder = Folder(tmp_path, "mine")
    folder.create(State("local", "mine", {}, time.time()))
    (folder.path / ".cluster.json.0123456789abcdef.part").mkdir()
    assert folder.remove() == []
    assert list(tmp_path.iterdir()) == []


def test_what_is_written_of_another_cluster_of_that_name_stays(tmp_path: Path, name: str) -> None:
    folder = Folder(tmp_path, name)
    folder.create(State("ec2", name, {"region": "us-east-1"}, time.time()))
    assert main(["cluster", "down", "--kind", "local", "--name", name, "--state", str(tmp_path)]) == 0
    assert folder.read() is not None


def test_a_damaged_state_is_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Folder(tmp_path, "mine")
    folder.create(State("local", "mine", {}, time.time()))
    (folder.path / "cluster.json").write_text("{")
    assert main(["cluster", "down", "--name", "mine", "--state", str(tmp_path)]) == 2
    assert "name the cluster by --kind and --name" in capsys.readouterr().err
    assert main(["cluster", "down", "--name", "mine", "--state", str(tmp_path), "--kind", "local"]) == 0
    assert list(tmp_path.iterdir()) == []
