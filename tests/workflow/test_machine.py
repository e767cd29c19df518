"""What the machine can do is part of what a rule depends on: what it refused runs as soon as it can, and only that."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from relufit.claims import trace_files

#: Each test runs a workflow or two, in which hosts are started; how long that takes is for the machine to say.
pytestmark = pytest.mark.timeout(7200)
ROOT = Path(__file__).parent.parent.parent
LINKS = """
run: links
experiments: [link_speed]
link_speed:
  cells: [{dimension: 2000, workers: 2, rates: [1.0e+7]}]
  exchanges: [all_gather, all_reduce]
  rank_rows: 6
  iterations: [8, 8]
  trials: 2
  whole:
    dimension: 400
    mini_batch: 8
    ratio: 3
    tolerance: 1.0e-1
    trials: 2
    runs: [{compressor: fp32, exchanges: [all_gather], rates: [1.0e+7]}]
  scaling:
    dimension: 2000
    rate: 1.0e+7
    workers: [2]
    beyond: []
    mini_batch: 8
    rank_batch: 4
    runs: [{compressor: fp32, exchange: all_reduce}]
  overlap: {dimension: 2000, workers: 2, rate: 1.0e+7, rank_batch: 4, delay: 1, exchanges: [all_reduce]}
  map: {dimensions: [1000], workers: [2], rates: [1.0e+8]}
"""
VERDICTS = "results/links/claims/link_speed.timing.json"
TRACES = "results/links/traces/link_speed"
REMEDY = "`apt-get install iptables` and run again"


def _checkout(folder: Path) -> Path:
    """Copy what the workflow needs, as a fresh clone would have it."""
    for name in ("Snakefile", "config.yaml", "config", "workflow", "profiles", "envs"):
        source, target = ROOT / name, folder / name
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    (folder / "links.yaml").write_text(LINKS)
    return folder


def _run(folder: Path, *before: str) -> str:
    """Run the workflow up to the verdicts, and return what it says."""
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", "links.yaml", "--", VERDICTS]
    pipe = subprocess.PIPE
    done = subprocess.run(
        [*before, *command], cwd=folder, stdout=pipe, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def _refused(folder: Path) -> dict[str, bool]:
    refusals = {}
    for path in folder.glob(f"{TRACES}/*.timing.parquet"):
        about = trace_files.describe(path)
        assert about is not None
        refusals[path.name.split(".")[0]] = bool((about["cluster"] or {}).get("refused"))
    return refusals


def _written(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("results/links/*/**/*.parquet")}


class _Stage(NamedTuple):
    """The workflow has run: what it said, what it wrote, and what was judged."""

    folder: Path
    said: str
    written: dict[str, int]
    verdicts: dict[str, list[dict[str, Any]]]


def _stage(folder: Path, *before: str) -> _Stage:
    said = _run(folder, *before)
    return _Stage(folder, said, _written(folder), json.loads((folder / VERDICTS).read_text())["verdicts"])


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory, without_iptables: list[str]) -> _Stage:
    """A run on a machine without iptables, in a folder of its own that no other run changes."""
    return _stage(_checkout(tmp_path_factory.mktemp("refused")), *without_iptables)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, refused: _Stage) -> _Stage:
    """The same run again, after iptables has been installed."""
    folder = tmp_path_factory.mktemp("measured") / "copy"
    # With the dates of files, by which it is told what is out of date.
    shutil.copytree(refused.folder, folder)
    return _stage(folder)


def test_what_the_machine_cannot_do_is_told_before_anything_starts_and_in_the_verdict(refused: _Stage) -> None:
    said = re.sub(r"\s+", " ", refused.said)
    sentence = re.search(r"this machine cannot delay packets .*? and run again", said)
    assert sentence
    assert sentence.group(0).endswith(REMEDY)
    assert "the claim about real networks stays inconclusive" in sentence.group(0)
    assert said.index(sentence.group(0)) < said.index("iterations-K2")
    assert _refused(refused.folder) == {"iterations-K2": True, "runs": True, "costs": False}
    verdicts = refused.verdicts["network"]
    assert {verdict["verdict"] for verdict in verdicts} == {"inconclusive"}
    assert all("iptables is not installed" in verdict["note"] and REMEDY in verdict["note"] for verdict in verdicts)


def test_what_was_refused_runs_once_the_machine_can_and_nothing_else_does(refused: _Stage, measured: _Stage) -> None:
    assert "this machine cannot" not in measured.said
    assert _refused(measured.folder) == dict.fromkeys(("iterations-K2", "runs", "costs"), False)
    again = {name for name in measured.written if measured.written[name] != refused.written[name]}
    endings = (".parquet", ".timing.parquet")
    assert again == {f"{group}{ending}" for group in ("iterations-K2", "runs") for ending in endings}
    assert not any("iptables" in verdict["note"] for verdicts in measured.verdicts.values() for verdict in verdicts)


@pytest.mark.parametrize("can", [True, False])
def test_what_was_measured_stays_when_the_machine_can_no_more(
    measured: _Stage, without_iptables: list[str], can: bool
) -> None:
    said = _run(measured.folder, *([] if can else without_iptables))
    assert "Nothing to be done" in said
    assert "this machine cannot" not in said
    assert _written(measured.folder) == measured.written
