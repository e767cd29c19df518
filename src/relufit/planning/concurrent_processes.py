"""The same work in several processes at the same time, step by step."""

from __future__ import annotations

import threading
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from typing import TypeVar

from relufit.errors import ClusterError

Result = TypeVar("Result")

#: Seconds that processes wait for each other: for all to be there, and then at every step.
_START_SECONDS, _STEP_SECONDS = 120.0, 60.0


def run(work: Callable[[Callable[[], None]], Result], count: int) -> list[Result]:
    """Return what `work` returns in each of `count` processes, all of which go on when the last of them has come.

    Parameters
    ----------
    work : callable
        Can be pickled. Is given a function that returns when it was called in all processes, which must call it
        equally often.
    count : int

    Raises
    ------
    ClusterError
        If a process ends early, or the others wait for it in vain.
    """
    context = get_context("spawn")
    barrier = context.Barrier(count)
    ends, processes = [], []
    try:
        for _ in range(count):
            ours, sender = context.Pipe(duplex=False)
            process = context.Process(target=_member, args=(work, barrier, sender), daemon=True)
            process.start()
            sender.close()
            ends.append(ours)
            processes.append(process)
        try:
            return [end.recv() for end in ends]
        except EOFError as error:
            raise ClusterError(
                "a process that measures at the same time as others has ended early",
                where="this machine",
                remedy="see what it has printed, and whether there is memory enough",
            ) from error
    finally:
        for process in processes:
            process.kill()
            process.join()
        for end in ends:
            end.close()


def _member(work: Callable[[Callable[[], None]], object], barrier: Barrier, sender: Connection) -> None:
    try:
        barrier.wait(_START_SECONDS)
        result = work(lambda: _meet(barrier))
    except threading.BrokenBarrierError:
        return
    except BaseException:
        barrier.abort()
        raise
    sender.send(result)
    sender.close()


def _meet(barrier: Barrier) -> None:
    barrier.wait(_STEP_SECONDS)
