"""How long a workflow will still take: from the expected work of its jobs and how much of it is done."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

#: Seconds between two lines, and the share of the work before which no estimate is worth a line.
_EVERY, _LEAST = 20.0, 0.02
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


def line(jobs: Iterable[Job], began: float, now: float) -> str | None:
    """Return what there is to say: how much is done, and how long the rest will take at the same speed.

    Parameters
    ----------
    jobs : iterable of Job
    began, now : float
        Seconds since 1970. Files from before `began` do not count.

    Returns
    -------
    str or None
        None where too little is done for an estimate.
    """
    jobs = list(jobs)
    shares = [job.done(began) for job in jobs]
    whole = sum(job.effort for job in jobs)
    part = sum(job.effort * share for job, share in zip(jobs, shares, strict=True))
    if part < _LEAST * whole or not whole:
        return None
    left = (now - began) * (whole - part) / part
    finished = sum(share == 1.0 for share in shares)
    return f"relufit: {part / whole:.0%} of the work done ({finished} of {len(jobs)} jobs), {_words(left)} left"


def _words(seconds: float) -> str:
    return f"about {seconds / 60:.0f} min" if seconds >= 90 else f"about {seconds:.0f} s"


def watch(jobs: Iterable[Job], out: TextIO = sys.stderr, every: float = _EVERY) -> threading.Event:
    """Write a line to `out` every so many seconds, from a thread that ends with the program or when told to.

    Returns
    -------
    threading.Event
        Set it to end the thread.
    """
    jobs, began, stop = list(jobs), time.time(), threading.Event()

    def tell() -> None:
        while not stop.wait(every):
            said = line(jobs, began, time.time())
            if said:
                print(said, file=out, flush=True)

    threading.Thread(target=tell, name="remaining", daemon=True).start()
    return stop
