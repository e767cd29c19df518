"""Sums of payloads: in one pass or one by one, with a step along them or without, they are decoding and adding."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from relufit.compression import Compressor
from relufit.compression.base import Pieces
from relufit.compression.sums import MAX_FUSED
from relufit.errors import PayloadError
from relufit.numerics.kernels import BLOCK, squared_distance
from relufit.testing.check import Check, gaussian, same
from relufit.training.fused_sums import Descent, step_in_part, sum_and_step

_SIZES = (1, 700, BLOCK + 1301)


def check_add(compressor: Compressor) -> None:
    """`add` adds what `decode` returns, to the last bit."""
    for size in _SIZES:
        payload, total = compressor.encode(gaussian(size), 1), gaussian(size, 1)
        wanted = total + compressor.decode(payload, size)
        compressor.add(memoryview(bytearray(payload)), total, np.empty(size))
        assert same(total, wanted), f"add of {size} coordinates is not decoding and adding"


def check_sums(compressor: Compressor) -> None:
    """`sum` and a step along it equal decoding and adding one by one, to the last bit, however many are fused."""
    for size in _SIZES:
        most = compressor.max_fused_payloads(size)
        assert isinstance(most, int), f"max_fused_payloads({size}) is {most!r}"
        assert 1 <= most <= MAX_FUSED, f"max_fused_payloads({size}) is {most}, not 1 to {MAX_FUSED}"
        for count in range(most + 1):
            _check_sum(compressor, size, count)


def _check_sum(compressor: Compressor, size: int, count: int) -> None:
    payloads = _payloads(compressor, size, count)
    decoded = [compressor.decode(bytes(compressor.encode(_vector(size, k), k)), size) for k in range(count)]
    w, target, before = gaussian(size, 7), gaussian(size, 8), gaussian(size, 9)
    for fresh in (True, False):
        wanted = np.zeros(size) if fresh else before.copy()
        for vector in decoded:
            wanted = wanted + vector
        total = before.copy()
        compressor.sum(payloads, total, fresh=fresh, scratch=np.empty(size))
        assert same(total, wanted), f"the sum of {count} payloads of {size} coordinates is not that of decoded vectors"
        total, wanted = before.copy(), w - 0.25 * wanted
        squares = sum_and_step(
            compressor, payloads, total, Descent(w, 0.25, target), fresh=fresh, scratch=np.empty(size)
        )
        assert same(total, wanted), f"a step along the sum of {count} payloads is not the sum and then a step"
        assert squares == squared_distance(wanted, target), "the distance after the step is another"


def check_steps_in_parts(compressor: Compressor) -> None:
    """A step along a vector whose parts are encoded one by one is decoding all and then a step, to the last bit."""
    for size in (5, 700, 2 * BLOCK + 1301):
        ends = [0, size // 3, size // 3, size - 1, size]
        parts = [(start, stop) for start, stop in pairwise(ends) if stop > start]
        vector, w, target = gaussian(size, 3), gaussian(size, 7), gaussian(size, 8)
        payloads = [compressor.encode(vector[start:stop], 1) for start, stop in parts]
        total, squares, wanted = gaussian(size, 9), 0.0, np.zeros(size)
        for part, payload in zip(parts, payloads, strict=True):
            received = memoryview(bytearray(payload))
            squares = step_in_part(compressor, received, part, total, Descent(w, 0.25, target), squares)
            wanted[slice(*part)] += compressor.decode(payload, part[1] - part[0])
        wanted = w - 0.25 * wanted
        assert same(total, wanted), "a step along parts is not decoding and then a step"
        assert squares == squared_distance(wanted, target), "the distance after steps in parts is another"


def check_damaged_sums(compressor: Compressor) -> None:
    """An empty payload among those of a sum is refused with PayloadError."""
    size = 700
    count = compressor.max_fused_payloads(size)
    for index in range(count):
        payloads = _payloads(compressor, size, count)
        payloads[index] = b""
        try:
            compressor.sum(payloads, np.zeros(size), fresh=True, scratch=np.empty(size))
        except PayloadError:
            continue
        raise AssertionError(f"an empty payload at index {index} of {count} is added")


def _vector(size: int, number: int) -> np.ndarray:
    """Return the vector of a payload; the third is zero."""
    return np.zeros(size) if number == 2 else gaussian(size, number)


def _payloads(compressor: Compressor, size: int, count: int) -> list[Pieces]:
    """Return payloads in the shapes that they come in: bytes, memory at odd addresses, pieces."""
    made: list[Pieces] = [compressor.encode(_vector(size, number), number) for number in range(count)]
    if count > 1:
        made[1] = memoryview(b"odd" + bytes(made[1]))[3:]  # type: ignore[arg-type]
    if count > 3:
        made[3] = compressor.pieces(_vector(size, 3), 3)
    return made


CHECKS = tuple(map(Check, (check_add, check_sums, check_steps_in_parts, check_damaged_sums)))
