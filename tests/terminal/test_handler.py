"""Records as Snakemake makes them, and what is shown of each."""

from __future__ import annotations

import io
import logging
import threading
from typing import Any

import pytest

from relufit.terminal import handler
from relufit.terminal.display import WIDTH, Display
from relufit.terminal.handler import OWN, Handler

LOG = "logs/train/a.log"


class Shown:
    """A handler over a stream, fed with records."""

    def __init__(self, *, dry: bool = False) -> None:
        self.out, self.below = io.StringIO(), io.StringIO()
        fallback = logging.StreamHandler(self.below)
        self.handler = Handler(Display(self.out), fallback, "all.log", dry=dry, verdicts=lambda: ["the verdicts"])

    def __call__(self, message: str | None, level: int = logging.INFO, **fields: Any) -> None:
        record = logging.LogRecord("snakemake.logging", level, "", 0, message, (), None)
        record.__dict__.update(fields)
        self.handler.handle(record)

    def job(self, number: int, *, began: float = 0.0, **fields: Any) -> None:
        usual = {"rule_name": "train", "wildcards": {"experiment": "e", "group": f"g{number}"}, "output": ["x"]}
        reason = "Missing output files: x, y; Code has changed since last execution"
        more = {"log": [LOG], "reason": reason, "event": "job_info", "created": began}
        self("job", jobid=number, **{**usual, **more, **fields})

    @property
    def lines(self) -> list[str]:
        return self.out.getvalue().splitlines()


def test_a_job_is_one_line_when_it_ends() -> None:
    show = Shown()
    show("started", event="workflow_started")
    show("stats", event="run_info", stats={"train": 2, "all": 1, "total": 3})
    show.job(7, began=10.0)
    show("Shell command: x", event="shellcmd")
    assert show.lines == []
    show("Finished", event="job_finished", job_id=7, created=13.25)
    show(None, event="progress", done=1, total=3)
    show.job(0, rule_name="all", output=[], wildcards={})
    show("Finished", event="job_finished", job_id=0)
    assert show.lines == ["[1/2] train e/g7  3.2 s"]
    assert show.below.getvalue() == ""


def test_a_name_of_any_length_is_one_line() -> None:
    show = Shown()
    show.job(1, wildcards={"dataset": "d" * 500})
    show("Finished", event="job_finished", job_id=1)
    assert [len(line) for line in show.lines] == [WIDTH]


def test_a_failing_job_shows_the_end_of_its_log_and_nothing_twice(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "logs/train").mkdir(parents=True)
    (tmp_path / LOG).write_text("relufit: error: shard: cut; make it again\n")
    show = Shown()
    show("started", event="workflow_started")
    show.job(1)
    failed = f"RuleException:\nCommand 'x > {LOG}' returned non-zero exit status 2."
    show(failed, logging.ERROR, event="error", exception="RuleException")
    show("Error in rule", logging.ERROR, event="job_error", jobid=1, rule_name="train", log=[LOG])
    show("Exiting because a job execution failed. Look above for error messages", logging.ERROR)
    end = "WorkflowError:\nAt least one job did not complete successfully."
    show(end, logging.ERROR, event="error", exception="WorkflowError")
    assert show.lines[:2] == ["FAILED train e/g1", "    relufit: error: shard: cut; make it again"]
    assert show.lines[2] == f"    (the end of {LOG})"
    assert show.lines[3].startswith("relufit: 1 job failed, 0 of 0 jobs are done and kept")
    assert show.lines[4:] == ["Log of everything: all.log"]
    assert show.below.getvalue() == ""


def test_an_interrupt_is_one_line_and_the_jobs_that_it_ends_are_no_failures() -> None:
    show = Shown()
    show("started", event="workflow_started")
    show.job(1)
    show("Terminating processes on user request, this might take some time.")
    show("Error in rule", logging.ERROR, event="job_error", jobid=1, rule_name="train", log=[LOG])
    show("At least one job did not complete successfully.", logging.ERROR, event="error", exception="WorkflowError")
    assert len(show.lines) == 1
    assert show.lines[0].startswith("relufit: interrupted, 0 of 0 jobs are done and kept")


