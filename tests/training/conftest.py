"""A cluster for the modules whose tests kill, stop and queue: one each, so that none disturbs another's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from distributed import Client, LocalCluster
from processes import WORKERS, assert_nothing_left, local_cluster


@pytest.fixture(scope="module")
def own_cluster() -> Iterator[LocalCluster]:
    """Four processes, in which a task fails more often than Dask thinks normal."""
    with local_cluster(WORKERS) as started:
        yield started


@pytest.fixture
def own_client(own_cluster: LocalCluster) -> Iterator[Client]:
    """A client of theirs; after each test all are there again, and nothing is left on them."""
    with Client(own_cluster) as connected:
        connected.wait_for_workers(WORKERS, timeout=300)
        yield connected
        connected.wait_for_workers(WORKERS, timeout=300)
        assert_nothing_left(connected)
