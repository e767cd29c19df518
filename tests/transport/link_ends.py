"""Links over connections, for tests."""

from __future__ import annotations

from collections.abc import Callable

from meetings import LONG, RUN, yes

from relufit.transport.connections import Connection
from relufit.transport.link import Link

Ends = tuple[Connection, Connection]
Links = tuple[Link, Link]
Wanted = Callable[[], bool]


def make_link(connection: Connection, peer: str = "rank 3", *, deadline: float = LONG, wanted: Wanted = yes) -> Link:
    return Link(connection, RUN, peer, deadline=deadline, wanted=wanted)
