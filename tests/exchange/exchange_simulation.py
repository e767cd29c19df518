"""An oracle of an iteration over a network: packets through links, one event after the other.

Every member has a processor, a link out and a link in. A message is cut into packets; a packet passes the sender's link
out, travels for the latency, and passes the receiver's link in. A link out sends waiting messages one after the other
(`fair` false) or a packet of each in turn (`fair` true). Nothing here is taken from the code under test.
"""

from __future__ import annotations

import heapq
import itertools
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

PACKETS = 20
MASTER = -1


@dataclass
class World:
    """What is simulated: seconds of a message on a link by kind, of the processors, and of the latency."""

    ranks: int
    gradient: float
    weights: float
    latency: float
    compute: float
    decode: float
    fair: bool
    packets: int = PACKETS
    now: float = 0.0
    updates: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = itertools.count()
        self._out: dict[int, deque[list[Any]]] = defaultdict(deque)
        self._out_busy: dict[int, bool] = defaultdict(bool)
        self._in_free: dict[int, float] = defaultdict(float)
        self._processor: dict[int, float] = defaultdict(float)

    def at(self, time: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (time, next(self._number), action))

    def run(self, until: Callable[[], bool]) -> None:
        while self._events and not until():
            self.now, _, action = heapq.heappop(self._events)
            action()

    def work(self, member: int, seconds: float, then: Callable[[], None]) -> None:
        """Let the processor of a member do something, after what it has to do already."""
        self._processor[member] = max(self._processor[member], self.now) + seconds
        self.at(self._processor[member], then)

    def send(self, source: int, target: int, seconds: float, arrived: Callable[[], None]) -> None:
        self._out[source].append([target, seconds / self.packets, self.packets, arrived])
        if not self._out_busy[source]:
            self._next(source)

    def _next(self, source: int) -> None:
        queue = self._out[source]
        self._out_busy[source] = bool(queue)
        if not queue:
            return
        message = queue[0]
        target, seconds, left, arrived = message
        message[2] -= 1
        if left == 1:
            queue.popleft()
        elif self.fair:
            queue.rotate(-1)
        done = self.now + seconds

        def gone() -> None:
            # Cut through: a packet that finds the link in free enters it while it leaves the link out.
            start = max(self._in_free[target], self.now + self.latency - seconds)
            self._in_free[target] = start + seconds
            if left == 1:
                self.at(start + seconds, arrived)
            self._next(source)

        self.at(done, gone)


def _in_order(
    world: World, member: int, decoded: Callable[[], None], seconds: float | None = None
) -> Callable[[int], None]:
    """Return what is told of each gradient that is there: they are decoded in the order of the ranks."""
    each = world.decode if seconds is None else seconds
    there: set[int] = set()
    state = {"due": 0}

    def arrived(rank: int) -> None:
        there.add(rank)
        while state["due"] in there:
            there.remove(state["due"])
            state["due"] += 1
            world.work(member, each, decoded if state["due"] == world.ranks else lambda: None)

    return arrived


def master(world: World) -> None:
    def begin() -> None:
        collect = _in_order(world, MASTER, finish)
        for rank in range(world.ranks):
            world.send(MASTER, rank, world.weights, lambda rank=rank: received(rank, collect))  # type: ignore[misc]

    def received(rank: int, collect: Callable[[int], None]) -> None:
        world.work(rank, world.compute, lambda: world.send(rank, MASTER, world.gradient, lambda: collect(rank)))

    def finish() -> None:
        world.updates.append(world.now)
        begin()

    begin()


def all_gather(world: World) -> None:
    _peers(world, lambda rank, targets, iteration, collect: [
        world.send(rank, other, world.gradient, lambda other=other: collect(other, iteration, rank))  # type: ignore[misc]
        for other in targets
    ])  # fmt: skip


