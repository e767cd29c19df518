"""The algorithm as every engine and exchange runs it: what differs is how a message gets across."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import NamedTuple, Protocol

import numpy as np

from relufit.compression.base import Compressor, length_of
from relufit.exchange import find_exchange
from relufit.training.master import Master
from relufit.training.rank import Contribution
from relufit.training.spec import Plan
from relufit.training.trace import Recorder, Row, Seconds, Times, Trace

_NEWS_SECONDS = 0.2
_NEWS_KEPT = 50


class Progress(NamedTuple):
    """How far a run is.

    `uplink_bytes` and `downlink_bytes` are payload bytes since the start, `speed` is in iterations a second, and
    `left` the seconds until the tolerance or the budget is reached, at the present speed and rate of the error.
    """

    iteration: int
    relative_error: float
    uplink_bytes: int
    downlink_bytes: int
    speed: float
    left: float


ProgressCallback = Callable[[Progress], None]


class Endpoint(Protocol):
    """How a member of a run that updates weights reaches the others."""

    def moments(self) -> Iterator[bytes | memoryview]:
        """Yield each rank's part of the initial weights, in the order of the ranks."""

    def use(self, compressor: Compressor) -> None:
        """Take another compressor for what ranks of this process encode, and for sums, from the next broadcast on."""

    def broadcast(self, iteration: int, weights: np.ndarray, following: np.ndarray | None) -> int:
        """Set the ranks to work on these weights; return the payload bytes of weights that were sent for that.

        `following` are the weights of the next iteration's gradient where they are known already, good until that
        iteration has been collected: an endpoint may begin with that gradient as soon as it has sent this one.
        """

    def collect(self, index: int, iteration: int) -> Contribution:
        """Return what a rank has computed with them, or the sum of a part; it is good until the next broadcast."""

    def times(self, talked: float) -> Times:
        """Return where the seconds of an iteration went that `broadcast` and `collect` took."""

    def gather_residuals(self, iteration: int) -> None:
        """Have all residuals before an iteration at hand, if this is where they are kept."""

    def residuals(self, iteration: int) -> np.ndarray | None:
        """Return all residuals before an iteration in the order of `Residuals`, None where they are not at hand."""


@dataclass(frozen=True)
class Snapshot:
    """The state of a run between two iterations, and its trace so far.

    Parameters
    ----------
    iteration : int
    weights : (d,) float64
    first_error : float
        Relative error of the initial weights.
    uplink, downlink : int
        Payload bytes so far.
    rows, seconds : list of tuple
        The rows of the trace and of its timing.
    outcome : str or None
        How the run has ended, None while it goes on.
    residuals : (size,) float64
        With error feedback all residuals, see `relufit.training.residuals.Residuals`; empty for a run that has ended.
    mean : (d,) float64
        The mean of the weights where they are averaged, zeros before it begins; empty where they are not.
    past : (delay, d) float64
        The weights of the iterations before, see `relufit.training.delay.Delay`; empty without a delay.
    learnt : (size,) float64
        What is learnt of the compressor, see `relufit.compression.base.Learner`; empty where nothing is.
    """

    iteration: int
    weights: np.ndarray = field(repr=False)
    first_error: float
    uplink: int
    downlink: int
    rows: list[Row] = field(default_factory=list, repr=False)
    seconds: list[Seconds] = field(default_factory=list, repr=False)
    outcome: str | None = None
    residuals: np.ndarray = field(default_factory=lambda: np.empty(0), repr=False)
    mean: np.ndarray = field(default_factory=lambda: np.empty(0), repr=False)
    past: np.ndarray = field(default_factory=lambda: np.empty(0), repr=False)
    learnt: np.ndarray = field(default_factory=lambda: np.empty(0), repr=False)


class Callback:
    """What looks on while a run goes on; this one does not care."""

    def recorded(self, row: Row, seconds: Seconds) -> None:
        """Note a new row of the trace."""

    def iterated(self, run: Run) -> None:
        """Note that an iteration is over."""


