"""The estimate of the time that is left."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path

import pytest

from relufit.remaining import Job, line, watch


def _file(path: Path, text: str, age: float = 0.0) -> Path:
    path.write_text(text)
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_the_rest_takes_as_long_as_its_share_of_the_work(tmp_path: Path) -> None:
    done = Job(_file(tmp_path / "a", ""), None, 30.0)
    half = Job(tmp_path / "b", _file(tmp_path / "b.log", "x: 1/4 trials\nx: 2/4 trials, iteration 7 [1 s]\n"), 20.0)
    waiting = Job(tmp_path / "c", None, 10.0)
    now = time.time()
    said = line([done, half, waiting], now - 600, now)
    assert said == "relufit: 67% of the work done (1 of 3 jobs), about 5 min left"


def test_nothing_is_said_before_anything_is_done(tmp_path: Path) -> None:
    now = time.time()
    assert line([Job(tmp_path / "a", tmp_path / "a.log", 1.0)], now - 5, now) is None
    assert line([], now - 5, now) is None


def test_files_of_an_earlier_run_do_not_count(tmp_path: Path) -> None:
    old = Job(_file(tmp_path / "a", "", 100), _file(tmp_path / "a.log", "3/4", 100), 1.0)
    new = Job(_file(tmp_path / "b", ""), None, 1.0)
    now = time.time()
    said = line([old, new], now - 10, now)
    assert said is not None
    assert "50%" in said
    assert "1 of 2 jobs" in said


@pytest.mark.parametrize("text", ["no step", "1/0 trials", "\x00\xff 1/", ""])
def test_a_log_without_steps_is_no_progress_and_no_error(tmp_path: Path, text: str) -> None:
    job = Job(tmp_path / "a", _file(tmp_path / "a.log", text), 1.0)
    assert job.done(time.time() - 5) in (0.0, 1.0)


def test_lines_come_while_the_workflow_runs_and_end_when_told(tmp_path: Path) -> None:
    out = io.StringIO()
    began = time.time()
    jobs = [Job(tmp_path / "a", None, 1.0), Job(tmp_path / "b", None, 1.0)]
    stop = watch(jobs, out, every=0.01)
    _file(tmp_path / "a", "")
    while not out.getvalue() and time.time() < began + 10:
        time.sleep(0.01)
    stop.set()
    assert out.getvalue().startswith("relufit: 50% of the work done (1 of 2 jobs), about")