def relay(world: World) -> None:
    def pass_on(rank: int, targets: list[int], iteration: int, collect: Any) -> None:
        def at_master() -> None:
            passed[iteration].add(rank)
            while due[0][1] in passed[due[0][0]]:
                due_iteration, origin = due[0]
                due[0] = (due_iteration, origin + 1) if origin + 1 < world.ranks else (due_iteration + 1, 0)
                for other in range(world.ranks):
                    if other != origin:
                        world.send(
                            MASTER, other, world.gradient, lambda o=other, i=due_iteration, g=origin: collect(o, i, g)  # type: ignore[misc]
                        )  # fmt: skip

        world.send(rank, MASTER, world.gradient, at_master)

    passed: dict[int, set[int]] = defaultdict(set)
    due = [(0, 0)]
    _peers(world, pass_on)


def _peers(world: World, spread: Callable[[int, list[int], int, Any], Any]) -> None:
    """Let ranks that update weights of their own compute, spread and collect; rank 0 notes its updates."""
    collectors: dict[tuple[int, int], Callable[[int], None]] = {}

    def collector(rank: int, iteration: int) -> Callable[[int], None]:
        if (rank, iteration) not in collectors:
            collectors[rank, iteration] = _in_order(world, rank, lambda: finish(rank, iteration))
        return collectors[rank, iteration]

    def collect(rank: int, iteration: int, origin: int) -> None:
        collector(rank, iteration)(origin)

    def begin(rank: int, iteration: int) -> None:
        targets = [(rank + shift) % world.ranks for shift in range(1, world.ranks)]

        def computed() -> None:
            spread(rank, targets, iteration, collect)
            collect(rank, iteration, rank)

        world.work(rank, world.compute, computed)

    def finish(rank: int, iteration: int) -> None:
        if rank == 0:
            world.updates.append(world.now)
        begin(rank, iteration + 1)

    for rank in range(world.ranks):
        begin(rank, 0)


def requantize(world: World) -> None:
    def collect() -> Callable[[int], None]:
        return _in_order(world, MASTER, finish)

    def begin(rank: int) -> None:
        arrived = state["collect"]
        world.work(rank, world.compute, lambda: world.send(rank, MASTER, world.gradient, lambda: arrived(rank)))

    def finish() -> None:
        world.updates.append(world.now)
        state["collect"] = collect()
        for rank in range(world.ranks):
            world.send(
                MASTER, rank, world.gradient, lambda rank=rank: world.work(rank, world.decode, lambda: begin(rank))  # type: ignore[misc]
            )  # fmt: skip

    state = {"collect": collect()}
    for rank in range(world.ranks):
        begin(rank)


def all_reduce(world: World) -> None:
    part, decode, ranks = world.gradient / world.ranks, world.decode / world.ranks, world.ranks
    collectors: dict[tuple[str, int, int], Callable[[int], None]] = {}

    def collector(stage: str, rank: int, iteration: int) -> Callable[[int], None]:
        key = stage, rank, iteration
        if key not in collectors:
            then = added if stage == "parts" else finish
            collectors[key] = _in_order(world, rank, lambda: then(rank, iteration), decode)
        return collectors[key]

    def spread(stage: str, rank: int, iteration: int) -> None:
        for shift in range(1, ranks):
            other = (rank + shift) % ranks
            world.send(rank, other, part, lambda other=other: collector(stage, other, iteration)(rank))  # type: ignore[misc]
        collector(stage, rank, iteration)(rank)

    def added(rank: int, iteration: int) -> None:
        spread("sums", rank, iteration)

    def begin(rank: int, iteration: int) -> None:
        world.work(rank, world.compute, lambda: spread("parts", rank, iteration))

    def finish(rank: int, iteration: int) -> None:
        if rank == 0:
            world.updates.append(world.now)
        begin(rank, iteration + 1)

    for rank in range(ranks):
        begin(rank, 0)


EXCHANGES = {
    "master": master,
    "relay": relay,
    "requantize": requantize,
    "all_gather": all_gather,
    "all_reduce": all_reduce,
}


def period(exchange: str, world: World, iterations: int = 12) -> float:
    """Return the mean seconds of an iteration, once the start is forgotten."""
    EXCHANGES[exchange](world)
    world.run(lambda: len(world.updates) >= 2 * iterations)
    return (world.updates[2 * iterations - 1] - world.updates[iterations - 1]) / iterations
