"""What all kinds with workers share: the object, questions with a deadline, waiting for slots, and closing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Thread
from typing import TYPE_CHECKING, Any

from relufit.errors import ClusterError
from relufit.transport.slot import SLOT

if TYPE_CHECKING:
    from distributed import Client

_POLLING_SECONDS = 0.1
_MORE_WORKERS = f"start more workers, each with `--resources {SLOT}=1`, ask for fewer ranks, or wait longer"
#: How long it is waited for a master's slot once all ranks have theirs.
_SETTLING_SECONDS = 2.0
#: How long each worker is asked by itself when it is to be found out which one says nothing.
_ALONE_SECONDS = 3.0


@dataclass(frozen=True)
class DaskCluster:
    """An open cluster with workers.

    Parameters
    ----------
    client : Client
    about : dict
        What it is, JSON-ready.
    """

    client: Client
    about: dict[str, Any]

    def describe(self) -> dict[str, Any]:
        """Return what the cluster is."""
        return dict(self.about)

    def counters(self) -> dict[str, dict[str, int]]:
        """Return nothing: interfaces are shared with whatever else runs there."""
        return {}


@contextmanager
def reached(where: str) -> Iterator[None]:
    """Turn what a scheduler that cannot be reached raises within the block, or one that is silent, into a ClusterError.

    Parameters
    ----------
    where : str
        What of the configuration it is about.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:  # among them Dask's closed connections, and deadlines
        late = isinstance(error, TimeoutError)
        raise ClusterError(
            "the scheduler does not answer in time" if late else f"the scheduler is gone ({error})",
            where=where,
            remedy="see that it runs and can be reached, and its log",
        ) from error


def workers_of(client: Client, *, seconds: float, where: str) -> dict[str, dict[str, Any]]:
    """Return what the scheduler knows of its workers, by address; it is asked itself, for the client's copy lags.

    Raises
    ------
    ClusterError
        If it does not answer within so many seconds.
    """
    with reached(where):
        identity = client.sync(client.scheduler.identity, n_workers=-1, callback_timeout=seconds)
    known: dict[str, dict[str, Any]] = identity["workers"]
    return known


def ask_workers(
    client: Client, ask: Callable[[list[str] | None], Awaitable[dict[str, Any]]], *, seconds: float, where: str
) -> dict[str, Any]:
    """Return what all workers say, by address.

    Parameters
    ----------
    ask : callable
        Returns what awaits the answers of workers with some addresses, of all where None is given. It is called on the
        client's loop, where Dask's own methods, such as ``client.run``, return such a thing.
    seconds : float
        How long an answer may take; if one does not come, a few seconds more tell whose.
    where : str
        What of the configuration an error is about.

    Raises
    ------
    ClusterError
        If somebody has not answered in time, by address.
    """

    async def alone(address: str) -> str | None:
        try:
            await asyncio.wait_for(ask([address]), _ALONE_SECONDS)
        except TimeoutError:
            return address
        except Exception:  # which is an answer
            return None
        return None

    async def silent(addresses: list[str]) -> list[str]:
        return [address for address in await asyncio.gather(*map(alone, addresses)) if address]

    with reached(where):
        try:
            answers: dict[str, Any] = client.sync(ask, None, callback_timeout=seconds)
            return answers
        except TimeoutError as error:
            late = error
    addresses = sorted(workers_of(client, seconds=_ALONE_SECONDS, where=where))
    with reached(where):
        missing = client.sync(silent, addresses, callback_timeout=2 * _ALONE_SECONDS)
    raise ClusterError(
        f"no answer within {seconds:g} s from {some(missing) if missing else 'a worker'}",
        where=where,
        remedy="see what that worker and its host are busy with, or end it",
    ) from late


def some(places: list[str]) -> str:
    """Return the first of some places, and how many more there are."""
    return places[0] if len(places) == 1 else f"{places[0]} and {len(places) - 1} more"


def wait_for_slots(
    client: Client, *, enough: int, wanted: int, seconds: float, where: str, remedy: str = _MORE_WORKERS
) -> int:
    """Wait until a cluster has slots for a run, and return their number.

    Parameters
    ----------
    enough, wanted : int
        Slots without which nothing goes, and slots for which a moment more is waited.
    seconds : float
        How long at most.
    where, remedy : str
        What of the configuration an error is about, and what to do about it.

    Raises
    ------
    ClusterError
        If there are not enough in time, or the scheduler does not answer.
    """
    end, since = time.monotonic() + seconds, None
    while True:
        slots = _slots(client, seconds, where)
        now = time.monotonic()
        if slots >= wanted:
            return slots
        if slots < enough:
            since = None
        elif since is None:
            since = now
        elif now - since > _SETTLING_SECONDS:
            return slots
        if now >= end and slots >= enough:
            return slots
        if now >= end:
            raise ClusterError(
                f"{slots} slots for {enough} ranks after {seconds:g} s",
                where=where,
                remedy=remedy,
            )
        time.sleep(_POLLING_SECONDS)


def _slots(client: Client, seconds: float, where: str) -> int:
    """Return the number of slots; of a cluster that knows none, each worker is given one by the run."""
    known = workers_of(client, seconds=seconds, where=where)
    return sum(int(worker["resources"].get(SLOT, 0)) for worker in known.values()) or len(known)


def close_within(seconds: float, close: Callable[[], object]) -> bool:
    """Call what closes something, and return whether that has ended well within so many seconds.

    What hangs is left in a thread of its own, which does not keep the program from ending.
    """
    ended: list[bool] = []

    def run() -> None:
        with suppress(Exception):
            close()
            ended.append(True)

    thread = Thread(target=run, name="relufit-closing", daemon=True)
    thread.start()
    thread.join(seconds)
    return bool(ended)
