"""Clients of every shape: a run works with them, or one line says which would do."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from distributed import Client, LocalCluster

from relufit.clusters.workers import DaskCluster
from relufit.errors import ClusterError
from relufit.planted import PlantedModel
from relufit.training import TrainingSpec, train

SPEC = TrainingSpec(PlantedModel(210, 12, 3), "fp64", workers=2, batch_size=20, iterations=25)
THREADS: dict[str, Any] = {"processes": False, "dashboard_address": "127.0.0.1:0"}


def same(client: Client) -> bool:
    return train(SPEC, client).weights.tobytes() == train(SPEC).weights.tobytes()


def refusal(client: Any) -> str:
    with pytest.raises(ClusterError) as caught:
        train(SPEC, client)
    assert caught.value.remedy
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "shape",
    [
        {"processes": False, "n_workers": 3, "threads_per_worker": 1},
        {"processes": False, "n_workers": 2, "threads_per_worker": 1},
        {"processes": False, "n_workers": 1, "threads_per_worker": 4, "resources": {"slot": 4}},
        {"n_workers": 1, "threads_per_worker": 3, "resources": {"slot": 3}},
    ],
    ids=str,
)
def test_workers_that_are_threads_or_have_several_slots_give_the_same_bits(shape: dict[str, Any]) -> None:
    with LocalCluster(dashboard_address="127.0.0.1:0", **shape) as cluster, Client(cluster) as client:
        assert same(client)


def test_a_client_works_where_an_event_loop_runs_as_in_a_notebook() -> None:
    async def cell() -> bool:
        with LocalCluster(n_workers=3, threads_per_worker=1, **THREADS) as cluster, Client(cluster) as client:
            return same(client)

    assert asyncio.run(cell())


def test_an_asynchronous_client_is_refused_in_its_loop_and_works_beside_it() -> None:
    async def cell() -> tuple[str, bool]:
        async with (
            LocalCluster(n_workers=3, threads_per_worker=1, asynchronous=True, **THREADS) as cluster,
            Client(cluster, asynchronous=True) as client,
        ):
            return refusal(client), await asyncio.to_thread(same, client)

    message, worked = asyncio.run(cell())
    assert "an asynchronous client cannot be waited for" in message
    assert worked


def test_what_is_no_open_client_is_refused_with_what_would_do() -> None:
    with LocalCluster(n_workers=0, **THREADS) as cluster:
        assert "give distributed.Client(cluster)" in refusal(cluster)
        with Client(cluster) as client:
            assert "0 slots for 2 ranks" in refusal(client)
            assert "give its client: cluster.client" in refusal(DaskCluster(client, {}))
        assert "the client is closed" in refusal(client)
    assert "str is no client of Dask" in refusal("tcp://127.0.0.1:8786")


def test_an_asynchronous_client_whose_loop_has_ended_is_refused() -> None:
    async def leave() -> Client:
        async with LocalCluster(n_workers=0, asynchronous=True, **THREADS) as cluster:
            return await Client(cluster, asynchronous=True)

    assert "an asynchronous client cannot be waited for" in refusal(asyncio.run(leave()))
