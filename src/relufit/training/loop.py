"""The algorithm as both engines run it: what differs between them is how a message gets across."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter
from typing import Protocol

import numpy as np

from relufit.training.master import Master
from relufit.training.rank import Contribution
from relufit.training.spec import Plan, Progress
from relufit.training.trace import Recorder, Times, Trace

_PROGRESS_SECONDS = 0.2


class Exchange(Protocol):
    """How the master reaches the ranks."""

    def moments(self) -> Iterator[bytes | memoryview]:
        """Yield each rank's part of the initial weights, in the order of the ranks."""

    def broadcast(self, iteration: int, payload: bytes) -> None:
        """Send the weights of that iteration to every rank."""

    def collect(self, rank: int, iteration: int) -> Contribution:
        """Return what a rank has computed with them; it is good until the next call."""

    def times(self) -> Times:
        """Return the seconds of the iteration that was collected last."""

    def received(self) -> dict[str, int] | None:
        """Return the bytes that the sockets counted, if there are any."""


def run(plan: Plan, w_star: np.ndarray, exchange: Exchange, progress: Progress | None = None) -> Trace:
    """Run the master of a plan until it has converged, diverged or spent its budget.

    Parameters
    ----------
    plan : Plan
    w_star : (d,) float64
        The planted weights.
    exchange : Exchange
        The way to the ranks.
    progress : callable, optional
        Told (iteration, relative error, uplink bytes) a few times a second.
    """
    master, recorder, spec = Master(plan, w_star), Recorder(plan), plan.spec
    uplink = downlink = 0
    for payload in exchange.moments():
        uplink += len(payload)
        master.add_moments(payload)
    master.begin()
    recorder.start()
    recorder.record(0, master.error, np.nan, uplink, downlink)
    told = perf_counter()
    outcome = master.outcome
    while outcome is None:
        iteration, squares, decode = master.iteration, 0.0, 0.0
        payload = master.broadcast()
        downlink += len(payload) * spec.workers
        exchange.broadcast(iteration, payload)
        for rank in range(spec.workers):
            contribution = exchange.collect(rank, iteration)
            uplink += len(contribution.payload)
            squares += contribution.squares
            began = perf_counter()
            master.add(contribution.payload)
            decode += perf_counter() - began
        began = perf_counter()
        master.update()
        outcome = master.outcome
        now = perf_counter()
        recorder.spend(exchange.times(), decode, now - began)
        if master.iteration % spec.record_every == 0 or outcome is not None:
            loss = squares / (2 * spec.batch_size)
            recorder.record(master.iteration, master.error, loss, uplink, downlink)
        if progress and now - told > _PROGRESS_SECONDS:
            told = now
            progress(master.iteration, master.error, uplink)
    return recorder.finish(master.weights, outcome, exchange.received())
