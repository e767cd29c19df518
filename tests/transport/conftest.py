"""Fixtures of the tests of the transport."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from meetings import ENDS, NETWORKS, make_ends, make_network

from relufit.transport import connections
from relufit.transport.connections import Connection, Network


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
