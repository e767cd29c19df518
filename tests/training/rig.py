"""A run within one process whose members fail on purpose: threads in place of processes, faults at chosen moments."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from waiting import until

from relufit.errors import RelufitError, TransportError
from relufit.exchange import EXCHANGES
from relufit.planted.dataset import open_rows
from relufit.training import Timeouts, Trace, TrainingSpec
from relufit.training.checkpoint import CheckpointManager
from relufit.training.coordinator import Coordinator
from relufit.training.member import Member
from relufit.training.run_context import RunContext
from relufit.training.spec import make_plan
from relufit.transport.connections import Connection, Listener, Network
from relufit.transport.frames import HEADER_BYTES
from relufit.transport.memory import Memory
from relufit.transport.tcp import Tcp

TOKEN = bytes(range(32))
#: So that it is soon noticed who is stopped. On a busy machine others may be given up too, which no run minds.
PATIENCE = Timeouts(start=120, message=0.8, rejoin=0.4, attempts=100)
#: For runs in which nobody may be taken for lost, however busy the machine is.
CALM = Timeouts(start=300, message=120)
MASTER = -1


class Killed(BaseException):
    """The process of a member is gone."""


@dataclass
class Fault:
    """What goes wrong with one member, a rank or `MASTER`, at the n-th time that it sends, or receives."""

    kind: str
    member: int
    at: int
    fired: bool = False


#: By name, whether it happens on sending or on receiving.
FAULTS = {
    "killed before it sends": "write",
    "killed half way through a frame": "write",
    "killed while it receives": "read",
    "connection reset": "write",
    "connection reset while it receives": "read",
    "frame corrupted": "write",
    "frame sent twice": "write",
    "stopped for a while": "write",
    "ten times slower": "write",
}

#: An exchange, a member, when and what: every kind of fault of every member. The exchanges take turns, so that each
#: member meets all of them; `test_faults` combines more.
IN_TURN = [
    (list(EXCHANGES)[(i + j) % len(EXCHANGES)], member, at, kind)
    for i, kind in enumerate(FAULTS)
    for j, (member, at) in enumerate([(0, 6), (2, 31), (MASTER, 17)])
]


class FaultyConnection:
    """A connection with which things go wrong."""

    def __init__(self, inner: Connection, network: FaultyNetwork) -> None:
        self.inner, self._network = inner, network

    def write(self, parts: Sequence[memoryview]) -> int:
        """Send, unless it is time for something else."""
        kind = self._network.due("write")
        data = b"".join(parts)
        if kind == "killed before it sends":
            raise Killed
        if kind == "killed half way through a frame":
            self.inner.write([memoryview(data)[: (len(data) + HEADER_BYTES) // 2]])
            raise Killed
        if kind == "connection reset":
            self.inner.close()
            raise ConnectionResetError("by hand")
        if kind == "frame corrupted":
            self.inner.write([memoryview(data[:-1] + bytes([data[-1] ^ 4]))])
            return len(data)
        if kind == "frame sent twice":
            self.inner.write([memoryview(data)])
        if kind == "stopped for a while":
            time.sleep(2 * PATIENCE.message)
        if self._network.slow:
            time.sleep(0.005)
        return self.inner.write(parts)

    def read(self, view: memoryview, seconds: float) -> int:
        """Receive, unless it is time for something else."""
        count = self.inner.read(view, seconds)
        kind = self._network.due("read") if count else None
        if kind == "killed while it receives":
            raise Killed
        if kind == "connection reset while it receives":
            self.inner.close()
            raise ConnectionResetError("by hand")
        return count

    def wait(self, seconds: float, writing: Sequence[Self], *, reading: bool = True) -> None:
        """Wait."""
        self.inner.wait(seconds, [other.inner for other in writing], reading=reading)

    def receive_ahead(self) -> None:
        """Have the system take in more."""
        self.inner.receive_ahead()

    def ready(self) -> bool:
        """Go on with the greeting of the stream."""
        return self.inner.ready()

    def ends(self) -> tuple[str, str]:
        """Return the addresses of both ends."""
        return self.inner.ends()

    def close(self) -> None:
        """Close."""
        self.inner.close()


class _FaultyListener:
    def __init__(self, inner: Listener, network: FaultyNetwork) -> None:
        self._inner, self._network = inner, network

    @property
    def address(self) -> tuple[str, int]:
        return self._inner.address

    def accept(self, seconds: float) -> Connection | None:
        connection = self._inner.accept(seconds)
        return self._network.wrap(connection) if connection else None

    def interrupt(self) -> None:
        self._inner.interrupt()

    def close(self) -> None:
        self._inner.close()


class FaultyNetwork:
    """The network as one member sees it."""

    def __init__(self, inner: Network, member: int, faults: Sequence[Fault]) -> None:
        self._inner, self._faults = inner, [fault for fault in faults if fault.member == member]
        self._counts = {"read": 0, "write": 0}
        self.slow, self.connections = False, list[FaultyConnection]()
        self._thread = threading.get_ident()

    def due(self, what: str) -> str | None:
        """Count, and tell what is to go wrong now; the thread of a reception is left alone."""
        if threading.current_thread().name == "relufit-reception":
            return None
        self._counts[what] += 1
        for fault in self._faults:
            if not fault.fired and FAULTS[fault.kind] == what and self._counts[what] >= fault.at:
                fault.fired = True
                self.slow = self.slow or fault.kind == "ten times slower"
                return fault.kind
        return None

    def wrap(self, connection: Connection) -> FaultyConnection:
        """Return the connection with its faults."""
        self.connections.append(FaultyConnection(connection, self))
        return self.connections[-1]

    def listen(self) -> Listener:
        """Open a listener."""
        return _FaultyListener(self._inner.listen(), self)

    def connect(self, address: tuple[str, int], seconds: float) -> Connection:
        """Connect."""
        return self.wrap(self._inner.connect(address, seconds))


class Rig:
    """Runs a specification with a master and ranks in threads, and starts again who was killed, as Dask would."""

    def __init__(
        self,
        spec: TrainingSpec,
        *,
        network: Callable[[], Network] = Memory,
        faults: Sequence[Fault] = (),
        checkpoint: Path | None = None,
        timeouts: Timeouts = PATIENCE,
        respawn: bool = True,
        before: Sequence[tuple[str, int]] = (),
    ) -> None:
        """Before they are told of the master, ranks are told of the addresses `before`, in turns."""
        self._rows = open_rows(spec.dataset)
        self._plan = make_plan(spec, self._rows)
        self._network, self._faults, self._checkpoint = network(), faults, checkpoint
        self._timeouts, self._respawn = timeouts, respawn
        self._wanted, self._ended, self.lost = True, threading.Event(), list[tuple[int, str]]()
        self._served = set[int]()  # ranks of which a member was told to stop
        self._address: tuple[str, int] | None = None
        self._before = list(before)
        self.told: list[str] = []

    def run(self) -> Trace:
        """Return the trace, with what all links have counted."""
        workers = self._plan.spec.workers
        with ThreadPoolExecutor(workers + 1) as pool:
            ranks = [pool.submit(self._live, rank, self._serve) for rank in range(workers)]
            try:
                trace: Trace = self._live(MASTER, self._lead)
                self._ended.set()
                # A rank on a busy machine may still have to read that the run is over; after a fault it may never read
                # it, and is not wanted any more, as by a client.
                if not any(fault.fired for fault in self._faults):
                    until(lambda: all(rank.done() or number in self._served for number, rank in enumerate(ranks)))
            finally:
                self._wanted = False
                self._ended.set()
            return replace(trace, counted={**(trace.counted or {}), **self._counts(ranks)})

    def serve(self, rank: int, find: Callable[[], tuple[str, int] | None]) -> None:
        """Be a rank alone, which finds a master wherever `find` says."""
        network = FaultyNetwork(self._network, rank, ())
        Member(RunContext(self._plan, TOKEN, network, self._timeouts, lambda: True), rank, self._rows).serve(find)

    def _find(self) -> tuple[str, int] | None:
        with suppress(IndexError):
            return self._before.pop()
        return self._address

    def intrude(self, rank: int) -> None:
        """Claim a rank that somebody else has, until the run is over."""
        network = FaultyNetwork(self._network, rank, ())
        context = RunContext(self._plan, TOKEN, network, self._timeouts, lambda: self._wanted)
        with suppress(TransportError):
            Member(context, rank, self._rows, "intruder").serve(lambda: self._address)
            self._served.add(rank)  # in place of the other, which nobody will tell

    def _live(self, member: int, part: Callable[[int, RunContext], Any]) -> Any:
        while True:
            network = FaultyNetwork(self._network, member, self._faults)
            context = RunContext(self._plan, TOKEN, network, self._timeouts, lambda: self._wanted)
            try:
                return part(member, context)
            except Killed:
                for connection in network.connections:
                    connection.close()
                if not self._respawn:
                    return None

    def _serve(self, rank: int, context: RunContext) -> dict[str, dict[str, int]]:
        counts = Member(context, rank, self._rows, f"worker {rank}").serve(self._find)
        self._served.add(rank)
        while not self._ended.wait(0.3):  # the master was killed while it told the ranks to stop
            try:
                counts = Member(context, rank, self._rows, f"worker {rank}").serve(self._find)
            except TransportError:
                break
        return counts

    def _lead(self, _: int, context: RunContext) -> Trace:
        manager = CheckpointManager(self._checkpoint, self._plan, self._rows.digest, 0.01) if self._checkpoint else None
        leader = Coordinator(context, self._rows.w_star, manager=manager, lost=self.lost.extend, told=self.told.append)
        self._address = leader.address
        return leader.lead()

    @staticmethod
    def _counts(ranks: Sequence[Future[dict[str, dict[str, int]] | None]]) -> dict[str, dict[str, int]]:
        counts: dict[str, dict[str, int]] = {}
        for rank in ranks:
            try:
                counts |= rank.result(timeout=300) or {}
            except RelufitError:
                continue
        return counts


def tcp() -> Tcp:
    """Return sockets on loopback."""
    return Tcp("127.0.0.1")
