"""What a message costs where there is no network between its ends: to somebody who sends back what comes."""

from __future__ import annotations

import statistics
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING

from relufit.transport.frames import Kind
from relufit.transport.link import Link
from relufit.transport.tcp import Tcp

if TYPE_CHECKING:
    from relufit.transport.connections import Connection

_MESSAGE, _EMPTY_TRIES = 2**22, 30
_DEADLINE_SECONDS = 30.0
_RUN = 1


def messages(tries: int, meet: Callable[[], None]) -> tuple[float, float]:
    """Return half the round trip of an empty frame over loopback, and what each byte adds, between two threads.

    Every number is the median of some tries, many for the empty frame; `meet` is called before they begin.
    """
    with _echo() as link:

        def trips(body: bytes, count: int) -> float:
            meet()
            seconds = []
            for _ in range(count + 1):
                began = perf_counter()
                link.send(Kind.GRADIENT, body)
                link.receive(Kind.GRADIENT, limit=_MESSAGE)
                seconds.append(perf_counter() - began)
            return statistics.median(seconds[1:]) / 2

        empty, full = trips(b"", _EMPTY_TRIES * tries), trips(bytes(_MESSAGE), tries)
        link.send(Kind.STOP)
    return empty, max(0.0, full - empty) / _MESSAGE


@contextmanager
def _echo() -> Iterator[Link]:
    """Yield a link to somebody who sends back what comes."""
    network = Tcp("127.0.0.1")
    listener = network.listen()
    ends: list[Connection] = []

    def answer() -> None:
        connection = listener.accept(_DEADLINE_SECONDS)
        if connection is None:
            return
        link = _link(connection)
        try:
            while True:
                header, body = link.receive(Kind.GRADIENT, Kind.STOP, limit=_MESSAGE)
                if header.kind is Kind.STOP:
                    return
                link.send(Kind.GRADIENT, body)
        finally:
            link.close()

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    try:
        ends.append(network.connect(listener.address, _DEADLINE_SECONDS))
        yield _link(ends[0])
    finally:
        for end in ends:
            end.close()
        thread.join(_DEADLINE_SECONDS)
        listener.close()


def _link(connection: Connection) -> Link:
    return Link(connection, _RUN, "this machine", deadline=_DEADLINE_SECONDS, wanted=lambda: True)
