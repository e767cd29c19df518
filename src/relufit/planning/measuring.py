"""The costs of this machine, measured in a few seconds: medians, after every loop has been compiled."""

from __future__ import annotations

import math
import os
import platform
import statistics
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from relufit import kernels, streams
from relufit.compression import Compressor, make_compressor
from relufit.compression.coding import CODINGS
from relufit.planning.costs import Codec, Costs, Line, described
from relufit.planted import relative_error
from relufit.transport.connections import Tcp
from relufit.transport.frames import Kind
from relufit.transport.link import Link

if TYPE_CHECKING:
    from relufit.transport.connections import Connection

#: Levels over the root of the dimension at which QSGD's seconds are measured.
SIGMAS = (0.15, 0.6, 2.0)
#: Coordinates: in the first all is overhead, and the second fits into no cache, as where seconds matter. Between them,
#: where vectors fit, seconds come out a little too long.
_SMALL, _LARGE = 2**10, 2**20
#: Rows of a small batch and of a larger one.
_FEW_ROWS, _MANY_ROWS = 2, 34
_MESSAGE = 2**22
_TRIES = 7
_DEADLINE_SECONDS = 30.0
_RUN = 1


def measure(tries: int = _TRIES) -> Costs:
    """Return the costs of one core of this machine, and of its loopback.

    Rows and vectors are as an iteration has them; every number is the median of some tries. It takes a few seconds,
    and means something where nothing else runs.

    Parameters
    ----------
    tries : int
        How often each part is tried.
    """
    message, byte = _messages(tries)
    batch, row = _batch(tries)
    return Costs(
        batch=batch,
        row=row,
        update=_update(tries),
        message=message,
        byte=byte,
        codecs=tuple(_codec(compressor, size, tries) for compressor, size in _compressors()),
        machine={
            "machine": platform.machine(),
            "cores": str(os.cpu_count()),
            "python": platform.python_version(),
            "numpy": np.__version__,
        },
    )


def _median(action: Callable[[], object], tries: int) -> float:
    """Return the median seconds, after one time that does not count."""
    action()
    seconds = []
    for _ in range(tries):
        began = perf_counter()
        action()
        seconds.append(perf_counter() - began)
    return statistics.median(seconds)


def _line(seconds: list[float], few: int, many: int) -> Line:
    small, large = seconds
    each = max(0.0, (large - small) / (many - few))
    return Line(max(0.0, small - each * few), each)


def _batch(tries: int) -> tuple[Line, Line]:
    """Return the seconds of a mini-batch and of a row, half of the rows being active as they are near the solution."""
    small, large = _rows(_SMALL, 8 * _MANY_ROWS, tries), _rows(_LARGE, 2 * _MANY_ROWS, tries)
    return tuple(_line([few, many], _SMALL, _LARGE) for few, many in zip(small, large, strict=True))  # type: ignore[return-value]


def _rows(size: int, count: int, tries: int) -> tuple[float, float]:
    """Return the seconds of a batch and a row, drawn from so many: few are in a cache from one batch to the next."""
    rng = streams.generator(streams.key(0, purpose="costs"))
    x = rng.random((count, size), dtype=np.float32)
    x -= np.float32(0.5)
    w, out = rng.standard_normal(size), np.empty(size)
    y = np.maximum(x @ w, 0.0)

    def compute(rows: int) -> None:
        nonlocal out
        kernels.gradient_sum(x, y, rng.integers(count, size=rows), w, out)
        # The mean over the batch.
        out *= 0.5

    line = _line([_median(partial(compute, rows), tries) for rows in (_FEW_ROWS, _MANY_ROWS)], _FEW_ROWS, _MANY_ROWS)
    return line.start, line.each


def _update(tries: int) -> Line:
    seconds = []
    for size in (_SMALL, _LARGE):
        w, total, w_star = np.ones(size), np.ones(size), np.full(size, 2.0)

        def step(w: np.ndarray = w, total: np.ndarray = total, w_star: np.ndarray = w_star) -> None:
            kernels.descend(w, total, 0.5)
            relative_error(w, w_star)

        seconds.append(_median(step, tries))
    return _line(seconds, _SMALL, _LARGE)


def _compressors() -> Iterator[tuple[Callable[[int], Compressor], float]]:
    """Yield ways to make a compressor for a size, and its levels over the root of the size."""
    for name in ("fp64", "fp32", "fp16"):
        yield lambda size, name=name: make_compressor(name), 0.0  # type: ignore[misc]
    for coding in CODINGS:
        for name in ("ternary", "natural"):
            yield lambda size, name=name, coding=coding: make_compressor(name, coding=coding), 0.0  # type: ignore[misc]
        for sigma in SIGMAS:
            yield (
                (
                    lambda size, sigma=sigma, coding=coding: make_compressor(  # type: ignore[misc]
                        "qsgd", levels=max(1, round(sigma * math.sqrt(size))), coding=coding
                    )
                ),
                sigma,
            )


def _codec(make: Callable[[int], Compressor], sigma: float, tries: int) -> Codec:
    spent: dict[str, list[float]] = {"encode": [], "decode": []}
    for size in (_SMALL, _LARGE):
        vector = streams.generator(streams.key(0, purpose="costs")).standard_normal(size)
        compressor, out, total = make(size), np.empty(size), np.zeros(size)
        payload = compressor.encode(vector, 0)
        # As at a rank, the payload before is still there.
        kept = [payload]

        def make_payload(its: Compressor = compressor, given: np.ndarray = vector, kept: list[bytes] = kept) -> None:
            kept[0] = its.encode(given, 0)

        spent["encode"].append(_median(make_payload, tries))

        def add(
            its: Compressor = compressor, given: bytes = payload, out: np.ndarray = out, total: np.ndarray = total
        ) -> None:
            total += its.decode(given, out.size, out=out)

        spent["decode"].append(_median(add, tries))
    name, coding, _ = described(make(_LARGE), _LARGE)
    lines = {part: _line(seconds, _SMALL, _LARGE) for part, seconds in spent.items()}
    return Codec(name, coding, sigma, lines["encode"], lines["decode"])


def _messages(tries: int) -> tuple[float, float]:
    """Return half the round trip of an empty frame over loopback, and what each byte adds, between two threads."""
    with _echo() as link:

        def trip(body: bytes) -> None:
            link.send(Kind.GRADIENT, body)
            link.receive(Kind.GRADIENT, limit=_MESSAGE)

        empty = _median(lambda: trip(b""), 30 * tries) / 2
        body = bytes(_MESSAGE)
        full = _median(lambda: trip(body), tries) / 2
        link.send(Kind.STOP)
    return empty, max(0.0, full - empty) / _MESSAGE


@contextmanager
def _echo() -> Iterator[Link]:
    """Yield a link to somebody who sends back what comes."""
    network = Tcp("127.0.0.1")
    door = network.listen()
    ends: list[Connection] = []

    def answer() -> None:
        connection = door.accept(_DEADLINE_SECONDS)
        if connection is None:
            return
        link = _link(connection)
        try:
            while True:
                header, body = link.receive(Kind.GRADIENT, Kind.STOP, limit=_MESSAGE)
                if header.kind is Kind.STOP:
                    return
                link.send(Kind.GRADIENT, body)
        finally:
            link.close()

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    try:
        ends.append(network.connect(door.address, _DEADLINE_SECONDS))
        yield _link(ends[0])
    finally:
        for end in ends:
            end.close()
        thread.join(_DEADLINE_SECONDS)
        door.close()


def _link(connection: Connection) -> Link:
    return Link(connection, _RUN, "this machine", deadline=_DEADLINE_SECONDS, wanted=lambda: True)
