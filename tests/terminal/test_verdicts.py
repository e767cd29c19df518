"""The verdicts of a run: at its end, and printed by `relufit show`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from relufit.claims.abstract import FINDINGS
from relufit.claims.report import as_json
from relufit.cli import main
from relufit.terminal.verdicts import COLUMNS, summary, table


def _claims(folder: Path, **verdicts: str) -> dict[str, Any]:
    """Write the verdicts of a run in which experiments bear on `samples`, on `network` and on `larger batches`."""
    topics = {"sample_complexity": "samples", "link_speed": "network", "bits_to_accuracy": "larger batches"}
    experiments = {
        name: {"verdicts": {topics[name]: [{"verdict": verdict, "trials": 2, "note": ""}]}}
        for name, verdict in verdicts.items()
    }
    content = as_json("paper", 1, experiments)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "claims.json").write_text(json.dumps(content))
    return content


def test_each_claim_is_there_behind_its_verdict_and_then_the_report(tmp_path: Path) -> None:
    content = _claims(tmp_path, sample_complexity="confirmed", link_speed="inconclusive")
    (tmp_path / "report.html").write_text("")
    lines = table(tmp_path)
    assert max(len(line) for line in lines[:-2]) <= COLUMNS == 80
    assert lines[0] == "Verdicts on the claims of the abstract, run paper, seed 1:"
    flat = " ".join(" ".join(lines).split())
    for claim in content["claims"]:
        assert f"{claim['verdict']} {claim['words']}" in flat
    assert "  confirmed     with a number of samples that is optimal up to numerical" in lines
    assert "  inconclusive  distributed implementations over Amazon EC2 (link_speed)" in lines
    assert "to the planted model (not part of this run)" in flat
    assert lines[-3:] == [
        f"Findings beyond the abstract: {len(FINDINGS)} not part of this run",
        f"Every statistic: {tmp_path / 'claims.md'}",
        f"Report: {tmp_path / 'report.html'}",
    ]


@pytest.mark.parametrize("verdict", ["confirmed", "refuted", "inconclusive"])
def test_a_finding_is_there_in_full_if_the_run_bears_on_it_and_else_counted(tmp_path: Path, verdict: str) -> None:
    content = _claims(tmp_path, bits_to_accuracy=verdict)
    (finding,) = [finding for finding in content["findings"] if finding["experiments"]]
    lines = table(tmp_path)
    head = lines.index(f"Findings beyond the abstract: 1 {verdict}, {len(FINDINGS) - 1} not part of this run")
    because = "" if verdict == "confirmed" else " (bits_to_accuracy)"
    assert " ".join(" ".join(lines[head + 1 : -1]).split()) == f"{verdict} {finding['words']}{because}"


def test_a_report_that_is_not_there_is_not_named(tmp_path: Path) -> None:
    _claims(tmp_path, sample_complexity="confirmed", link_speed="confirmed")
    assert "report.html" not in "\n".join(table(tmp_path))


def test_the_command_prints_these_lines_and_nothing_else_also_into_a_pipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "results" / "paper"
    _claims(run, sample_complexity="confirmed", link_speed="refuted", bits_to_accuracy="inconclusive")
    (run / "report.html").write_text("")
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "COLUMNS": "30", "TERM": "xterm-256color"}
    command = [sys.executable, "-m", "relufit.cli", "show", "results/paper/"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    monkeypatch.chdir(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == table("results/paper")
    assert done.stdout.endswith("Report: results/paper/report.html\n")
    assert max(map(len, done.stdout.splitlines())) <= COLUMNS
    assert done.stdout.isascii()
    assert "\x1b" not in done.stdout


def _said(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one line that the command says of a folder."""
    assert main(["show", str(folder)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    return line


def test_a_run_that_is_not_there_is_one_line_with_those_that_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = _said(tmp_path / "papre", capsys)
    assert line.endswith("papre: there is no such run; make it with `snakemake --cores all`")
    (tmp_path / "begun").mkdir()
    for name in ("smoke", "paper"):
        _claims(tmp_path / name, sample_complexity="confirmed")
    line = _said(tmp_path / "papre", capsys)
    assert line.endswith(f"there is no such run; runs with verdicts in {tmp_path}: paper, smoke")


def test_a_run_without_verdicts_yet_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _said(tmp_path, capsys).endswith(
        f"{tmp_path}: there are no verdicts yet; finish the run: the command that began it goes on from there"
    )
    assert summary(tmp_path) == []


def test_a_file_of_a_run_in_place_of_its_folder_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _claims(tmp_path, sample_complexity="confirmed")
    line = _said(tmp_path / "claims.json", capsys)
    assert line.endswith(f"claims.json: is a file, not the folder of a run; give {tmp_path}")


DAMAGED = ["", "{", "{}", "[]", "null", "7", "[" * 100_000, "\udcff"]
WHOLE = {"run": "a", "seed": 1, "claims": [], "findings": []}
DAMAGED += [json.dumps({**WHOLE, "claims": value}) for value in ([1], 5, [{}], [{"verdict": "confirmed"}])]
DAMAGED += [json.dumps({**WHOLE, "findings": value}) for value in (None, [{"experiments": {"a": "b"}}])]


@pytest.mark.parametrize("text", DAMAGED, ids=lambda text: text[:40])
def test_damaged_verdicts_are_one_line_and_no_error_at_the_end_of_a_run(
    tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "claims.json").write_bytes(text.encode(errors="surrogateescape"))
    line = _said(tmp_path, capsys)
    assert f"{tmp_path / 'claims.json'}: is damaged (" in line
    assert line.endswith("; remove it and run the workflow again")
    assert summary(tmp_path) == []


def test_whole_verdicts_are_not_called_damaged(tmp_path: Path) -> None:
    (tmp_path / "claims.json").write_text(json.dumps(WHOLE))
    assert table(tmp_path)[1] == "Findings beyond the abstract: none"
