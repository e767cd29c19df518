"""What a person at the terminal sees of the workflow."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from checkout import CONFIGURED, First, checkout, snakemake

WIDTH = 120
#: Jobs of the run that the modules of this folder share, and their kinds, each of which has a line in a table.
JOBS, KINDS = 17, 13


def _log(text: str) -> str:
    """Return the path of the log that the output names, relative to the working folder."""
    return re.findall(r"^Log of everything: (\S+)$", text, re.M)[0]


def _verdicts(folder: Path) -> list[str]:
    claims = json.loads((folder / "results/tiny/claims.json").read_text())["claims"]
    return [f"{claim['verdict']} {claim['words']}" for claim in claims]


def test_a_run_prints_a_line_a_job_and_a_few_more_and_none_is_long(first: First) -> None:
    lines = first.stderr.splitlines()
    jobs = [line for line in lines if re.match(rf"\[\d+/{JOBS}\] ", line)]
    assert [int(line[1:].partition("/")[0]) for line in jobs] == list(range(1, JOBS + 1))
    names = [line.split("] ")[1].split("  ")[0] for line in jobs]
    assert len(set(names)) == JOBS
    follow = [
        "train geometric_convergence/reshuffled-ratio10",
        "judge_geometric_convergence",
        "figures_geometric_convergence",
        "manifest",
        "report",
        "crate",
    ]
    assert [name for name in names if name in follow] == follow
    assert names.index("judge_geometric_convergence") < names.index("claims") < names.index("manifest")
    assert names[-1] == "crate"
    # A head of three lines, at most twenty of progress, and an end of twenty: 200 lines hold more than 150 jobs.
    assert len(lines) <= len(jobs) + 43
    assert max(map(len, lines)) <= WIDTH
    assert "\x1b" not in first.stderr
    assert first.stdout == ""


def test_a_run_ends_with_the_claims_their_verdicts_and_the_place_of_the_report(first: First) -> None:
    folder = first.folder
    end = " ".join(first.stderr[first.stderr.index("Verdicts on the claims") :].split())
    assert len(_verdicts(folder)) == 5
    assert all(verdict in end for verdict in _verdicts(folder))
    assert first.stderr.splitlines()[-1] == "Report: results/tiny/report.html"


def test_a_run_ends_with_the_lines_that_relufit_show_prints(first: First) -> None:
    command = [sys.executable, "-m", "relufit.cli", "show", "results/tiny"]
    shown = subprocess.run(command, cwd=first.folder, capture_output=True, text=True, check=False)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith("Verdicts on the claims of the abstract, run tiny, seed 20190119:\n")
    assert first.stderr.endswith(f"\n{shown.stdout}")


def test_the_log_file_has_inputs_reasons_and_shell_commands(first: First) -> None:
    folder = first.folder
    text = (folder / _log(first.stderr)).read_text()
    assert "reason: Missing output files: results/tiny/report.html" in text
    assert "Shell command: relufit report results/tiny" in text
    assert "input: results/tiny/claims/geometric_convergence.json" in text
    assert f"{JOBS} of {JOBS + 1} steps" in text


def test_where_nothing_is_to_be_done_that_is_said_and_the_verdicts_and_the_report(first: First) -> None:
    folder = first.folder
    done = snakemake(folder, *CONFIGURED)
    assert done.returncode == 0
    lines = done.stderr.splitlines()
    assert len(lines) <= 25
    assert any(line.startswith("Nothing to be done") for line in lines)
    assert all(verdict in " ".join(done.stderr.split()) for verdict in _verdicts(folder))
    assert lines[-1] == "Report: results/tiny/report.html"


def test_a_dry_run_is_a_line_a_job_with_the_reason_and_the_counts(first: First) -> None:
    folder = first.folder
    done = snakemake(folder, "-n", *CONFIGURED, "--config", "seed=5")
    lines = done.stdout.splitlines()
    train = "train geometric_convergence/reshuffled-ratio10  (params have changed since last execution)"
    assert train in lines
    assert re.search(r"^train +5$", done.stdout, re.M)
    assert len(re.findall(r"^total ", done.stdout, re.M)) == 1
    assert max(map(len, lines)) <= WIDTH
    assert len(lines) <= JOBS + KINDS + 9
    output = snakemake(folder, "-n", "--printshellcmds", *CONFIGURED, "--config", "seed=5").stdout
    assert "output: results/tiny/traces/geometric_convergence/reshuffled-ratio10.parquet" in output
    assert "Shell command: relufit trials" in output or "relufit trials geometric_convergence" in output


@pytest.mark.parametrize(
    ("options", "shown", "hidden"),
    [
        (["--printshellcmds"], "relufit claims results/tiny", "[1/1] claims"),
        (["--verbose"], "rule claims:", "[1/1] claims"),
        (["--quiet", "rules"], "1 of 1 steps (100%) done", "rule claims:"),
        (["--quiet", "all"], "", "claims"),
    ],
)
def test_an_output_that_is_chosen_is_that_of_snakemake(
    first: First, options: list[str], shown: str, hidden: str
) -> None:
    folder = first.folder
    target = "results/tiny/claims.json"
    done = snakemake(folder, *CONFIGURED, *options, "--forcerun", "claims", "--", target)
    assert done.returncode == 0, done.stderr
    output = done.stderr.partition("command line arguments.")[2]
    assert shown in output
    assert hidden not in output


def test_a_failing_job_shows_its_name_the_tail_and_the_path_of_its_log_and_the_remedy_once(first: First) -> None:
    folder = first.folder
    trace = folder / "results/tiny/traces/geometric_convergence/reshuffled-ratio10.parquet"
    kept = trace.read_bytes()
    try:
        trace.write_bytes(kept[:100])
        target = "results/tiny/claims/geometric_convergence.json"
        asked = ["--forcerun", "judge_geometric_convergence", "--", target]
        done = snakemake(folder, *CONFIGURED, "--rerun-triggers", "params", *asked)
    finally:
        trace.write_bytes(kept)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert "FAILED judge_geometric_convergence" in lines
    assert done.stderr.count("relufit: error: ") == 1
    assert "    (the end of results/tiny/logs/judge/geometric_convergence.log)" in lines
    assert lines[-2].startswith("relufit: 1 job failed")
    assert (folder / _log(done.stderr)).exists()
    assert len(lines) <= 12
    assert "Traceback" not in done.stderr


def test_a_wrong_configuration_is_one_line(first: First) -> None:
    folder = first.folder
    done = snakemake(folder, *CONFIGURED, "--config", "geometric_convergence={ratio: 5}")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()[1:]
    assert line.startswith("relufit: error: geometric_convergence.ratio: unknown key; did you mean 'ratios'?")


def test_a_lock_that_a_killed_run_left_says_what_to_do_and_that_works(first: First) -> None:
    folder = first.folder
    locks = folder / ".snakemake/locks"
    locks.mkdir(exist_ok=True)
    (locks / "0.output.lock").write_text("results/tiny/claims.json\n")
    done = snakemake(folder, *CONFIGURED)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()[1:]
    assert line.startswith(
        f"relufit: error: {folder}: is locked by another run of the workflow, or by one that was killed"
    )
    (command,) = re.findall(r"with `(snakemake [^`]*)`", line)
    assert snakemake(folder, *command.split()[1:]).returncode == 0
    assert not list(locks.parent.glob("locks/*"))


def test_an_interrupt_is_one_line(tmp_path: Path) -> None:
    slow = "geometric_convergence: {dimension: 400, tolerance: 1e-12, trials: 40, samplings: [reshuffled]}\n"
    folder = checkout(tmp_path, f"run: tiny\nexperiments: [geometric_convergence]\n{slow}")
    command = [sys.executable, "-m", "snakemake", *CONFIGURED]
    with subprocess.Popen(
        command, cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as running:
        assert running.stderr is not None
        head = []
        while not any(line.startswith("Log of everything") for line in head):
            head.append(running.stderr.readline())
            assert running.poll() is None or head[-1], head
        log = folder / head[-1].split()[-1]
        while "Shell command: relufit trials" not in log.read_text():
            assert running.poll() is None
            time.sleep(0.05)
        # As a terminal does it: the signal goes to everything in the foreground.
        os.killpg(running.pid, signal.SIGINT)
        rest = running.stderr.read()
        assert running.wait() != 0
    assert re.fullmatch(r"(relufit: \d.*\n)*relufit: interrupted, 0 of \d+ jobs are done and kept; .*\n", rest), rest
