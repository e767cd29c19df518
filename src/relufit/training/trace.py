"""What is known of a run when it has ended: results and timings, kept apart."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from relufit.training.spec import Plan

#: Columns of the results: the same on every engine, machine and run.
COLUMNS = ("iteration", "relative_error", "loss", "uplink_bytes", "downlink_bytes")
#: Columns of the timings, seconds.
TIMINGS = ("compute", "encode", "exchange", "wait", "decode", "update")


class Times(NamedTuple):
    """Where the seconds of an exchange went, see `Trace.timing`."""

    compute: float
    encode: float
    exchange: float
    wait: float


@dataclass(frozen=True)
class Trace:
    """A run, recorded.

    Parameters
    ----------
    table : DataFrame
        Per recorded iteration: ``iteration``, the number of updates so far; ``relative_error`` after them;
        ``loss``, half the mean squared residual of the mini-batch of the last update, before it (NaN in row 0);
        ``uplink_bytes`` and ``downlink_bytes``, payload bytes since the start over all ranks. Row 0 is the
        initial weights, and its bytes are those of the initial moments.
    timing : DataFrame
        Per recorded iteration: ``elapsed`` seconds since the initial weights, and in the iterations since the
        row before: ``compute`` and ``encode`` of the slowest rank (of all ranks in the serial engine, where they
        take turns), ``exchange``, the sending and receiving at the master, ``wait``, its idle time beyond the
        slowest rank's work, ``decode`` and ``update``.
    weights : (d,) float64
        The final weights.
    summary : dict
        ``outcome`` (``"converged"``, ``"diverged"`` or ``"budget spent"``), ``iterations``, ``step_size``,
        ``step_rule``, ``omega``, ``n``, ``d``, ``weights_sha256`` and the specification.
    received : dict, optional
        Payload and frame bytes counted by the master's sockets, where there were any.
    """

    table: pd.DataFrame
    timing: pd.DataFrame
    weights: np.ndarray
    summary: dict[str, Any]
    received: dict[str, int] | None = None

    @property
    def outcome(self) -> str:
        """How the run ended."""
        return str(self.summary["outcome"])


class Recorder:
    """Collects the rows of a trace while a run goes on."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._rows: list[tuple[float, ...]] = []
        self._times: list[tuple[float, ...]] = []
        self._spent = [0.0] * len(TIMINGS)
        self._began = perf_counter()

    def start(self) -> None:
        """Begin to count the elapsed seconds."""
        self._began = perf_counter()

    def spend(self, times: Times, decode: float, update: float) -> None:
        """Add the seconds of one iteration."""
        for part, seconds in enumerate((*times, decode, update)):
            self._spent[part] += seconds

    def record(self, iteration: int, error: float, loss: float, uplink: int, downlink: int) -> None:
        """Add a row."""
        self._rows.append((iteration, error, loss, uplink, downlink))
        self._times.append((iteration, perf_counter() - self._began, *self._spent))
        self._spent = [0.0] * len(TIMINGS)

    def finish(self, weights: np.ndarray, outcome: str, received: dict[str, int] | None) -> Trace:
        """Return the trace."""
        plan, spec = self._plan, self._plan.spec
        whole = dict.fromkeys(("iteration", "uplink_bytes", "downlink_bytes"), "int64")
        table = pd.DataFrame(self._rows, columns=list(COLUMNS)).astype(whole)
        timing = pd.DataFrame(self._times, columns=["iteration", "elapsed", *TIMINGS]).astype({"iteration": "int64"})
        summary = {
            "outcome": outcome,
            "iterations": int(table["iteration"].iloc[-1]),
            "step_size": plan.step,
            "step_rule": f"optimal, omega = {plan.omega:.6g}" if spec.step_size == "optimal" else "given",
            "omega": plan.omega,
            "n": plan.n,
            "d": plan.d,
            "weights_sha256": hashlib.sha256(weights.astype("<f8").tobytes()).hexdigest(),
            "spec": json.loads(json.dumps(spec.describe())),
        }
        return Trace(table, timing, weights, summary, received)
