"""The manifest tells of one run, and of the relufit that made it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from made_run import ROOT, configuration, leave, make_run

from relufit import __version__
from relufit.cli import main
from relufit.errors import DataError
from relufit.experiments import configuration as config
from relufit.experiments.framework.run_files import RunFiles
from relufit.files.atomic import digest
from relufit.pipeline.manifest import commit, manifest

PACKAGE = ROOT / "src" / "relufit"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")


def read(folder: Path) -> dict[str, Any]:
    assert main(["manifest", str(folder), "--output", str(folder / "manifest.json")]) == 0
    content: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return content


def test_every_result_is_listed_by_its_digest_or_as_one_of_a_clock(run: Path) -> None:
    content = read(run)
    listed = {*content["sha256"], *content["depends_on_the_clock"]}
    names = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    assert {name for name in names if ".zarr/" not in name} - {"manifest.json"} <= listed
    assert content["sha256"] == {name: digest(run / name) for name in content["sha256"]}
    for name in ("config.yaml", "tables/qsgd_convergence.summary.csv", "figures/qsgd_convergence.svg"):
        assert name in content["sha256"]
    for name in ("claims/time_to_accuracy.timing.json", "figures/iteration_time.timing.png"):
        assert name in content["depends_on_the_clock"]
    assert any(name.endswith(".zarr") for name in content["sha256"])


def test_what_another_configuration_a_killed_process_or_somebody_left_there_is_not_listed(run: Path) -> None:
    before = read(run)
    leave(run)
    assert read(run) == before


def test_with_other_settings_other_results_are_expected(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    configuration(run, qsgd_convergence={"levels": [31]})
    assert main(["manifest", str(run), "--output", str(run / "manifest.json")]) == 2
    assert "qsgd-s31.parquet: there is no such result; finish the run" in capsys.readouterr().err
    assert not (run / "manifest.json").exists()


def test_data_sets_in_a_bucket_are_none_of_the_files_of_a_run(run: Path) -> None:
    files = RunFiles({**configuration(run), "data": "s3://bucket/data"})
    assert not [path for path in files.results() if path.suffix == ".zarr"]


@pytest.mark.parametrize("missing", ["figures/qsgd_convergence.svg", "traces/time_to_accuracy/runs.timing.parquet"])
def test_a_result_that_is_missing_is_an_error(run: Path, missing: str) -> None:
    (run / missing).unlink()
    with pytest.raises(DataError, match=f"{missing}: there is no such result"):
        manifest(run, RunFiles(config.load([run / "config.yaml"])).results(), {}, "")


@pytest.fixture
def git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Somebody's repository, with one commit, in which the user stands."""
    if not shutil.which("git"):
        pytest.skip("needs git")
    folder = tmp_path / "theirs"
    folder.mkdir()
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    (folder / "file").touch()
    commit_all(folder)
    monkeypatch.chdir(folder)
    return folder


def commit_all(folder: Path) -> str:
    author = ["-c", "user.name=A", "-c", "user.email=a@b.example"]
    for command in (["init", "-q"], ["add", "-A"], [*author, "commit", "-qm", "all"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    done = subprocess.run(["git", "describe", "--always"], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def copy_package(folder: Path) -> Path:
    """Copy what tells the version and the commit, as an installer would."""
    package = folder / "relufit"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    return package


def test_the_commit_is_not_that_of_the_folder_one_stands_in(git: Path, run: Path, tmp_path: Path) -> None:
    theirs = subprocess.run(["git", "describe", "--always"], check=True, capture_output=True, text=True).stdout.strip()
    assert read(run)["commit"] != theirs
    assert read(run)["version"] == __version__
    assert commit(copy_package(tmp_path / "elsewhere")) is None


def test_the_commit_is_not_that_of_a_repository_in_which_the_environment_lies(git: Path) -> None:
    package = copy_package(git / ".venv" / "site-packages")
    assert commit(package) is None
    (git / ".gitignore").write_text(".venv/\n")
    commit_all(git)
    assert commit(package) is None


def test_the_commit_is_that_of_the_checkout_of_the_package_and_tells_of_changes(
    git: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = copy_package(tmp_path / "ours" / "src")
    ours = commit_all(tmp_path / "ours")
    # As within a hook of the other repository.
    monkeypatch.setenv("GIT_DIR", str(git / ".git"))
    assert commit(package) == ours
    (package / "__init__.py").write_text("changed")
    assert commit(package) == f"{ours}-dirty"


def test_without_git_there_is_no_commit(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert read(run)["commit"] is None
