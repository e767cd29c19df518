"""Put in front of Snakemake's own output: what a person at a terminal wants to see of a run."""

from __future__ import annotations

import getpass
import logging
import os
from collections.abc import Iterable
from textwrap import wrap
from typing import Any

from relufit.terminal.display import Display
from relufit.terminal.eta import Job
from relufit.terminal.handler import OWN, Handler
from relufit.terminal.interruption import tell_interrupts
from relufit.terminal.verdicts import summary
from relufit.terminal.watch import Watch

_LOGGER = logging.getLogger("snakemake.logging")
_WIDTH = 118
_STREAM, _FILE = "DefaultStreamHandler", "DefaultLogFileHandler"


class Terminal:
    """What the workflow says to the person who started it.

    Parameters
    ----------
    workflow : snakemake.workflow.Workflow
    """

    def __init__(self, workflow: Any) -> None:  # noqa: ANN401 - Snakemake's own class, without types
        self._workflow = workflow
        self._run = ""
        self._notes: tuple[str, ...] = ()
        self.handler: Handler | None = None

    def describe(self, run: str, notes: Iterable[str] = ()) -> None:
        """Say of which run this is, and what its reader must know before and after it, a sentence or two each."""
        wrapped = [wrap(note, _WIDTH, subsequent_indent="  ", break_long_words=False) for note in notes]
        self._run, self._notes = run, tuple(line for lines in wrapped for line in lines)

    def begin(self, jobs: Iterable[Job]) -> None:
        """Say what will be done and where everything is logged, and from then on how far it is."""
        for note in self._notes:
            say(note)
        handler = self.handler
        if handler is None:
            return
        jobs = list(jobs)
        handler.progress.total = len(jobs)
        say(f"relufit: {_counted(len(jobs), 'job')} for {self._run}, on {_counted(self._workflow.cores, 'core')}")
        if handler.log:
            say(f"Log of everything: {os.path.relpath(handler.log)}")
        Watch(handler, jobs).start()

    def end(self) -> None:
        """Say what came out."""
        if self.handler is not None:
            self.handler.end_progress()
        for line in self.closing():
            say(line)

    def closing(self) -> list[str]:
        """Return the verdicts and where the report is, if they were asked for, and the notes."""
        asked = {str(path) for job in self._workflow.dag.jobs for path in job.output}
        verdicts = summary(self._run) if f"{self._run}/claims.json" in asked else []
        return [*self._notes, *verdicts]


def attach(workflow: Any) -> Terminal:  # noqa: ANN401
    """Show a run in short, unless its user has chosen how Snakemake is to show it, and log all of it.

    Parameters
    ----------
    workflow : snakemake.workflow.Workflow
        As a Snakefile knows it.

    Returns
    -------
    Terminal
        To be told when the run begins and ends. Where this version of Snakemake is built in another way its own output
        is left as it is.
    """
    terminal = Terminal(workflow)
    try:
        handlers = {handler.name: handler for handler in _LOGGER.handlers}
        log = handlers.get(_FILE)
        if log is not None:
            _log_everything(log)
        own, settings = handlers.get(_STREAM), workflow.output_settings
        if isinstance(own, logging.StreamHandler) and workflow.is_main_process and not _chosen(settings):
            display, path = Display(own.stream), getattr(log, "baseFilename", None)
            terminal.handler = Handler(display, own, path, dry=settings.dryrun, verdicts=terminal.closing)
            _LOGGER.addHandler(terminal.handler)
            _LOGGER.removeHandler(own)
            tell_interrupts(terminal.handler)
    except (AttributeError, TypeError):
        terminal.handler = None
    return terminal


def name_user() -> None:
    """Give the user a name if it is a number alone, as in a container: Snakemake logs one."""
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["LOGNAME"] = f"uid-{os.getuid()}"


def say(line: str) -> None:
    """Say a line on the terminal and in the log."""
    _LOGGER.info(line, extra={OWN: True})


def _chosen(settings: Any) -> bool:  # noqa: ANN401
    """Tell whether the user has asked Snakemake for more, less or another output than by default."""
    more = settings.verbose or settings.printshellcmds or settings.debug_dag
    return bool(more or settings.quiet or settings.log_handler_settings)


def _log_everything(log: logging.Handler) -> None:
    """Have the log file hold shell commands and reasons too, whatever is shown."""
    log.filters.clear()
    formatter: Any = log.formatter
    formatter.quiet = set()


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
