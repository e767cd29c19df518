"""What Snakemake says, record by record, in as few lines as a person needs; all of it is in its log file."""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from time import monotonic, sleep
from typing import Any

from relufit.terminal import failures
from relufit.terminal.display import Display
from relufit.terminal.eta import in_words

#: Marks records of the workflow itself, which are shown as they are.
OWN = "relufit"
#: What Snakemake says before each run and nobody needs on the screen.
_CHATTER = ("Config file ", "Assuming unrestricted shared filesystem usage")
_NOTHING = "Nothing to be done"
_FAILED = "At least one job did not complete successfully"
_EXITING = "Exiting because a job execution failed"
_INTERRUPTED = "Terminating processes on user request"
_STOPPING = "Will exit after finishing currently running jobs"
_DRY_RUN = "This was a dry-run"
#: Seconds for an interrupt that has ended a job to be noticed here too.
_NOTICED_SECONDS = 2.0


@dataclass
class _JobRecord:
    """A job that Snakemake has announced."""

    name: str
    began: float
    makes_files: bool


@dataclass
class Progress:
    """How far the workflow is: jobs in all, jobs that are done, and the names of those at work."""

    total: int = 0
    done: int = 0
    failed: int = 0
    interrupted: bool = False
    interrupt_shown: bool = False
    stopped: bool = False
    jobs: dict[int, _JobRecord] = field(default_factory=dict)

    @property
    def at_work(self) -> list[str]:
        """The names of the jobs at work, in the order in which they began."""
        return [job.name for job in self.jobs.values() if job.makes_files]


