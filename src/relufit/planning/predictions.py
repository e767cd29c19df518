"""What a run will take: iterations from the theory of SGD on fixed data, times the seconds of one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from relufit import theory
from relufit.compression import Compressor
from relufit.compression.cast import Float64
from relufit.errors import ConfigError
from relufit.exchange import Exchange, find_exchange
from relufit.planning.costs import FEEDBACK, Costs, kind, vector_bytes
from relufit.planning.problem import Host, Problem
from relufit.theory.network import FRAME_BYTES, Iteration, Work

if TYPE_CHECKING:
    import pandas as pd

#: Vectors of d float64 that a member holds: weights, sum, part, gradient, target, and two in passing.
_VECTORS = 7
#: Those of a residual, before an iteration and after it.
_RESIDUALS = 2
#: An instance is paid for at least so long.
_LEAST_SECONDS = 60.0
_EXACT = Float64()
#: Mini-batches of runs with error feedback, over the dimension.
_FEEDBACK_BATCH = 0.2


@dataclass(frozen=True)
class Prediction:
    """What a run takes.

    Parameters
    ----------
    exchange, compressor, coding : str
    levels : int
        s of QSGD, 0 elsewhere.
    workers, mini_batch : int
        K, and m over all ranks.
    error_feedback : bool
        Whether what an encoding leaves out is added to the next one.
    omega : float
        Variance of the compressor; NaN with error feedback.
    payload : float
        Bytes of a gradient, expected; of all of its parts where the exchange cuts it into some.
    iterations : float
        To the tolerance, infinite where it is not reached.
    iteration, at_least : float
        Seconds of an iteration, the upper and the lower bound.
    compute, encode, decode, update, messages, latency, link : float
        What the upper bound consists of.
    start : float
        Seconds of the initial weights: a pass over the shard and an exchange of fp64 vectors.
    seconds : float
        Of the whole run, by the upper bound.
    uplink, downlink : float
        Payload bytes over all ranks, of the iterations. Copies of residuals, with error feedback one percent more by
        default, are not in them.
    hosts : int
        Ranks, and a master where there is one.
    dollars : float
        NaN where the price is not known.
    vectors, shard : float
        Bytes of memory that a member needs beside its rows, and of a rank's rows.
    fits : bool
        Whether the vectors fit into a host's memory; True where that is not known.
    shard_fits : bool
        Whether the rows do as well.
    """

    exchange: str
    compressor: str
    coding: str
    levels: int
    error_feedback: bool
    workers: int
    mini_batch: int
    omega: float
    payload: float
    iterations: float
    iteration: float
    at_least: float
    compute: float
    encode: float
    decode: float
    update: float
    messages: float
    latency: float
    link: float
    start: float
    seconds: float
    uplink: float
    downlink: float
    hosts: int
    dollars: float
    vectors: float
    shard: float
    fits: bool
    shard_fits: bool


def predict(
    problem: Problem,
    host: Host,
    costs: Costs,
    exchange: str,
    compressor: Compressor,
    workers: int,
    mini_batch: int,
    *,
    error_feedback: bool = False,
) -> Prediction:
    """Return what a run takes, at the optimal step with its compressor's omega, drawn with replacement.

    Iterations are those of `relufit.theory.iterations_fixed`, with error feedback of
    `relufit.theory.iterations_feedback`; the seconds of one are the upper bound of
    `relufit.exchange.Exchange.iteration`, which is what links shared evenly come to. The costs are of one core of the
    machine where they were measured, taken for the hosts' as well. What is not in it: starting hosts, loading data,
    TLS, memory bandwidth that hosts share.

    Raises
    ------
    ConfigError
        If there are fewer samples in a batch than ranks; if the compressor is biased, and there is no error feedback;
        or if there is, and nothing is known of the compressor with it, or of a batch as large as that.
    DataError
        If there are no costs of the compressor.
    """
    return Way(problem, host, costs, exchange, compressor, workers, error_feedback=error_feedback).predict(mini_batch)


def largest_batch(dimension: int) -> int:
    """Return the largest mini-batch for which iterations with error feedback are predicted.

    Where m is near d, the recursion of second moments fails, see `relufit.theory.feedback_rate`; up to here it was
    within 3 % of runs with d = 1000, K = 8. At twice this, signs by all_reduce left 4 of 60 runs behind for good: a
    coordinate moves by the mean magnitude of its part, which falls faster than one that lags behind can follow.
    """
    return int(_FEEDBACK_BATCH * dimension)


def iterations_by_batch(
    problem: Problem, exchange: Exchange, compressor: Compressor, workers: int, *, error_feedback: bool = False
) -> tuple[float, Callable[[int], float]]:
    """Return a compressor's omega, NaN with error feedback, and the iterations by the mini-batch.

    With error feedback these raise ConfigError for mini-batches above `largest_batch`.

    Raises
    ------
    ConfigError
        If no iterations are predicted: the compressor is biased and there is no error feedback, or it does not state
        what it keeps of a vector.
    """
    d, ratio, tolerance = problem.dimension, problem.ratio, problem.tolerance
    if not error_feedback:
        omega, sum_omega = exchange.variances(compressor.variance, d, workers)
        if omega is None:
            what = f"{compressor.name} is biased: without error feedback no iterations are predicted"
            raise ConfigError(what, where="compressor", remedy="choose an unbiased one")
        variances: dict[str, Any] = {"omega": omega, "workers": workers, "sum_omega": sum_omega}
        return omega, lambda m: theory.iterations_fixed(d, m, ratio, tolerance, **variances)
    gradients, total = exchange.encodings(compressor.encoding, d, workers)
    if gradients is None:
        what = f"{compressor.name} does not state how much of a vector it keeps, which iterations follow from"
        raise ConfigError(what, where="compressor", remedy="choose another one")
    encodings: dict[str, Any] = {"delta": gradients, "workers": workers, "sum_delta": total}

    def with_feedback(m: int) -> float:
        if m > largest_batch(d):
            what = f"{m} samples with error feedback in {d} dimensions, where no iterations are predicted"
            raise ConfigError(what, where="mini_batch", remedy=f"give {largest_batch(d)} or fewer")
        return theory.iterations_feedback(d, m, ratio, tolerance, **encodings)

    return math.nan, with_feedback


class Way:
    """A run without its mini-batch: the other arguments of `predict`.

    Whatever does not depend on the mini-batch is computed once.

    Raises
    ------
    ConfigError
        If no iterations are predicted: the compressor is biased and there is no error feedback, or it does not state
        what it keeps of a vector.
    DataError
        If there are no costs of the compressor.
    """

    def __init__(
        self,
        problem: Problem,
        host: Host,
        costs: Costs,
        exchange: str,
        compressor: Compressor,
        workers: int,
        *,
        error_feedback: bool = False,
    ) -> None:
        d, scheme = problem.dimension, find_exchange(exchange)
        self._problem, self._host, self._exchange, self._workers = problem, host, scheme, workers
        feedback = {"error_feedback": error_feedback}
        omega, self._iterations = iterations_by_batch(problem, scheme, compressor, workers, **feedback)
        self._payload = payload = vector_bytes(compressor, scheme, d, workers)
        work = work_of(costs, compressor, scheme, d, workers, 0, **feedback)
        self._work, self._row = work, costs.row(d)
        # Half of the rows have a label above zero, and only these count in the initial weights.
        rows = math.ceil(problem.rows / workers)
        first = Work(compute=rows / 2 * self._row, message=costs.message, byte=costs.byte)
        self._start = scheme.iteration(workers, theory.weights_bytes(d), d, host.network, first).upper
        self._sent, self._hosts = scheme.sent(workers), workers + scheme.has_master
        held = _VECTORS + _RESIDUALS * error_feedback
        vectors = 8.0 * d * held + scheme.waiting_payloads(workers) * (payload + FRAME_BYTES)
        shard = rows * (4.0 * d + 8)
        self._fixed: dict[str, Any] = {
            "exchange": exchange,
            "compressor": kind(compressor),
            "coding": compressor.coding_name(max(scheme.part_sizes(d, workers))),
            "levels": compressor.parameters.get("levels", 0),
            "error_feedback": error_feedback,
            "workers": workers,
            "omega": omega,
            "payload": payload,
            "start": self._start,
            "hosts": self._hosts,
            "vectors": vectors,
            "shard": shard,
            "fits": host.memory is None or vectors <= host.memory,
            "shard_fits": host.memory is None or vectors + shard <= host.memory,
        }

    def value(self, mini_batch: int, goal: str) -> float:
        """Return what a run takes of a goal, ``"seconds"``, ``"dollars"`` or ``"bytes"``, as `predict` has it.

        Raises
        ------
        ConfigError
            As `predict`.
        """
        iterations, _, seconds = self._time(mini_batch)
        if goal == "bytes":
            return sum(self._bytes(iterations))
        return seconds if goal == "seconds" else self._dollars(seconds)

    def predict(self, mini_batch: int) -> Prediction:
        """Return what a run takes with a mini-batch.

        Raises
        ------
        ConfigError
            If there are fewer samples in it than ranks, or with error feedback more than `largest_batch`.
        """
        iterations, one, seconds = self._time(mini_batch)
        uplink, downlink = self._bytes(iterations)
        return Prediction(
            mini_batch=mini_batch,
            iterations=iterations,
            iteration=one.upper,
            at_least=one.lower,
            compute=one.compute,
            encode=one.encode,
            decode=one.decode,
            update=one.update,
            messages=one.messages,
            latency=one.latency,
            link=one.link,
            seconds=seconds,
            uplink=uplink,
            downlink=downlink,
            dollars=self._dollars(seconds),
            **self._fixed,
        )

    def _time(self, mini_batch: int) -> tuple[float, Iteration, float]:
        """Return the iterations, the seconds of one, and those of all with the start."""
        workers, d = self._workers, self._problem.dimension
        if mini_batch < workers:
            what = f"{mini_batch} samples for {workers} ranks"
            raise ConfigError(what, where="mini_batch", remedy="give each rank one")
        work = replace(self._work, compute=self._work.compute + math.ceil(mini_batch / workers) * self._row)
        one = self._exchange.iteration(workers, self._payload, d, self._host.network, work)
        iterations = self._iterations(mini_batch)
        whole = math.ceil(iterations) * one.upper if iterations < math.inf else math.inf
        return iterations, one, self._start + whole

    def _bytes(self, iterations: float) -> tuple[float, float]:
        """Return the payload bytes of all iterations, up and down."""
        down = self._sent.down * self._payload + self._sent.weights * theory.weights_bytes(self._problem.dimension)
        return iterations * self._sent.up * self._payload, iterations * down

    def _dollars(self, seconds: float) -> float:
        price = self._host.price
        return math.nan if price is None else self._hosts * price * max(seconds, _LEAST_SECONDS) / 3600


def work_of(
    costs: Costs,
    compressor: Compressor,
    exchange: Exchange,
    dimension: int,
    workers: int,
    rows: int,
    *,
    error_feedback: bool = False,
) -> Work:
    """Return the seconds of the parts of an iteration of K ranks, each of which has so many rows.

    Where the exchange cuts vectors into parts, each is encoded and decoded by itself. With error feedback an encoding
    takes a decoding more, and as much as an update to add the residual and to take off what was sent.

    Raises
    ------
    DataError
        If there are no costs of the compressor.
    """
    d, exact = dimension, costs.codec(_EXACT, dimension)
    encode = decode = 0.0
    for size, count in exchange.part_sizes(d, workers).items():
        codec = costs.codec(compressor, size)
        kept = codec.decode(size) + costs.update(size) if error_feedback else 0.0
        encode, decode = encode + count * (codec.encode(size) + kept), decode + count * codec.decode(size)
    return Work(
        compute=costs.batch(d) + rows * costs.row(d),
        encode=encode,
        decode=decode,
        update=costs.update(d),
        weights=(exact.encode(d) + exact.decode(d)) / 2,
        message=costs.message,
        byte=costs.byte,
    )


def describe_row(row: Mapping[Any, Any] | pd.Series) -> str:
    """Return the compressor of a row of a plan in a word, as `relufit.planning.costs.named` reads it."""
    levels = f"s{row['levels']}" if row["levels"] else ""
    words = "-".join(part for part in (row["compressor"], levels, row["coding"]) if part)
    return words + FEEDBACK * bool(row["error_feedback"])