class Run:
    """A run: the weights, the number of iterations, the trace; one that was interrupted goes on where it was.

    Parameters
    ----------
    plan : Plan
    w_star : (d,) float64
        The planted weights.
    snapshot : Snapshot, optional
        Where to go on.
    """

    def __init__(self, plan: Plan, w_star: np.ndarray, snapshot: Snapshot | None = None) -> None:
        self.plan, self.master, self.recorder = plan, Master(plan, w_star), Recorder(plan)
        self.uplink = self.downlink = 0
        self.begun = snapshot is not None
        #: The last state from which another process could go on: with error feedback that needs all residuals.
        self._resumable = snapshot
        self._residuals: Callable[[int], np.ndarray | None] = lambda iteration: None
        #: Whether the state is that between two iterations: an interrupt of the process may come at any moment.
        self.whole = self.begun
        exchange, ranks = find_exchange(plan.spec.exchange), plan.spec.workers
        parts = exchange.parts(plan.d, ranks)
        #: How many payloads there are to collect in an iteration.
        self._collected = ranks if parts is None else len(parts)
        # How often what is collected is sent by ranks, and by a master; and a rank's moments.
        self._copies, self._moment_copies = exchange.copies(ranks), exchange.moment_copies(ranks)
        if snapshot:
            self.master.restore(
                snapshot.iteration,
                snapshot.weights,
                snapshot.first_error,
                snapshot.outcome,
                snapshot.mean,
                snapshot.past,
                snapshot.learnt,
            )
            self.recorder.restore(snapshot.rows, snapshot.seconds)
            self.uplink, self.downlink = snapshot.uplink, snapshot.downlink

    @property
    def outcome(self) -> str | None:
        """How the run has ended, None while it goes on."""
        return self.master.outcome if self.begun else None

    def advance(self, endpoint: Endpoint, callback: Callback | None = None) -> None:
        """Go on until the run has converged, diverged or spent its budget.

        Whatever the endpoint raises leaves the run between two iterations, from where it can go on with another.
        """
        callback = callback or Callback()
        self._residuals = endpoint.residuals
        try:
            if not self.begun:
                self._initialise(endpoint, callback)
            while self.master.outcome is None:
                self._iterate(endpoint, callback)
        except BaseException:
            self.master.drop(weights=not self.begun)
            raise

    def resumable(self) -> Snapshot | None:
        """Return the last state from which another process could go on, None where that is the beginning.

        It is the present one but with error feedback, where it is that of the last iteration whose residuals are known.
        """
        if not self.plan.spec.error_feedback or self.outcome is not None:
            return self.snapshot()
        if (residuals := self._residuals(self.master.iteration)) is not None:
            self._resumable = replace(self.snapshot(), residuals=residuals)
        return self._resumable

    def snapshot(self) -> Snapshot:
        """Return the state without residuals; its vectors are copies."""
        master, recorder = self.master, self.recorder
        kept = sum(1 for row in recorder.rows if row[0] <= master.iteration)
        return Snapshot(
            master.iteration,
            master.weights.copy(),
            master.first_error,
            self.uplink,
            self.downlink,
            recorder.rows[:kept],
            recorder.seconds[:kept],
            self.outcome,
            mean=master.average.mean.copy() if master.average else np.empty(0),
            past=master.delay.past.copy() if master.delay else np.empty(0),
            learnt=master.learner.state.copy() if master.learner else np.empty(0),
        )

    def trace(self, counted: dict[str, dict[str, int]] | None = None, faults: tuple[str, ...] = ()) -> Trace:
        """Return the trace of a run that has ended."""
        assert self.outcome
        average = self.master.average
        mean = average.mean if average and average.begun(self.master.iteration) else None
        return self.recorder.finish(self.master.weights, self.outcome, counted, faults, mean)

    def row(self, loss: float) -> Row:
        """Return the row of the trace after the present iteration."""
        master = self.master
        return (master.iteration, master.error, loss, self.uplink, self.downlink, *master.average_error)

    def _initialise(self, endpoint: Endpoint, callback: Callback) -> None:
        uplink = downlink = 0
        for payload in endpoint.moments():
            uplink += len(payload) * self._moment_copies[0]
            downlink += len(payload) * self._moment_copies[1]
            self.master.add_moments(payload)
        self.master.begin()
        self.begun, self.uplink, self.downlink = True, uplink, downlink
        self.recorder.start()
        row = self.recorder.record(*self.row(np.nan))
        self.whole = True
        callback.recorded(*row)

    def _iterate(self, endpoint: Endpoint, callback: Callback) -> None:
        master, spec = self.master, self.plan.spec
        iteration, squares, talked, decode = master.iteration, 0.0, 0.0, 0.0
        collected = gradients = 0
        began = perf_counter()
        if master.learner:
            endpoint.use(master.compressor)
        downlink = endpoint.broadcast(iteration, master.gradient_weights, master.following_weights)
        for index in range(self._collected):
            payload, residuals, _, _, its_gradients = endpoint.collect(index, iteration)
            received = perf_counter()
            collected += length_of(payload)
            gradients += its_gradients
            squares += residuals
            master.add(payload)
            added = perf_counter()
            talked, decode, began = talked + received - began, decode + added - received, added
        master.prepare()
        self.whole, row = False, None
        master.commit()
        self.uplink += gradients + collected * self._copies[0]
        self.downlink += downlink + collected * self._copies[1]
        self.recorder.spend(endpoint.times(talked), decode, perf_counter() - began)
        if master.iteration % spec.record_every == 0 or master.outcome is not None:
            row = self.recorder.record(*self.row(squares / (2 * spec.batch_size)))
        self.whole = True
        if row:
            callback.recorded(*row)
        if self.plan.copies_at(master.iteration):
            endpoint.gather_residuals(master.iteration)
            self.resumable()
        callback.iterated(self)


class Reporter:
    """Tells the news of a run a few times a second.

    Parameters
    ----------
    progress : callable
        Told `ProgressCallback`.
    """

    def __init__(self, progress: ProgressCallback) -> None:
        self._progress, self._told = progress, perf_counter()
        self._before: deque[tuple[float, int, float]] = deque(maxlen=_NEWS_KEPT)

    def look(self, run: Run) -> None:
        """Tell where the run is, if it is time."""
        now = perf_counter()
        if now - self._told > _NEWS_SECONDS:
            self._told = now
            self.tell(run.plan, run.master.iteration, run.master.error, run.uplink, run.downlink)

    def tell(self, plan: Plan, iteration: int, error: float, uplink: int, downlink: int) -> None:
        """Tell this."""
        now, logarithm = perf_counter(), math.log(error) if error > 0 else -math.inf
        if self._before and iteration <= self._before[-1][1]:
            return
        then, at, before = self._before[len(self._before) // 2] if self._before else (now, iteration, logarithm)
        self._before.append((now, iteration, logarithm))
        speed = (iteration - at) / (now - then) if iteration > at else math.nan
        left = float(plan.spec.iterations - iteration)
        if plan.spec.tolerance is not None and logarithm < before:
            missing = max(0.0, logarithm - math.log(plan.spec.tolerance))
            left = min(left, missing * (iteration - at) / (before - logarithm))
        self._progress(Progress(iteration, error, uplink, downlink, speed, left / speed))
