"""How long a workflow will still take: from the expected work of its jobs and how much of it is done."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

#: The share of the work before which no estimate is worth a line.
_LEAST = 0.02
#: What `relufit.cli.progress` writes to the log of a job, such as ``3/12 trials``.
_STEP = re.compile(r"\b(\d+)/(\d+)\b")
_TAIL = 4096


@dataclass(frozen=True)
class Job:
    """A job of a workflow: the file that it makes last, its log, and the seconds it is expected to take."""

    output: Path
    log: Path | None
    effort: float

    def done(self, since: float) -> float:
        """Return the share of the job that is done, 0 to 1, of what was done after `since`, seconds since 1970."""
        if _changed(self.output, since):
            return 1.0
        if self.log is None or not _changed(self.log, since):
            return 0.0
        with self.log.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - _TAIL))
            steps = _STEP.findall(file.read().decode(errors="replace"))
        return min(1.0, int(steps[-1][0]) / max(1, int(steps[-1][1]))) if steps else 0.0


def _changed(path: Path, since: float) -> bool:
    try:
        return path.stat().st_mtime >= since
    except OSError:
        return False


@dataclass(frozen=True)
class Estimate:
    """How far a workflow is: the share of the work that is done, the jobs that are, and the seconds that are left."""

    share: float
    finished: int
    jobs: int
    seconds_left: float

    def __str__(self) -> str:
        """Say it in a line."""
        return f"relufit: {self.share:.0%} of the work done ({self.finished} of {self.jobs} jobs), {self.left}"

    @property
    def left(self) -> str:
        """How long the rest will take, in words."""
        return "some seconds left" if self.seconds_left < 10 else f"about {in_words(self.seconds_left)} left"


def estimate(jobs: Iterable[Job], began: float, now: float) -> Estimate | None:
    """Return how much is done, and how long the rest will take at the same speed.

    Parameters
    ----------
    jobs : iterable of Job
    began, now : float
        Seconds since 1970. Files from before `began` do not count.

    Returns
    -------
    Estimate or None
        None where too little is done for an estimate.
    """
    jobs = list(jobs)
    shares = [job.done(began) for job in jobs]
    whole = sum(job.effort for job in jobs)
    part = sum(job.effort * share for job, share in zip(jobs, shares, strict=True))
    if part < _LEAST * whole or not whole:
        return None
    left = (now - began) * (whole - part) / part
    return Estimate(part / whole, sum(share == 1.0 for share in shares), len(jobs), left)


def in_words(seconds: float) -> str:
    """Return a duration: ``0.4 s``, ``75 s``, ``12 min``, ``3.5 h``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
