"""What the tasks of runs tell the client that has submitted them: by one topic of Dask's for each client.

A topic for each run would stay with the scheduler for good. And Dask's `Client.unsubscribe_topic` keeps the handler, so
that a run's own handler would keep the run, its rows and its futures for as long as the client lives.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from typing import Any
from weakref import WeakKeyDictionary

from distributed import Client

from relufit.training.slots import PREFIX

Events = SimpleQueue[tuple[Any, ...]]
#: Seconds for the scheduler to take note that a run has ended.
_FORGETTING_SECONDS = 5.0


class _Handler:
    """The handler of a client's topic: passes each event on to the run that it is of."""

    def __init__(self) -> None:
        self.runs: dict[str, Events] = {}

    def __call__(self, event: tuple[float, Any]) -> None:
        """Take an event: the time, and the name of a run with what its tasks tell."""
        name, *message = event[1]
        events = self.runs.get(name)
        if events is not None:  # a task may tell something after its run has ended
            events.put(tuple(message))


# A handler knows no client, so that a client that is dropped goes, and its handler with it.
_HANDLERS: WeakKeyDictionary[Client, _Handler] = WeakKeyDictionary()
_LOCK = threading.Lock()


def topic_of(client: Client) -> str:
    """Return the topic under which the runs of a client are heard."""
    return f"{PREFIX}{client.id}"


@contextmanager
def heard(client: Client, name: str) -> Iterator[Events]:
    """Yield a queue in which what the tasks of the run of that name tell arrives, until the end of the block."""
    with _LOCK:
        handler = _HANDLERS.setdefault(client, _Handler())
    events: Events = SimpleQueue()
    handler.runs[name] = events
    try:
        # Each time: a scheduler that has lost the client in between has forgotten it.
        client.subscribe_topic(topic_of(client), handler)
        yield events
    finally:
        del handler.runs[name]


def address_variable(name: str) -> str:
    """Return the name of Dask's variable in which the master of a run says where it is."""
    return f"{name}-address"


def forget(client: Client, name: str) -> None:
    """Have Dask forget a run that has ended, of which the scheduler and the client would keep much for good."""
    with suppress(Exception):  # the cluster may be gone
        arguments = topic_of(client), address_variable(name)
        client.sync(client.run_on_scheduler, _forget, *arguments, callback_timeout=_FORGETTING_SECONDS)
    with suppress(AttributeError):
        _clear(client.scheduler_comm)


async def _forget(topic: str, variable: str, dask_scheduler: Any) -> None:  # noqa: ANN401 - Dask passes its scheduler
    """Delete what a run has left on the scheduler; where another version of Dask has it elsewhere, it stays."""
    # As if a client of that name had left: its topic is emptied, after the time that is set for that.
    dask_scheduler.remove_client(client=topic)
    await dask_scheduler.extensions["variables"].delete(name=variable)
    with suppress(AttributeError):
        dask_scheduler._broker._topics.pop(f"variable-{variable}", None)
        for stream in dask_scheduler.stream_comms.values():
            _clear(stream)


def _clear(stream: Any) -> None:  # noqa: ANN401 - one of Dask's own
    """Drop the log of a stream's last thousand messages, with the tasks in them, and the rows in those."""
    stream.recent_message_log.clear()
