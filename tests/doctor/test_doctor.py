"""What a machine can do is told in short lines, with what follows and what helps; and rules depend on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from relufit import cli
from relufit.claims import trace_files
from relufit.clusters.emulated.findings import Findings
from relufit.doctor import Sign, capability, examine, machine, network, refusals
from relufit.doctor.line import Line
from relufit.experiments import CATALOGUE
from relufit.experiments.configuration import load
from relufit.experiments.framework import capability as machine_capability
from relufit.experiments.framework import trials
from relufit.experiments.framework.base import Setting
from relufit.experiments.framework.capability import take_over

ROOT = Path(__file__).parent.parent.parent
BARE = frozenset({"namespaces", "hosts", "bridge", "veth", "localnet", "tbf"})
NOTHING = dict.fromkeys(("nfqueue", "statistic"), "iptables is not installed") | {"netem": "No such file or directory"}
ALL = Findings(BARE | {"netem"})
UNABLE = Findings(BARE, NOTHING)


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    return {**load([ROOT / "config.yaml"]), "results": str(tmp_path / "results")}


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what says what is found on this machine."""

    def set_findings(findings: Findings) -> None:
        for module in (machine_capability, network):
            monkeypatch.setattr(module, "findings", lambda: findings)

    return set_findings


def _group(config: dict[str, Any]) -> list[Setting]:
    return [setting for setting in CATALOGUE["link_speed"].settings(config) if setting.group == "runs"]


def _traces(path: Path, settings: list[Setting], seed: int, cluster: dict[str, Any]) -> Path:
    """Write traces of a group as the trials would, without the tables."""
    path.parent.mkdir(parents=True, exist_ok=True)
    origin = trials.origin_of(settings, seed)
    table = pd.DataFrame({"setting": ["none"]})
    timings = trace_files.Record(table, {"origin": origin, "cluster": cluster, "settings": {}})
    trace_files.write_pair(path, trace_files.Record(table, {"origin": origin, "settings": {}}), timings)
    return path


def test_what_cannot_be_had_is_told_with_what_follows_and_one_command(config: dict[str, Any], found: Any) -> None:
    found(UNABLE)
    (sentence,) = refusals(config)
    assert sentence == (
        "this machine cannot delay packets (its kernel has no netem, and iptables is not installed): link_speed will "
        "show the model alone, and the claim about real networks stays inconclusive; `apt-get install iptables` and "
        "run again"
    )
    (line,) = [line for line in examine(config) if line.sign is Sign.MISSING and line.topic == "hosts"]
    assert line.sentence() == sentence


def test_where_everything_can_be_had_nothing_is_refused(config: dict[str, Any], found: Any) -> None:
    found(ALL)
    assert refusals(config) == []
    assert [line.sign for line in network.lines(config)] == [Sign.GOOD]


def test_what_no_experiment_asks_for_is_no_refusal(config: dict[str, Any], found: Any) -> None:
    found(UNABLE)
    assert refusals({**config, "experiments": ["time_to_accuracy"]}) == []


def test_what_was_measured_once_is_not_refused_any_more(config: dict[str, Any], found: Any) -> None:
    found(UNABLE)
    folder = Path(config["results"]) / config["run"] / "traces/link_speed"
    groups: dict[str, list[Setting]] = {}
    for setting in CATALOGUE["link_speed"].settings(config):
        groups.setdefault(setting.group, []).append(setting)
    for name, settings in groups.items():
        _traces(folder / f"{name}.parquet", settings, config["seed"], {"kind": "emulated"})
    assert refusals(config) == []


@pytest.mark.parametrize(
    ("findings", "cluster", "expected"),
    [
        (ALL, None, "able"),
        (ALL, {"kind": "emulated", "refused": "no"}, "able"),
        (ALL, {"kind": "emulated"}, "able"),
        (UNABLE, None, "refused: cluster.emulated.round_trip"),
        (UNABLE, {"kind": "emulated", "refused": "no"}, "refused: cluster.emulated.round_trip"),
        (UNABLE, {"kind": "emulated"}, "able"),
        (Findings(frozenset(), {"namespaces": "no"}), None, "refused: cluster.emulated"),
    ],
)
@pytest.mark.parametrize("run", ["mine", "other"])
def test_a_rule_depends_on_the_machine_until_it_was_measured(
    findings: Findings,
    cluster: dict[str, Any] | None,
    expected: str,
    run: str,
    config: dict[str, Any],
    found: Any,
    tmp_path: Path,
) -> None:
    found(findings)
    settings = _group(config)
    if cluster:
        _traces(tmp_path / run / "traces/link_speed/runs.parquet", settings, config["seed"], cluster)
    assert capability(settings, config["seed"], tmp_path / "mine/traces/link_speed/runs.parquet") == expected


def test_traces_of_other_settings_do_not_count_as_measured(config: dict[str, Any], found: Any, tmp_path: Path) -> None:
    found(UNABLE)
    settings = _group(config)
    path = _traces(tmp_path / "mine/traces/link_speed/runs.parquet", settings, config["seed"] + 1, {"kind": "emulated"})
    assert capability(settings, config["seed"], path) != "able"


