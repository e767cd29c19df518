"""The estimate of the time that is left."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from relufit.terminal.eta import Job, estimate, in_words


def _file(path: Path, text: str, age: float = 0.0) -> Path:
    path.write_text(text)
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_the_rest_takes_as_long_as_its_share_of_the_work(tmp_path: Path) -> None:
    done = Job(_file(tmp_path / "a", ""), None, 30.0)
    half = Job(tmp_path / "b", _file(tmp_path / "b.log", "x: 1/4 trials\nx: 2/4 trials, iteration 7 [1 s]\n"), 20.0)
    waiting = Job(tmp_path / "c", None, 10.0)
    now = time.time()
    said = estimate([done, half, waiting], now - 600, now)
    assert str(said) == "relufit: 67% of the work done (1 of 3 jobs), about 5 min left"


def test_nothing_is_said_before_anything_is_done(tmp_path: Path) -> None:
    now = time.time()
    assert estimate([Job(tmp_path / "a", tmp_path / "a.log", 1.0)], now - 5, now) is None
    assert estimate([], now - 5, now) is None


def test_files_of_an_earlier_run_do_not_count(tmp_path: Path) -> None:
    old = Job(_file(tmp_path / "a", "", 100), _file(tmp_path / "a.log", "3/4", 100), 1.0)
    new = Job(_file(tmp_path / "b", ""), None, 1.0)
    now = time.time()
    said = estimate([old, new], now - 90, now)
    assert said is not None
    assert said.share == 0.5
    assert (said.finished, said.jobs) == (1, 2)


@pytest.mark.parametrize("text", ["no step", "1/0 trials", "\x00\xff 1/", ""])
def test_a_log_without_steps_is_no_progress_and_no_error(tmp_path: Path, text: str) -> None:
    job = Job(tmp_path / "a", _file(tmp_path / "a.log", text), 1.0)
    assert job.done(time.time() - 5) in (0.0, 1.0)


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.04, "0.0 s"), (3.24, "3.2 s"), (75, "75 s"), (125, "2 min"), (9000, "2.5 h")]
)
def test_a_duration_is_told_in_the_unit_that_suits_it(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
