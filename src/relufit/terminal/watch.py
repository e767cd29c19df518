"""Says now and then how far the workflow is, from a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass

from relufit.terminal.eta import Job, estimate
from relufit.terminal.handler import Handler


@dataclass(frozen=True)
class Pace:
    """How often the display is written to.

    Parameters
    ----------
    rewritten : float
        Seconds between two states of a line that is rewritten.
    line : float
        Seconds between two lines, at least.
    share : float
        Share of the work between two lines, at least. It bounds the lines of a run, however long that takes.
    """

    rewritten: float = 1.0
    line: float = 20.0
    share: float = 0.05


class Watch:
    """Tells on the display of `handler` how far its jobs are, until the handler is closed.

    Parameters
    ----------
    handler : Handler
    jobs : iterable of Job
    pace : Pace
    """

    def __init__(self, handler: Handler, jobs: Iterable[Job], pace: Pace = Pace()) -> None:
        self._handler, self._jobs, self._pace = handler, list(jobs), pace
        self._began = time.time()
        self._told_at, self._told_share = self._began, 0.0
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def start(self) -> None:
        """Begin to tell."""
        self._thread.start()

    def join(self) -> None:
        """Wait until the last has been told."""
        self._thread.join()

    def _run(self) -> None:
        every = self._pace.rewritten if self._handler.display.rewrites else self._pace.line / 4
        while not self._handler.closed.wait(every):
            self.tell(time.time())

    def tell(self, now: float) -> None:
        """Write the state of `now`, seconds since 1970, if it is time for that."""
        eta = estimate(self._jobs, self._began, now)
        handler = self._handler
        handler.acquire()
        try:
            if handler.closed.is_set():
                return
            if handler.display.rewrites:
                progress = handler.progress
                share = f", {eta.left}" if eta else ""
                handler.display.status(f"[{progress.done}/{progress.total}{share}] {', '.join(progress.at_work)}")
            elif eta and now - self._told_at >= self._pace.line and eta.share >= self._told_share + self._pace.share:
                self._told_at, self._told_share = now, eta.share
                handler.display.line(str(eta))
        finally:
            handler.release()
