"""What all kinds with workers share: the object, waiting for slots, and closing within a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from threading import Thread
from typing import TYPE_CHECKING, Any

from relufit.errors import ClusterError

if TYPE_CHECKING:
    from distributed import Client

#: The Dask resource of which a rank takes one.
SLOT = "slot"
_POLLING_SECONDS = 0.1
#: How long it is waited for a master's slot once all ranks have theirs.
_SETTLING_SECONDS = 2.0


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


def workers_of(client: Client, seconds: float) -> dict[str, dict[str, Any]]:
    """Return what the scheduler knows of its workers, by address; it is asked itself, for the client's copy lags."""
    identity = client.sync(client.scheduler.identity, n_workers=-1, callback_timeout=seconds)
    known: dict[str, dict[str, Any]] = identity["workers"]
    return known


def wait_for_slots(client: Client, *, enough: int, wanted: int, seconds: float, where: str) -> int:
    """Wait until a cluster has slots for a run, and return their number.

    Parameters
    ----------
    enough, wanted : int
        Slots without which nothing goes, and slots for which a moment more is waited.
    seconds : float
        How long at most.
    where : str
        What of the configuration an error is about.

    Raises
    ------
    ClusterError
        If there are not enough in time.
    """
    end, since = time.monotonic() + seconds, None
    while True:
        slots = _slots(client, seconds)
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
                remedy=f"start more workers, each with `--resources {SLOT}=1`, ask for fewer ranks, or wait longer",
            )
        time.sleep(_POLLING_SECONDS)


def _slots(client: Client, seconds: float) -> int:
    """Return the number of slots; of a cluster that knows none, each worker is given one by the run."""
    known = workers_of(client, seconds)
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
