"""Overlap: a rank computes its next gradient while the messages of this iteration travel.

With delayed gradients the next one is taken at weights that are known before the present sum is. It is computed in a
thread of its own, and the thread of the rank goes on sending, receiving and decoding: compiled loops, and calls of the
system, hold no lock of Python's. What is computed, and its bits, do not depend on when that is.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from typing import Generic, TypeVar

T = TypeVar("T")


class _Work(Thread, Generic[T]):
    """A computation in a thread, which keeps what it returns or raises."""

    def __init__(self, iteration: int, compute: Callable[[], T]) -> None:
        super().__init__(name="relufit-ahead")
        self.iteration, self._compute = iteration, compute
        self._result: list[T] = []
        self._error: BaseException | None = None

    def run(self) -> None:
        """Compute."""
        try:
            self._result.append(self._compute())
        except BaseException as error:  # raised again by `result`, in the thread that asks
            self._error = error

    def result(self) -> T:
        """Wait for the end; return what was computed, or raise what computing raised."""
        self.join()
        if self._error:
            raise self._error
        return self._result[0]


class Ahead(Generic[T]):
    """What is computed for the next iteration, one computation at a time."""

    def __init__(self) -> None:
        self._work: _Work[T] | None = None

    def start(self, iteration: int, compute: Callable[[], T]) -> None:
        """Compute for an iteration, in a thread; what was computed before and not taken is forgotten."""
        self.discard()
        self._work = _Work(iteration, compute)
        self._work.start()

    def take(self, iteration: int, compute: Callable[[], T]) -> T:
        """Return what was computed for an iteration, once it is there; `compute` it now where it was not started.

        Raises
        ------
        Exception
            What computing raised.
        """
        work, self._work = self._work, None
        if work and work.iteration == iteration:
            return work.result()
        if work:
            work.join()
        return compute()

    def discard(self) -> None:
        """Wait for the end of what is being computed, and forget it and its error."""
        work, self._work = self._work, None
        if work:
            work.join()
