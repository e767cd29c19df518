"""The costs of this machine, measured in half a minute: medians, after every loop has been compiled.

A part is timed as a member of a run has it: after a pause, in which the processor has gone to sleep and others have
used its caches, because members wait for the network between their parts. In a loop without pauses the same takes half
of the time, or less where vectors are short.
"""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Callable, Iterator
from functools import partial
from time import perf_counter, sleep

import numpy as np

from relufit import streams
from relufit.compression import Compressor, compressor_classes
from relufit.compression.base import ScratchBuffer, joined
from relufit.numerics import kernels
from relufit.planning import concurrent_processes
from relufit.planning.costs import Codec, Costs, Curve, combined
from relufit.planning.loopback_probe import messages
from relufit.transport.frames import body_digest

#: Levels over the root of the dimension at which QSGD's seconds are measured.
SIGMAS = (0.15, 0.6, 2.0)
#: Coordinates: in the first all is overhead, the second fits into a cache, and the third fits into none.
SIZES = (2**10, 2**17, 2**20)
#: Rows of a small batch and of a larger one, and of how many they are drawn: more than fit into a cache.
_FEW_ROWS, _MANY_ROWS, _ROWS = 2, 34, 68
#: Rounds through all parts, and tries of a part in each round. Another program that runs for some seconds slows down
#: one round, which the median leaves out.
_ROUNDS, _TRIES = 3, 2
#: Seconds: as half a megabyte takes at 1 Gbit/s. Longer ones hardly make a difference.
_PAUSE_SECONDS = 5e-3

#: What comes before each try.
Pause = Callable[[], None]


def measure(tries: int = _TRIES, *, at_once: int = 1, rounds: int = _ROUNDS) -> Costs:
    """Return the costs of one core of this machine, and of its loopback.

    Rows and vectors are as an iteration has them; every number is the median over some rounds of the median of some
    tries. It means something where nothing else runs.

    Parameters
    ----------
    tries : int
        How often each part is tried in a round.
    at_once : int
        So many processes measure the same at the same time, and the costs are their means: those of ranks that share a
        machine, its memory and, where they are more than there are, its processors. The calling program is imported
        again in each, as by `multiprocessing`.
    rounds : int
        How often all parts are measured, one after the other.

    Raises
    ------
    ClusterError
        If one of the processes ends early.
    """
    if at_once > 1:
        of_processes = concurrent_processes.run(partial(_rounds_of, tries, rounds), at_once)
    else:
        of_processes = [_rounds_of(tries, rounds, lambda: None)]
    of_rounds = [combined(processes, statistics.fmean) for processes in zip(*of_processes, strict=True)]
    return combined(of_rounds, statistics.median)


def _rounds_of(tries: int, rounds: int, meet: Pause) -> list[Costs]:
    return [_measure(tries, meet) for _ in range(rounds)]


def _measure(tries: int, meet: Pause) -> Costs:
    """Return the costs; `meet` is called before each try, after its pause."""

    def pause() -> None:
        sleep(_PAUSE_SECONDS)
        meet()

    message, byte = messages(tries, meet)
    batch, row = _batch(tries, pause)
    return Costs(
        batch=batch,
        row=row,
        update=_update(tries, pause),
        message=message,
        byte=byte,
        codecs=tuple(_codec(make, sigma, tries, pause) for sigma, make in _families()),
        machine={
            "machine": platform.machine(),
            "cores": str(os.cpu_count()),
            "python": platform.python_version(),
            "numpy": np.__version__,
        },
    )


def _median(action: Callable[[], object], tries: int, before: Callable[[], object]) -> float:
    """Return the median seconds, each after what comes `before`, after one time that does not count."""
    seconds = []
    for _ in range(tries + 1):
        before()
        began = perf_counter()
        action()
        seconds.append(perf_counter() - began)
    return statistics.median(seconds[1:])


def _batch(tries: int, pause: Pause) -> tuple[Curve, Curve]:
    """Return the seconds of a mini-batch and of a row, half of the rows being active as they are near the solution."""
    batch, row = zip(*(_rows(size, tries, pause) for size in SIZES), strict=True)
    return Curve(SIZES, batch), Curve(SIZES, row)


def _rows(size: int, tries: int, pause: Pause) -> tuple[float, float]:
    """Return the seconds of a batch and a row."""
    rng = streams.generator(streams.key(0, purpose="costs"))
    x = rng.random((_ROWS, size), dtype=np.float32)
    x -= np.float32(0.5)
    w, out = rng.standard_normal(size), np.empty(size)
    y = np.maximum(x @ w, 0.0)

    def compute(rows: int) -> None:
        kernels.gradient_sum(x, y, rng.integers(_ROWS, size=rows), w, 0.5, out)

    few, many = (_median(partial(compute, rows), tries, pause) for rows in (_FEW_ROWS, _MANY_ROWS))
    each = max(0.0, (many - few) / (_MANY_ROWS - _FEW_ROWS))
    return max(0.0, few - each * _FEW_ROWS), each


def _update(tries: int, pause: Pause) -> Curve:
    """Return the seconds of an update, which follows the decoding of a gradient."""
    seconds = []
    for size in SIZES:
        w, total, w_star, gradient = np.ones(size), np.ones(size), np.full(size, 2.0), np.ones(size)

        def decode(total: np.ndarray = total, gradient: np.ndarray = gradient) -> None:
            pause()
            np.add(total, gradient, out=total)

        def step(w: np.ndarray = w, total: np.ndarray = total, w_star: np.ndarray = w_star) -> None:
            kernels.descend_towards(w, total, 0.5, w_star, total)

        seconds.append(_median(step, tries, decode))
    return Curve(SIZES, tuple(seconds))


def _families() -> Iterator[tuple[float, Callable[[int], Compressor]]]:
    """Yield the levels over the root of the size, and a maker of compressors with these, of what plans choose from."""
    for compressor in compressor_classes():
        for sigma, make in compressor.family(SIGMAS):
            # One that is neither unbiased nor states what it keeps of a vector has no predicted iterations.
            if make(SIZES[0]).encoding(SIZES[0]) is not None:
                yield sigma, make


def _codec(make: Callable[[int], Compressor], sigma: float, tries: int, pause: Pause) -> Codec:
    encode, decode = zip(*(_coded(make(size), size, tries, pause) for size in SIZES), strict=True)
    longest = make(SIZES[-1])
    return Codec(longest.name, longest.coding_name(SIZES[-1]), sigma, Curve(SIZES, encode), Curve(SIZES, decode))


def _coded(compressor: Compressor, size: int, tries: int, pause: Pause) -> tuple[float, float]:
    """Return the seconds to encode a gradient that was just computed, and to add one whose payload has just come.

    Where one pass adds several payloads, it is one's part of that.
    """
    vector = streams.generator(streams.key(0, purpose="costs")).standard_normal(size)
    scratch, total, buffer, energy = np.empty(size), np.zeros(size), ScratchBuffer(), kernels.energy(vector)
    sent = bytes(joined(compressor.pieces(vector, 0)))
    received = [memoryview(bytearray(len(sent))) for _ in range(compressor.max_fused_payloads(size))]

    def compute() -> None:
        pause()
        np.negative(vector, out=vector)

    def encode() -> None:
        body_digest(compressor.pieces(vector, 0, buffer, energy))

    def receive() -> None:
        pause()
        for payload in received:
            payload[:] = sent
            body_digest(payload)

    def decode() -> None:
        compressor.sum(received, total, fresh=False, scratch=scratch)

    return _median(encode, tries, compute), _median(decode, tries, receive) / len(received)
