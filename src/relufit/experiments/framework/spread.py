"""Trials without real ranks, spread over the workers of a Dask cluster: one task a trial, a bounded number at a time.

A trial is a function of its setting, the seed and its number, so that it leaves the same wherever it runs. Its task
asks for no ``slot``: any thread of any worker serves, behind the ranks of a run that is there as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from relufit.errors import ClusterError, RelufitError
from relufit.experiments.framework.base import Outcome, Setting, Trial
from relufit.experiments.framework.procedures import PROCEDURES

if TYPE_CHECKING:
    from distributed import Client, Future

    from relufit.training import Progress

#: Tasks a thread that are under way: one that runs, and one that waits for it.
_DEPTH = 2
#: Seconds without any worker, after which nothing more is expected.
_LONELY_SECONDS = 60.0
_POLLING_SECONDS, _MOMENT_SECONDS = 0.5, 0.02
_OPTIONS: dict[str, Any] = {"pure": False, "priority": -1}


def spread(
    client: Client, trials: Sequence[tuple[Setting, int]], seed: int, data: str | Path, done: Callable[[int], None]
) -> list[Outcome]:
    """Run some trials, each given by its setting and number, and return what they leave, in their order.

    Parameters
    ----------
    client : Client
    trials : sequence of (Setting, int)
    seed : int
        The seed of the configuration.
    data : path
        Folder of the data sets, the same on every worker, or an address such as ``s3://bucket/prefix``.
    done : callable
        Told after each trial how many have ended.

    Raises
    ------
    RelufitError
        Whatever the first trial that failed raised; a ClusterError if that is none of ours, or the cluster is lost.
    """
    # Dask forgets a task that fails or is cancelled; a name that is used once cannot be mistaken for another.
    name, submitted, seen = f"relufit-trials-{uuid4().hex}", 0, time.monotonic()
    outcomes: dict[int, Outcome] = {}
    pending: dict[Future, int] = {}
    try:
        while len(outcomes) < len(trials):
            threads = _threads(client)
            seen = time.monotonic() if threads else seen
            if time.monotonic() - seen > _LONELY_SECONDS:
                raise _lost(f"no worker for {_LONELY_SECONDS:g} s")
            while submitted < len(trials) and len(pending) < _DEPTH * threads:
                setting, trial = trials[submitted]
                future = client.submit(_attempt, setting, seed, trial, data, key=f"{name}-{submitted}", **_OPTIONS)
                pending[future] = submitted
                submitted += 1
            for future in _finished(list(pending)):
                number = pending.pop(future)
                outcomes[number] = _outcome(future, *trials[number])
                future.release()
                done(len(outcomes))
    finally:
        if pending:
            with suppress(Exception):  # the cluster may be gone
                cancel = partial(client.cancel, list(pending), asynchronous=True, force=True)
                client.sync(cancel, callback_timeout=_LONELY_SECONDS)
    return [outcomes[number] for number in range(len(trials))]


def _threads(client: Client) -> int:
    try:
        if client.status == "running":
            threads: dict[str, int] = client.sync(client.nthreads, callback_timeout=_LONELY_SECONDS)
            return sum(threads.values())
    except TimeoutError as error:
        raise _lost(f"the scheduler has not answered for {_LONELY_SECONDS:g} s") from error
    except (OSError, RuntimeError) as error:
        raise _lost("the scheduler is gone") from error
    raise _lost("the scheduler is gone")


def _attempt(setting: Setting, seed: int, trial: int, data: str | Path) -> Outcome:
    """Run a trial as a task; a training run that nobody wants any more ends at its next news."""
    from relufit.training.tasks import wanted_here

    wanted = wanted_here()

    def tell(news: Progress) -> None:
        if not wanted():
            raise ClusterError("the trial was cancelled", where="cluster")

    return PROCEDURES[setting.procedure](Trial(setting, seed, trial, data, tell=tell))


def _finished(pending: list[Future]) -> list[Future]:
    """Return the tasks that have ended, after a moment if there is none.

    The states of futures are known here: nothing is asked of a scheduler or a client that may be gone.
    """
    end = time.monotonic() + _POLLING_SECONDS
    while not (done := [future for future in pending if future.done()]) and time.monotonic() < end:
        time.sleep(_MOMENT_SECONDS)
    return done


def _outcome(future: Future, setting: Setting, trial: int) -> Outcome:
    from distributed import KilledWorker

    try:
        outcome: Outcome = future.result(timeout=_LONELY_SECONDS)
        return outcome
    except RelufitError:
        raise
    except KilledWorker as error:
        times = error.allowed_failures + 1
        raise _lost(f"the process of trial {trial} of {setting.name} died {times} times") from error
    except CancelledError as error:
        raise _lost("the scheduler is gone, or has dropped the trials") from error
    except Exception as error:
        if future.client.status != "running":
            raise _lost("the scheduler is gone") from error
        raise _lost(f"trial {trial} of {setting.name} failed ({type(error).__name__}: {error})") from error


def _lost(what: str) -> ClusterError:
    return ClusterError(what, where="cluster", remedy="see the logs of the Dask scheduler and workers")