def test_a_rule_without_optional_hosts_asks_nothing_of_the_machine(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def probed() -> Findings:
        raise AssertionError("the machine was tried")

    monkeypatch.setattr(machine_capability, "findings", probed)
    settings = CATALOGUE["qsgd_convergence"].settings(config)
    assert capability(settings, config["seed"], Path("nowhere/traces/qsgd_convergence/all.parquet")) == "able"


@pytest.mark.parametrize(
    ("findings", "there", "taken"),
    [
        (ALL, ["refused"], None),
        (UNABLE, ["refused"], "refused"),
        (UNABLE, ["refused", "whole"], "whole"),
        (ALL, ["refused", "whole"], "whole"),
    ],
)
def test_traces_that_were_refused_are_taken_over_only_where_they_would_be_again(
    findings: Findings, there: list[str], taken: str | None, config: dict[str, Any], found: Any, tmp_path: Path
) -> None:
    found(findings)
    settings, inner = _group(config), "traces/link_speed/runs.parquet"
    for name in there:
        refused = {"refused": "no iptables"} if name == "refused" else {}
        _traces(tmp_path / name / inner, settings, config["seed"], {"kind": "emulated", **refused})
    path = tmp_path / "mine" / inner
    path.parent.mkdir(parents=True)
    assert take_over(settings, config["seed"], path) == bool(taken)
    if taken:
        timing = trace_files.timing_path(path)
        assert timing.read_bytes() == trace_files.timing_path(tmp_path / taken / inner).read_bytes()


def _doctor(*arguments: str, before: tuple[str, ...] = (), **options: Any) -> subprocess.CompletedProcess[str]:
    command = [*before, sys.executable, "-m", "relufit.cli", "doctor", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def test_a_machine_without_iptables_fails_the_default_reproduction_and_no_other(
    without_iptables: list[str], tmp_path: Path
) -> None:
    usual = ["--config", str(ROOT / "config.yaml")]
    done = _doctor(*usual, before=tuple(without_iptables), cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert (
        "- this machine cannot delay packets (its kernel has no netem, and iptables is not installed)\n"
        "    link_speed will show the model alone, and the claim about real networks stays inconclusive\n"
        "    `apt-get install iptables` and run again\n"
    ) in done.stdout
    smoke = _doctor(*usual, "--config", str(ROOT / "config/smoke.yaml"), before=tuple(without_iptables), cwd=tmp_path)
    assert smoke.returncode == 0, smoke.stdout + smoke.stderr
    assert list(tmp_path.iterdir()) == []


def test_programs_read_json(config: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    status = cli.main(["doctor", "--json", "--config", str(ROOT / "config.yaml")])
    lines = json.loads(capsys.readouterr().out)
    assert {line["sign"] for line in lines} <= {"good", "missing", "note"}
    assert status == any(line["sign"] == "missing" for line in lines)
    named = {"python", "cores", "memory", "results", "disk", "TMPDIR", "open files", "compiled loops", "locale"}
    assert named | {"browser", "ssh", "sshd", "AWS credentials", "asyncssh", "mpi4py", "s3fs", "boto3"} <= {
        line["topic"] for line in lines
    }


def test_a_mistake_of_use_is_a_line_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--config", "nowhere.yaml"]) == 2
    assert capsys.readouterr().err.startswith(f"relufit: error: {Path('nowhere.yaml').absolute()}: cannot be read")


def test_it_works_without_home_locale_colours_or_a_folder_that_can_be_written_to(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 25)
    folder.mkdir()
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TMPDIR": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    done = _doctor(env=environment, cwd=closed)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert done.stdout.isascii()
    assert "\x1b" not in done.stdout
    assert "has a long path" in done.stdout
    assert max(map(len, done.stdout.replace(str(folder), "").splitlines())) <= 120


def test_few_open_files_are_told_of_with_the_command(tmp_path: Path) -> None:
    limited = ("sh", "-c", 'ulimit -Sn 100 && exec "$@"', "sh")
    done = _doctor(before=limited, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "- 100 files may be open at once\n    clusters of some ranks need 256: they do not start\n    ulimit -n" in (
        done.stdout
    )


def test_credentials_are_seen_and_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "credentials"
    file.write_text("[default]\naws_secret_access_key = of-the-file\n")
    environment = {"AWS_ACCESS_KEY_ID": "AKIAOFTHEVARIABLE", "AWS_SECRET_ACCESS_KEY": "of-the-variable"}
    done = _doctor(env={**os.environ, **environment, "AWS_SHARED_CREDENTIALS_FILE": str(file)}, cwd=tmp_path)
    assert f"AWS credentials may be found by way of AWS_ACCESS_KEY_ID, {file}" in done.stdout
    for secret in ("AKIAOFTHEVARIABLE", "of-the-variable", "of-the-file"):
        assert secret not in done.stdout + done.stderr


def test_results_that_cannot_be_written_are_missing(config: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    results = str(tmp_path / "file/results")
    lines = {line.topic: line for line in machine.machine_lines({**config, "results": results})}
    assert lines["results"].sign is Sign.MISSING
    assert lines["results"].follows == "nothing can be written"


def test_a_disk_that_is_too_full_is_missing(config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 1 << 20

    monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: Usage)
    lines = {line.topic: line for line in machine.machine_lines(config)}
    assert lines["disk"].sign is lines["temporary disk"].sign is Sign.MISSING


def test_limits_of_a_control_group_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    (tmp_path / "memory.max").write_text(f"{600 << 20}\n")
    (tmp_path / "memory.current").write_text(f"{500 << 20}\n")
    monkeypatch.setattr(machine, "_groups", lambda controller: iter([tmp_path]))
    lines = {line.topic: line for line in machine.machine_lines(None)}
    assert lines["cores"].found.startswith("0.5 cores (")
    assert lines["memory"].sign is Sign.MISSING
    assert lines["memory"].found == "0.1 GiB of memory available"


def test_a_line_is_a_sign_and_what_follows_below() -> None:
    line = Line("topic", Sign.MISSING, "found", "follows", "command")
    assert line.text() == "- found\n    follows\n    command"
    assert line.sentence() == "found: follows; command"
    assert Line("topic", Sign.NOTE, "found").text() == ". found"
