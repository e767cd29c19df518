"""Which clients of Dask can carry a run, told before anything is asked of their clusters."""

from __future__ import annotations

from typing import Any

from distributed import Client

from relufit.errors import ClusterError

_WHERE = "client"


def check_client(client: Any) -> None:  # noqa: ANN401 - whatever a caller takes for a client
    """Refuse what is no client, or one that cannot be waited for.

    Raises
    ------
    ClusterError
        With what to give instead.
    """
    if not isinstance(client, Client):
        name = type(client).__name__
        if isinstance(getattr(client, "client", None), Client):
            raise ClusterError(f"a {name} is a cluster", where=_WHERE, remedy="give its client: cluster.client")
        if hasattr(client, "scheduler_address"):
            raise ClusterError(f"a {name} is a cluster", where=_WHERE, remedy="give distributed.Client(cluster)")
        raise ClusterError(f"{name} is no client of Dask", where=_WHERE, remedy="give a distributed.Client")
    if client.asynchronous:
        raise ClusterError(
            "an asynchronous client cannot be waited for",
            where=_WHERE,
            remedy="give one made without asynchronous=True, which works inside an event loop too, or train in "
            "`await asyncio.to_thread(relufit.train, spec, client)`",
        )
    # Of an asynchronous client that is used from another thread the loop runs elsewhere, and it can be waited for.
    if client.status != "running" or not _loop_runs(client):
        raise ClusterError(
            f"the client is {client.status if client.status != 'running' else 'without its event loop'}",
            where=_WHERE,
            remedy="give one that is open: within its `with` block, before its close()",
        )


def _loop_runs(client: Client) -> bool:
    loop = getattr(client.loop, "asyncio_loop", None)
    return loop is not None and loop.is_running()
