"""What is known of a run when it has ended: results and timings, kept apart."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from relufit.exchange import find_exchange
from relufit.training.spec import Plan

if TYPE_CHECKING:
    import pandas as pd

#: Columns of the results: the same on every engine, machine and run.
COLUMNS = ("iteration", "relative_error", "loss", "uplink_bytes", "downlink_bytes")
_WHOLE = ("iteration", "uplink_bytes", "downlink_bytes")
#: The column after them where weights are averaged.
AVERAGE = "average_error"
#: Columns of the timings, seconds.
TIMINGS = ("compute", "encode", "exchange", "wait", "decode", "update")


#: A row of the results, of `COLUMNS` and perhaps `AVERAGE`.
Row = tuple[int, float, float, int, int, *tuple[float, ...]]
#: One of the timings: the iteration, the elapsed seconds, and `TIMINGS`.
Seconds = tuple[float, ...]


class Times(NamedTuple):
    """Where the seconds of an exchange went, see `Trace.timing`."""

    compute: float
    encode: float
    exchange: float
    wait: float
    #: Of decoding gradients to a sum that is encoded again.
    decode: float = 0.0


@dataclass(frozen=True)
class Trace:
    """A run, recorded.

    Parameters
    ----------
    table : DataFrame
        Per recorded iteration: ``iteration``, the number of updates so far; ``relative_error`` after them;
        ``loss``, half the mean squared residual of the mini-batch of the last update, before it (NaN in row 0);
        ``uplink_bytes`` and ``downlink_bytes``, payload bytes since the start over all ranks. Row 0 is the
        initial weights, and its bytes are those of the initial moments. Where weights are averaged also
        ``average_error``, the relative error of their mean, NaN before that begins.
    timing : DataFrame
        Per recorded iteration: ``elapsed`` seconds since the initial weights, and in the iterations since the
        row before: ``compute`` and ``encode`` of the slowest rank (of all ranks in the serial engine, where they
        take turns), ``exchange``, the sending and receiving at the master, ``wait``, its idle time beyond the
        slowest rank's work, ``decode``, and ``update``, which has the decoding of those payloads that are added and
        applied in one pass: up to four of ``fp64``, or of levels that are ``packed``. Between ranks with a delay
        computing and encoding go on while messages travel, and the parts add up to more than ``elapsed``.
    weights : (d,) float64
        The final weights.
    summary : dict
        ``outcome`` (``"converged"``, ``"diverged"`` or ``"budget spent"``), ``iterations``, ``step_size``,
        ``step_rule``, ``omega``, ``n``, ``d``, ``weights_sha256`` and the specification.
    counted : dict, optional
        Bytes counted by the links of a distributed run, ``"rank 0 to the master"``, ``"the master to rank 0"``,
        ``"rank 0 to rank 1"``: ``payload_bytes_sent`` and ``payload_bytes_received``, ``copy_bytes_sent`` and
        ``copy_bytes_received`` of copies of residuals, ``frame_bytes_sent`` and ``frame_bytes_received`` of all, at
        the end that is named first, in the part of the run that followed the last fault;
        without the ends of a rank that was lost before it could tell, see `uncounted`.
    faults : tuple of str
        What went wrong on the way, if anything did; the results are the same.
    average : (d,) float64, optional
        The mean of the weights from `TrainingSpec.average_from` on; None where they are not averaged, or the run ended
        before. Its digest is in the summary as ``average_sha256``.
    """

    table: pd.DataFrame
    timing: pd.DataFrame
    weights: np.ndarray
    summary: dict[str, Any]
    counted: dict[str, dict[str, int]] | None = None
    faults: tuple[str, ...] = ()
    average: np.ndarray | None = None

    @property
    def uncounted(self) -> tuple[str, ...]:
        """Whose counts are not there, such as ``"rank 1"``: a rank that was lost at the end took them with it.

        Empty in the serial engine, which has no links.
        """
        if self.counted is None:
            return ()
        spec = self.summary["spec"]
        workers, links = spec["workers"], find_exchange(spec["exchange"]).links
        ranks = [f"rank {rank}" for rank in range(workers)]
        ends = [(rank, "the master") for rank in ranks] + [("the master", rank) for rank in ranks]
        ends += [(ranks[one], ranks[other]) for one in range(workers) for other in links.peers(one, workers)]
        missing = [one for one, other in ends if f"{one} to {other}" not in self.counted]
        return tuple(dict.fromkeys(missing))

    @property
    def received(self) -> dict[str, int] | None:
        """What arrived, by the count of the links: bytes of payloads up and down, of copies, and of all frames.

        None in the serial engine, and where not all ends have told their counts, see `uncounted`.
        """
        if self.counted is None or self.uncounted:
            return None
        ends: dict[str, list[dict[str, int]]] = {"up": [], "down": []}
        for name, link in self.counted.items():
            ends["down" if name.endswith(" to the master") else "up"].append(link)
        return {
            "uplink_bytes": sum(link["payload_bytes_received"] for link in ends["up"]),
            "downlink_bytes": sum(link["payload_bytes_received"] for link in ends["down"]),
            "copy_bytes": sum(link["copy_bytes_received"] for link in ends["up"]),
            "frame_bytes": sum(link["frame_bytes_received"] for link in self.counted.values()),
        }

    @property
    def outcome(self) -> str:
        """How the run ended."""
        return str(self.summary["outcome"])


class Recorder:
    """Collects the rows of a trace while a run goes on."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.rows: list[Row] = []
        self.seconds: list[Seconds] = []
        self._spent = [0.0] * len(TIMINGS)
        self._began = perf_counter()

    def start(self) -> None:
        """Begin to count the elapsed seconds."""
        self._began = perf_counter()

    def restore(self, rows: Iterable[Row], seconds: Iterable[Seconds]) -> None:
        """Go on after these rows; the seconds between then and now do not count."""
        self.rows, self.seconds = list(rows), list(seconds)
        self._began = perf_counter() - (self.seconds[-1][1] if self.seconds else 0.0)

    def lag(self, elapsed: float) -> None:
        """Count the elapsed seconds on from these."""
        self._began = perf_counter() - elapsed

    def forget(self, iteration: int) -> None:
        """Drop the rows after that iteration."""
        self.rows = [row for row in self.rows if row[0] <= iteration]
        self.seconds = self.seconds[: len(self.rows)]

    def spend(self, times: Times, decode: float, update: float) -> None:
        """Add the seconds of one iteration."""
        for part, seconds in enumerate((*times[:4], times.decode + decode, update)):
            self._spent[part] += seconds

    def record(
        self, iteration: int, error: float, loss: float, uplink: int, downlink: int, *average: float
    ) -> tuple[Row, Seconds]:
        """Add a row, and return it and that of the timings."""
        self.rows.append((iteration, error, loss, uplink, downlink, *average))
        self.seconds.append((iteration, perf_counter() - self._began, *self._spent))
        self._spent = [0.0] * len(TIMINGS)
        return self.rows[-1], self.seconds[-1]

    def _rule(self) -> str:
        """Return how the step was chosen."""
        plan, spec = self._plan, self._plan.spec
        if spec.step_size != "optimal":
            return "given"
        if spec.error_feedback:
            rule = "optimal with error feedback"
        else:
            of_sum = f", of the sum {plan.sum_omega:.6g}" if plan.sum_omega else ""
            rule = f"optimal, omega = {plan.omega:.6g}{of_sum}"
        others = [
            f"gradient {spec.gradient}" if spec.gradient != "sgd" else "",
            f"delay {spec.delay}" if spec.delay else "",
            f"{spec.local_steps} local steps" if spec.local_steps > 1 else "",
        ]
        return ", ".join([rule, *filter(None, others)])

    def finish(
        self,
        weights: np.ndarray,
        outcome: str,
        counted: dict[str, dict[str, int]] | None,
        faults: tuple[str, ...],
        mean: np.ndarray | None = None,
    ) -> Trace:
        """Return the trace; `mean` is that of the weights if there is one."""
        plan, spec = self._plan, self._plan.spec
        table = _frame((*COLUMNS, AVERAGE)[: len(self.rows[0])], self.rows)
        timing = _frame(("iteration", "elapsed", *TIMINGS), self.seconds)
        summary = {
            "outcome": outcome,
            "iterations": self.rows[-1][0],
            "step_size": plan.step,
            "step_rule": self._rule(),
            "omega": plan.omega,
            "n": plan.n,
            "d": plan.d,
            "weights_sha256": _digest(weights),
            "spec": json.loads(json.dumps(spec.describe())),
        }
        if mean is not None:
            summary["average_sha256"] = _digest(mean)
        return Trace(table, timing, weights, summary, counted, faults, mean)


def _frame(columns: Sequence[str], rows: Sequence[tuple[float, ...]]) -> pd.DataFrame:
    """Return rows as a table."""
    import pandas as pd  # which ranks and masters have no other use for

    values = zip(columns, zip(*rows, strict=True), strict=True)
    return pd.DataFrame({name: np.array(column, "i8" if name in _WHOLE else "f8") for name, column in values})


def _digest(weights: np.ndarray) -> str:
    return hashlib.sha256(weights.astype("<f8").tobytes()).hexdigest()