@pytest.mark.parametrize("how", ["died with <Signals.SIGINT: 2>.", "returned non-zero exit status 130."])
def test_an_interrupt_that_is_noticed_after_a_job_has_ended_by_it_makes_no_failure_of_it(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handler, "_NOTICED_SECONDS", 60.0)
    show = Shown()
    show.job(1)
    show(f"Command 'x > {LOG}' {how}", logging.ERROR, event="error", exception="RuleException")
    noticed = threading.Timer(0.1, setattr, (show.handler.progress, "interrupted", True))
    noticed.start()
    show("Error in rule", logging.ERROR, event="job_error", jobid=1, rule_name="train", log=[LOG])
    noticed.join()
    assert show.lines == []


def test_a_job_that_is_interrupted_alone_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handler, "_NOTICED_SECONDS", 0.01)
    show = Shown()
    show.job(1)
    died = f"Command 'x > {LOG}' died with <Signals.SIGINT: 2>."
    show(died, logging.ERROR, event="error", exception="RuleException")
    show("Error in rule", logging.ERROR, event="job_error", jobid=1, rule_name="train", log=[LOG])
    assert show.lines[0] == "FAILED train e/g1"


def test_an_interrupt_that_is_raised_again_is_shown_once() -> None:
    show = Shown()
    show("Terminating processes on user request, this might take some time.")
    show.handler.end_interrupted()
    assert [line.split(",")[0] for line in show.lines] == ["relufit: interrupted"]


def test_an_interrupt_that_snakemake_does_not_catch_is_shown_once() -> None:
    show = Shown()
    show.handler.end_interrupted()
    show.handler.end_interrupted()
    assert show.lines == ["relufit: interrupted; what is finished is kept"]


def test_a_request_to_stop_is_told_once_and_what_came_of_it() -> None:
    show = Shown()
    show.job(1)
    for _ in range(3):
        show("Will exit after finishing currently running jobs (scheduler).")
    show("At least one job did not complete successfully.", logging.ERROR, event="error", exception="WorkflowError")
    assert show.lines[0] == "relufit: asked to stop, waiting for the jobs at work: train e/g1"
    assert show.lines[1].startswith("relufit: stopped, 0 of 0 jobs")


def test_a_dry_run_lists_jobs_with_the_kinds_of_their_reasons_and_counts_once() -> None:
    show = Shown(dry=True)
    show("Job stats:\ntrain  1", event="run_info", stats={"train": 1, "total": 1})
    show.job(1)
    show("Job stats:\ntrain  1", event="run_info", stats={"train": 1, "total": 1})
    show("This was a dry-run (flag -n). The order of jobs does not reflect the order of execution.")
    assert show.lines[:4] == [
        "Job stats:",
        "train  1",
        "",
        "train e/g1  (missing output files; code has changed since last execution)",
    ]
    assert len(show.lines) == 5
    assert "--printshellcmds" in show.lines[4]


def test_where_nothing_is_to_be_done_that_is_said_and_the_verdicts_follow() -> None:
    show = Shown()
    show("Nothing to be done (all requested files are present and up to date).")
    assert show.lines[0].startswith("Nothing to be done")
    assert show.lines[1:] == ["the verdicts"]


def test_messages_of_the_workflow_warnings_and_commands_that_run_nothing_are_shown() -> None:
    show = Shown()
    show("Assuming unrestricted shared filesystem usage.")
    show("Unlocked working directory.")
    show("started", event="workflow_started")
    show("Select jobs to execute...")
    show("iptables is missing", **{OWN: True})
    show("a disk is slow", logging.WARNING)
    assert show.lines == ["iptables is missing"]
    assert show.below.getvalue().splitlines() == ["Unlocked working directory.", "a disk is slow"]


def test_where_records_are_of_another_shape_snakemake_shows_all_itself() -> None:
    show = Shown()
    show("Rule: a", event="job_info", identity="no number")
    show("Finished", event="job_finished", job_id=1)
    assert show.lines == []
    assert show.below.getvalue().splitlines() == ["Rule: a", "Finished"]


def test_what_snakemake_says_while_it_is_torn_down_by_an_interrupt_is_not_shown() -> None:
    show = Shown()
    show("started", event="workflow_started")
    show("Terminating processes on user request, this might take some time.")
    show("Traceback ...\nRuntimeError: Cannot close a running event loop", logging.ERROR)
    assert len(show.lines) == 1
    assert show.lines[0].startswith("relufit: interrupted")
    assert show.below.getvalue() == ""
