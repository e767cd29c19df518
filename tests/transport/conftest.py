"""Fixtures of the tests of the transport."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from link_ends import make_link
from meetings import ENDS, LONG, NETWORKS, RUN, TOKEN, Clock, make_ends, make_network, yes

from relufit.transport import connections, reception
from relufit.transport.connections import Connection, Network
from relufit.transport.link import Link
from relufit.transport.reception import Rendezvous


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "POLL_SECONDS", 0.02)


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> Network:
    return make_network(request.param)


@pytest.fixture(params=ENDS)
def ends(request: pytest.FixtureRequest) -> Iterator[tuple[Connection, Connection]]:
    one, other = make_ends(request.param)
    yield one, other
    one.close()
    other.close()


@pytest.fixture
def links(ends: tuple[Connection, Connection]) -> tuple[Link, Link]:
    """A link at each end, of the master and of a rank."""
    return make_link(ends[0], "the master"), make_link(ends[1])


@pytest.fixture
def receive(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Rendezvous]]:
    """Open a reception, which is closed after the test."""
    # Whoever is turned away at once is not turned away by the deadline, and the machine may be busy.
    monkeypatch.setattr(reception, "GREETING_SECONDS", 3 * LONG)
    monkeypatch.setattr(reception, "_IDLE_SECONDS", 0.02)
    with ExitStack() as opened:

        def receive(network: Network, count: int = 2, **options: Any) -> Rendezvous:
            at = Rendezvous(network, RUN, TOKEN, count, deadline=LONG, wanted=yes, **options)
            opened.callback(at.close)
            return at

        yield receive


@pytest.fixture
def reception_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time by which receptions reckon their deadlines."""
    fake_clock = Clock()
    monkeypatch.setattr(reception, "monotonic", fake_clock)
    return fake_clock
