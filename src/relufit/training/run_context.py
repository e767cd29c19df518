"""What the members of a run agree on beforehand, and the messages by which they agree on the rest."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from relufit.errors import TransportError
from relufit.training.loop import Snapshot
from relufit.training.spec import Plan
from relufit.training.trace import COLUMNS, TIMINGS, Row, Seconds
from relufit.transport.connections import Network
from relufit.transport.frames import Header
from relufit.transport.greeting import run_number
from relufit.transport.link import Link
from relufit.transport.timeouts import Timeouts

_STATE = struct.Struct("<QQd?")
#: The most bytes of a message of agreement.
AGREEMENT_BYTES = 1 << 16
#: Rows of the trace that are sent together at most.
REPORTS = 64
_COLUMNS = len(COLUMNS)


def _report(*, averages: bool) -> struct.Struct:
    """Return the layout of a row, which has one more column in a run that averages."""
    return struct.Struct(f"<?Q2d2Q{averages:d}d{1 + len(TIMINGS)}d")


@dataclass(frozen=True)
class RunContext:
    """What every member of a run knows when it starts.

    Parameters
    ----------
    plan : Plan
    token : bytes
        The secret of the run, which no member ever sends.
    network : Network
    timeouts : Timeouts
    wanted : callable
        Whether the run is still wanted.
    """

    plan: Plan
    token: bytes
    network: Network
    timeouts: Timeouts
    wanted: Callable[[], bool]

    @property
    def run(self) -> int:
        """The number of the run, which every frame carries."""
        return run_number(self.token)


@dataclass(frozen=True)
class StartMessage:
    """How a round begins: all ranks are there, and know where the run is.

    Parameters
    ----------
    round : int
    master : str
        A name for who says this; ranks show it when they come back.
    iteration : int or None
        Where the run goes on; None before the initial weights.
    source : int or None
        The rank that has the state; None if it is the master.
    reporter : int or None
        The rank that reports what the trace needs, where the master does not see it.
    peers : list of (str, int)
        Where each rank receives the others.
    last_row : int
        Iteration of the last row of the trace that the master has, -1 if none.
    elapsed : float
        Seconds of the run so far.
    checkpoint : float or None
        Seconds between two states that are reported.
    residuals : bool
        Whether the master sends each rank its residuals, after the state if that comes from there.
    """

    round: int
    master: str
    iteration: int | None
    source: int | None = None
    reporter: int | None = None
    peers: tuple[tuple[str, int], ...] = ()
    last_row: int = -1
    elapsed: float = 0.0
    checkpoint: float | None = None
    residuals: bool = False

    def to_bytes(self) -> bytes:
        """Return it as a message."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, body: bytes | memoryview) -> StartMessage:
        """Return the message.

        Raises
        ------
        TransportError
            If it is none.
        """
        try:
            fields: dict[str, Any] = json.loads(bytes(body))
            fields["peers"] = tuple((str(host), int(port)) for host, port in fields["peers"])
            return cls(**fields)
        except (ValueError, TypeError, KeyError) as error:
            raise TransportError("a beginning that says nothing") from error


def pack_state(snapshot: Snapshot, *, last: bool = False) -> bytes:
    """Return the state without its trace as a message; `last` if the run has ended."""
    head = _STATE.pack(snapshot.uplink, snapshot.downlink, snapshot.first_error, last)
    vectors = (snapshot.weights, snapshot.mean, snapshot.past, snapshot.learnt)
    return head + b"".join(vector.astype("<f8").tobytes() for vector in vectors)


def state_limit(plan: Plan) -> int:
    """Return the bytes of a state."""
    return _STATE.size + 8 * (plan.d * plan.vectors + plan.learnt)


def unpack_state(header: Header, body: memoryview, plan: Plan) -> tuple[Snapshot, bool]:
    """Return a state and whether the run has ended.

    Raises
    ------
    TransportError
        If it is not one of `plan`.
    """
    if len(body) != state_limit(plan):
        raise TransportError("a state of another size")
    uplink, downlink, first_error, last = _STATE.unpack_from(body)
    numbers = np.frombuffer(body, "<f8", offset=_STATE.size).astype(np.float64)
    ends = [plan.d, plan.d * (1 + plan.averages), plan.d * plan.vectors]
    weights, mean, past, learnt = np.split(numbers, ends)
    past = past.reshape(-1, plan.d)
    state = Snapshot(header.iteration, weights, first_error, uplink, downlink, mean=mean, past=past, learnt=learnt)
    return state, last


def pack_report(row: Row, seconds: Seconds, *, recorded: bool = True) -> bytes:
    """Return a row of the trace and of the timings as a message; not `recorded` if it is only news."""
    return _report(averages=len(row) > _COLUMNS).pack(recorded, *row, *seconds[1:])


def report_limit(plan: Plan) -> int:
    """Return the most bytes of rows that are sent together, and a row of news."""
    return (REPORTS + 1) * _report(averages=plan.averages).size


def unpack_reports(body: memoryview, *, averages: bool = False) -> Iterator[tuple[bool, Row, Seconds]]:
    """Yield for each row whether it belongs to the trace, the row, and that of the timings.

    Rows of a run that `averages` have the error of the mean too.

    Raises
    ------
    TransportError
        If it is no message of reports.
    """
    columns = _COLUMNS + averages
    layout = _report(averages=averages)
    if len(body) % layout.size:
        raise TransportError("a report of another size")
    for recorded, *numbers in layout.iter_unpack(body):
        iteration, error, loss, uplink, downlink, *rest = numbers[:columns]
        yield recorded, (iteration, error, loss, uplink, downlink, *rest), (iteration, *numbers[columns:])


def close_all(links: list[Link]) -> None:
    """Close links."""
    for link in links:
        link.close()