class Handler(logging.Handler):
    """Shows records of Snakemake on a display, and those that it does not know through the handler that it replaces.

    Parameters
    ----------
    display : Display
    fallback : logging.Handler
        Snakemake's own handler of the same stream.
    log : str or None
        The path of the file that has everything, if there is one.
    dry : bool
        Whether jobs are announced only.
    verdicts : callable
        Returns the lines that follow where nothing was to be done.
    """

    def __init__(
        self,
        display: Display,
        fallback: logging.Handler,
        log: str | None,
        *,
        dry: bool,
        verdicts: Callable[[], list[str]],
    ) -> None:
        super().__init__()
        self.display, self.log, self.progress = display, log, Progress()
        self.closed = threading.Event()
        self._fallback, self._dry, self._verdicts = fallback, dry, verdicts
        self._running = self._table_shown = self._broken = False
        self._statuses: list[str] = []
        self._on = {
            "workflow_started": self._workflow_started,
            "run_info": self._run_info,
            "job_info": self._job_info,
            "job_finished": self._job_finished,
            "job_error": self._job_error,
            "error": self._error,
            **dict.fromkeys(("resources_info", "shellcmd", "job_started", "progress", "rulegraph"), _skip),
        }

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record. One that cannot be understood, and all after it, are left to Snakemake's own handler."""
        if not self._broken:
            try:
                show = self._on.get(str(getattr(record, "event", None)), self._other)
                if show(record):
                    return
            except Exception:
                self._broken = True
                self.display.status("")
        self._fallback.handle(record)

    def close(self) -> None:
        """Leave the display to others."""
        self.end_progress()
        super().close()

    def end_progress(self) -> None:
        """Remove the status line, for good."""
        with self.lock or nullcontext():
            self.closed.set()
            self.display.status("")

    def end_interrupted(self) -> None:
        """Show that an interrupt ended the run, unless Snakemake has said so.

        A task of asyncio that an interrupt has ended may raise it again when the next one runs.
        """
        self.end_progress()
        if not self.progress.interrupt_shown:
            self.progress.interrupt_shown = True
            self.display.line("relufit: interrupted; what is finished is kept")

    def _workflow_started(self, record: logging.LogRecord) -> bool:
        self._running = True
        return True

    def _run_info(self, record: logging.LogRecord) -> bool:
        stats: Mapping[str, int] = getattr(record, "stats", {})
        self.progress.total = self.progress.total or stats.get("total", 0) - stats.get("all", 0)
        if self._dry and not self._table_shown:
            self._table_shown = True
            self.display.full(record.getMessage().rstrip() + "\n")
        return True

    def _job_info(self, record: logging.LogRecord) -> bool:
        fields = vars(record)
        job = _JobRecord(_name(fields), record.created, bool(fields["output"]))
        self.progress.jobs[fields["jobid"]] = job
        if self._dry and job.makes_files:
            self.display.line(f"{job.name}  ({_reason(fields['reason'])})")
        return True

    def _job_finished(self, record: logging.LogRecord) -> bool:
        job = self.progress.jobs.pop(vars(record)["job_id"], None)
        if job is None or not job.makes_files:
            return True
        self.progress.done += 1
        took = in_words(record.created - job.began)
        self.display.line(f"[{self.progress.done}/{self.progress.total}] {job.name}  {took}")
        return True

    def _job_error(self, record: logging.LogRecord) -> bool:
        fields = vars(record)
        job = self.progress.jobs.pop(fields["jobid"], None)
        logs = [str(log) for log in fields["log"]]
        status = next((text for text in self._statuses if any(log in text for log in logs)), None)
        if self._is_interrupted(status):
            return True
        self.progress.failed += 1
        name = job.name if job else str(fields["rule_name"])
        for line in failures.of_job(name, logs, failures.status_of(status) if status else None):
            self.display.full(line)
        return True

    def _is_interrupted(self, status: str | None) -> bool:
        """Tell whether the run is interrupted; a job that the same interrupt has ended may be seen a moment sooner."""
        end = monotonic() + (_NOTICED_SECONDS if status and failures.by_interrupt(status) else 0.0)
        while not self.progress.interrupted and monotonic() < end:
            sleep(0.01)
        return self.progress.interrupted

    def _error(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if failures.status_of(message):
            # The job's own record follows; this one has the command and how it ended.
            self._statuses.append(message)
            return True
        if self.progress.interrupted:
            return True
        if _FAILED in message and (self.progress.failed or self.progress.stopped):
            jobs = "1 job" if self.progress.failed == 1 else f"{self.progress.failed} jobs"
            self._tell_end(f"{jobs} failed" if self.progress.failed else "stopped")
            if self.log:
                self.display.line(f"Log of everything: {os.path.relpath(self.log)}")
        else:
            self.display.full(failures.of_snakemake(message, str(getattr(record, "exception", ""))))
        return True

    def _tell_end(self, what: str) -> None:
        done = f"{self.progress.done} of {self.progress.total} jobs are done and kept"
        self.display.line(f"relufit: {what}, {done}; the same command goes on from there")

    def _other(self, record: logging.LogRecord) -> bool:
        """Show records without an event, or with one that is not known."""
        message = record.getMessage() if record.msg is not None else ""
        if getattr(record, OWN, False):
            for line in message.splitlines():
                self.display.line(line)
            return True
        known = _KNOWN.get(next((start for start in _KNOWN if message.startswith(start)), ""))
        if known is not None:
            known(self, message)
            return True
        if self.progress.interrupted:
            return True  # errors of Snakemake while it is torn down, which its log has
        if record.levelno >= logging.WARNING or message.startswith("Error"):
            return False
        return self._running or message.startswith(_CHATTER)

    def _nothing(self, message: str) -> None:
        for line in [message, *self._verdicts()]:
            self.display.line(line)

    def _interrupt(self, message: str) -> None:
        self.progress.interrupted = self.progress.interrupt_shown = True
        self.end_progress()
        self._tell_end("interrupted")

    def _stop(self, message: str) -> None:
        if self.progress.stopped:
            return
        self.progress.stopped = True
        self.display.line("relufit: asked to stop, waiting for the jobs at work: " + ", ".join(self.progress.at_work))

    def _dry_run(self, message: str) -> None:
        self.display.line("This was a dry run: nothing was made. Add --printshellcmds for each job in full.")

    def _exiting(self, message: str) -> None:
        if not self.progress.failed:
            self.display.line(message)
        elif self.progress.at_work:
            self.display.line("relufit: waiting for the jobs at work: " + ", ".join(self.progress.at_work))


_KNOWN: dict[str, Callable[[Handler, str], None]] = {
    _NOTHING: Handler._nothing,
    _INTERRUPTED: Handler._interrupt,
    _STOPPING: Handler._stop,
    _DRY_RUN: Handler._dry_run,
    _EXITING: Handler._exiting,
}


def _skip(record: logging.LogRecord) -> bool:
    return True


def _name(fields: Mapping[str, Any]) -> str:
    """Return a job as its rule and its wildcards, such as ``train batch_scaling/m-40``."""
    wildcards: Mapping[str, str] = fields["wildcards"] or {}
    named = "/".join(str(wildcards[key]) for key in wildcards)
    return f"{fields['rule_name']} {named}".strip()


def _reason(reason: str) -> str:
    """Return why a job would run, without the files: ``missing output files; input files updated by another job``."""
    parts = [re.sub(r":.*", "", part, flags=re.DOTALL).strip() for part in reason.split(";")]
    return "; ".join(dict.fromkeys(part[:1].lower() + part[1:] for part in parts if part))
