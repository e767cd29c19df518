"""Failures in a few lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from relufit.terminal.failures import of_job, of_snakemake, status_of, tail


def _log(folder: Path, text: str) -> str:
    (folder / "job.log").write_text(text)
    return str(folder / "job.log")


def test_the_end_of_a_log_is_shown_and_its_path_and_the_remedy_once(tmp_path: Path) -> None:
    log = _log(tmp_path, "\n".join([f"line {i}" for i in range(500)] + ["", "relufit: error: a: b; do c", ""]))
    lines = of_job("train a/b", [log], "ended with exit status 2")
    assert lines[0] == "FAILED train a/b"
    assert "    line 499" in lines
    assert "    line 0" not in lines
    assert lines[-2:] == ["    relufit: error: a: b; do c", f"    (the end of {log})"]
    assert "exit status" not in "\n".join(lines)


@pytest.mark.parametrize("message", ["died with <Signals.SIGKILL: 9>.", "returned non-zero exit status 137."])
def test_a_job_that_was_killed_says_so(tmp_path: Path, message: str) -> None:
    lines = of_job("train a/b", [_log(tmp_path, "x: 3/4 trials\n")], status_of(f"Command 'x' {message}"))
    assert "was killed (" in lines[2]
    assert "memory" in lines[2]


def test_what_several_processes_say_is_shown_once(tmp_path: Path) -> None:
    lines = of_job("a", [_log(tmp_path, "relufit: error: x: y; z\n" * 4 + "a warning\n")], "ended with exit status 2")
    assert [line.strip() for line in lines[1:3]] == ["relufit: error: x: y; z", "a warning"]
    assert len(lines) == 4


def test_a_log_that_is_missing_or_empty_is_told(tmp_path: Path) -> None:
    assert "empty or missing" in "\n".join(of_job("a", [str(tmp_path / "none.log")], None))
    assert "exit status 1" in "\n".join(of_job("a", [_log(tmp_path, "\n")], "ended with exit status 1"))
    assert "left no log" in "\n".join(of_job("a", [], None))


def test_bars_and_bytes_that_are_no_text_do_not_hide_the_end(tmp_path: Path) -> None:
    (tmp_path / "job.log").write_bytes(b"10%\r20%\r\xff30%\nlast\n")
    assert tail(str(tmp_path / "job.log")) == ["10%", "20%", "\N{REPLACEMENT CHARACTER}30%", "last"]


def test_an_error_of_the_configuration_is_one_line() -> None:
    message = (
        "WorkflowError in file \"/x/workflow/rules/common.smk\", line 35:\nseed: 'a' is not possible; give a number\n"
        '  File "/x/workflow/rules/common.smk", line 35, in <module>'
    )
    assert of_snakemake(message, "WorkflowError") == "relufit: error: seed: 'a' is not possible; give a number"


def test_a_lock_says_what_to_do() -> None:
    message = of_snakemake("LockException:\nError: Directory cannot be locked.", "LockException")
    assert f"{Path.cwd()}: is locked" in message
    assert "`snakemake --unlock`" in message
    assert "\n" not in message


@pytest.mark.parametrize("message", ["MissingInputException in rule a:\nMissing input files", "Error: no such option"])
def test_other_errors_are_shown_in_full(message: str) -> None:
    assert of_snakemake(message, message.split(" ", maxsplit=1)[0]) == message
