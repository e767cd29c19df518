"""Damaged payloads: each is refused with PayloadError or decoded to a finite vector, and takes little memory."""

from __future__ import annotations

import random
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from relufit.compression import Compressor
from relufit.errors import PayloadError
from relufit.testing.check import Check, gaussian

_SIZES = (1, 5, 100, 700)
_SEED, _COUNT = 1, 60
#: Bytes that decoding may allocate: for each coordinate, and for tables whatever the size.
PEAK = (64, 2**17)
#: Calls at most whose memory is measured, of which the least counts.
REPEATS = 10


def damaged(compressor: Compressor) -> Iterator[tuple[str, bytes, int]]:
    """Yield what was done to a payload, its bytes, and the size that it is decoded with."""
    rng = random.Random(_SEED)
    for size in _SIZES:
        for vector in (gaussian(size), np.zeros(size), np.full(size, 0.5)):
            payload = compressor.encode(vector, 1)
            yield "no bytes", b"", size
            for length in {0, 1, 4, len(payload) // 2, len(payload) - 8, len(payload) - 1}:
                yield f"truncated to {length} bytes", payload[: max(0, length)], size
            for more in (b"\0", b"\xff" * 8, payload):
                yield f"extended by {len(more)} bytes", payload + more, size
            for other in (1, size + 1, max(1, size - 1), 3000):
                yield f"a payload of {size} coordinates decoded with the size {other}", payload, other
            for _ in range(_COUNT):
                yield "damaged", _broken(payload, rng), size


def _broken(payload: bytes, rng: random.Random) -> bytes:
    """Return a payload with flipped bits, runs of one byte, or random bytes."""
    made = bytearray(payload)
    way = rng.randrange(4)
    start = rng.randrange(len(made) + 1)
    if way == 0 and made:
        for _ in range(rng.choice((1, 1, 1, 4))):
            made[rng.randrange(len(made))] ^= 1 << rng.randrange(8)
    elif way == 1:
        count = min(rng.choice((1, 2, 4, 8, 64)), len(made) - start)
        made[start : start + count] = rng.choice((b"\0", b"\xff", b"\x80", b"\x7f")) * count
    elif way == 2:
        made[start:] = rng.randbytes(len(made) - start)
    else:
        made[:] = rng.randbytes(rng.choice((1, 3, 4, 5, 13, 40, 300)))
    return bytes(made)


def check_damaged_payloads(compressor: Compressor) -> None:
    """Damaged payloads are refused with PayloadError or decoded to finite vectors."""
    for what, payload, size in damaged(compressor):
        _try(compressor, what, payload, size)


def check_memory(compressor: Compressor) -> None:
    """Decoding, of damaged payloads as well, allocates memory in proportion to the size, whatever they declare."""
    for number, (what, payload, size) in enumerate(damaged(compressor)):
        if number % 7:
            continue
        allowed = PEAK[0] * size + PEAK[1]
        peak = peak_memory(partial(_try, compressor, what, payload, size), allowed)
        assert peak <= allowed, f"{peak} bytes of memory for {size} coordinates of {_named(what, payload)}"


def peak_memory(function: Callable[[], object], allowed: int) -> int:
    """Return the most bytes that a call of `function` had in use at a time.

    The allocations of other threads are counted too. Where there were more than `allowed`, the function is therefore
    called again, up to `REPEATS` times in all, and the least result holds: what the function allocates is in each.
    """
    least = sys.maxsize
    for _ in range(REPEATS):
        tracemalloc.start()
        try:
            function()
            least = min(least, tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        if least <= allowed:
            break
    return least


def _try(compressor: Compressor, what: str, payload: bytes, size: int) -> None:
    try:
        vector = compressor.decode(payload, size)
    except PayloadError:
        return
    except Exception as error:
        raise AssertionError(
            f"{type(error).__name__} ({error}), not PayloadError, for {_named(what, payload)}"
        ) from error
    assert isinstance(vector, np.ndarray), f"{type(vector).__name__} is decoded from {_named(what, payload)}"
    assert vector.shape == (size,), f"the shape {vector.shape} is decoded from {_named(what, payload)}"
    assert vector.dtype == np.float64, f"{vector.dtype} is decoded from {_named(what, payload)}"
    assert np.isfinite(vector).all(), f"numbers that are not finite are decoded from {_named(what, payload)}"


def _named(what: str, payload: bytes) -> str:
    return f"a payload, {what}, of {len(payload)} bytes: {payload[:64].hex() or '(empty)'}"


CHECKS = tuple(map(Check, (check_damaged_payloads, check_memory)))
