"""How often it is said how far the workflow is."""

from __future__ import annotations

import io
import logging
import os
import time
from pathlib import Path

import pytest

from relufit.terminal.display import Display
from relufit.terminal.eta import Job
from relufit.terminal.handler import Handler
from relufit.terminal.watch import Pace, Watch


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def _make(path: Path) -> None:
    """Make the file of a job that ends some time after the start, however coarse the clock of the file system."""
    path.write_text("")
    os.utime(path, (time.time() + 5,) * 2)


def _watch(folder: Path, out: io.StringIO, jobs: int = 100) -> tuple[Handler, Watch]:
    handler = Handler(Display(out), logging.NullHandler(), None, dry=False, verdicts=list)
    handler.progress.total = jobs
    return handler, Watch(handler, [Job(folder / str(number), None, 1.0) for number in range(jobs)])


@pytest.mark.parametrize("seconds", [1.0, 60.0, 1e5])
def test_the_lines_of_a_run_are_few_however_long_it_takes(tmp_path: Path, seconds: float) -> None:
    out = io.StringIO()
    _, watch = _watch(tmp_path, out)
    began = time.time()
    for number in range(100):
        _make(tmp_path / str(number))
        for moment in range(3):
            watch.tell(began + seconds * (number + moment / 3 + 1))
    lines = out.getvalue().splitlines()
    assert len(lines) <= 20
    assert len(lines) >= 4
    assert all(line.startswith("relufit: ") for line in lines)


def test_on_a_terminal_one_line_is_rewritten_and_names_the_jobs_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()
    handler, watch = _watch(tmp_path, out, jobs=2)
    fields = {"event": "job_info", "jobid": 1, "rule_name": "train", "wildcards": {"group": "g"}, "output": ["x"]}
    handler.handle(logging.makeLogRecord({"reason": "", **fields}))
    watch.tell(time.time() + 1)
    _make(tmp_path / "0")
    watch.tell(time.time() + 100)
    states = out.getvalue().split("\r\x1b[K")[1:]
    assert states[0] == "[0/2] train g"
    assert states[1].startswith("[0/2, about ")
    assert states[1].endswith(" left] train g")
    assert "\n" not in out.getvalue()


def test_nothing_is_said_after_the_end(tmp_path: Path) -> None:
    out = io.StringIO()
    handler, watch = _watch(tmp_path, out, jobs=1)
    _make(tmp_path / "0")
    handler.end_progress()
    watch.tell(time.time() + 1000)
    assert out.getvalue() == ""


def test_a_thread_tells_until_the_handler_is_closed(tmp_path: Path) -> None:
    out = io.StringIO()
    handler, _ = _watch(tmp_path, out, jobs=2)
    jobs = [Job(tmp_path / "0", None, 1.0), Job(tmp_path / "1", None, 1.0)]
    watch = Watch(handler, jobs, Pace(line=0.01))
    watch.start()
    _make(tmp_path / "0")
    while not out.getvalue():
        time.sleep(0.01)
    handler.close()
    watch.join()
    assert out.getvalue().startswith("relufit: 50% of the work done (1 of 2 jobs), ")
