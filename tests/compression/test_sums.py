"""Payloads that are added in one pass, against the same added one after the other, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from references import Case, every_compressor

from relufit.compression import Compressor, make_compressor
from relufit.compression.base import Pieces
from relufit.compression.sums import MAX_FUSED
from relufit.errors import PayloadError
from relufit.numerics import kernels
from relufit.numerics.kernels import BLOCK
from relufit.training.fused_sums import Descent, sum_and_step

Array = NDArray[np.float64]
FUSED: list[Compressor] = [
    *map(make_compressor, ("fp64", "fp32", "fp16")),
    make_compressor("ternary"),
    *(make_compressor("qsgd", levels=levels) for levels in (1, 2, 16, 1000)),
    make_compressor("qsgd", levels=5, bucket_size=700),
    make_compressor("qsgd", levels=3, norm="max", coding="auto"),
]


def gaussian(size: int, seed: int) -> Array:
    return np.random.default_rng(seed).standard_normal(size)


def payloads_of(compressor: Compressor, size: int, count: int) -> list[Pieces]:
    """Payloads in all shapes that they come in: bytes, memory that may be written, memory at odd places, pieces."""
    made: list[Pieces] = [compressor.encode(gaussian(size, seed), seed) for seed in range(count)]
    if count > 1:
        made[1] = memoryview(bytearray(bytes(made[1])))  # type: ignore[arg-type]
    if count > 2:
        made[2] = memoryview(b"odd" + bytes(made[2]))[3:]  # type: ignore[arg-type]
    if count > 3:
        made[3] = compressor.pieces(gaussian(size, 3), 3)
    return made


def one_by_one(compressor: Compressor, size: int, count: int, total: Array) -> Array:
    for seed in range(count):
        total = total + compressor.decode(compressor.encode(gaussian(size, seed), seed), size)
    return total


@pytest.mark.parametrize("size", [1, 700, BLOCK, 2 * BLOCK + 1301])
@pytest.mark.parametrize("compressor", FUSED, ids=str)
def test_a_sum_in_one_pass_is_that_of_payloads_one_by_one(compressor: Compressor, size: int) -> None:
    count = compressor.max_fused_payloads(size)
    for number in range(1, count + 1):
        payloads, before = payloads_of(compressor, size, number), gaussian(size, 9)
        for fresh in (True, False):
            start = np.zeros(size) if fresh else before
            wanted, total = one_by_one(compressor, size, number, start), before.copy()
            compressor.sum(payloads, total, fresh=fresh, scratch=np.empty(size))
            assert total.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("size", [1, 700, 2 * BLOCK + 1301])
@pytest.mark.parametrize("case", every_compressor(), ids=str)
def test_a_step_along_the_sum_is_the_sum_and_then_a_step(case: Case, size: int) -> None:
    compressor = case.compressor
    w, target, before = gaussian(size, 7), gaussian(size, 8), gaussian(size, 9)
    for number in sorted({1, compressor.max_fused_payloads(size)}):
        for fresh in (True, False):
            start = np.zeros(size) if fresh else before
            wanted = w - 0.25 * one_by_one(compressor, size, number, start)
            total, kept = before.copy(), w.copy()
            squares = sum_and_step(
                compressor,
                payloads_of(compressor, size, number),
                total,
                Descent(w, 0.25, target),
                fresh=fresh,
                scratch=np.empty(size),
            )
            assert total.tobytes() == wanted.tobytes()
            assert squares == kernels.squared_distance(wanted, target)
            assert w.tobytes() == kept.tobytes()


def test_what_can_be_read_from_any_block_on_is_added_in_one_pass() -> None:
    for fused in (*map(make_compressor, ("fp64", "fp32", "fp16")), make_compressor("qsgd", levels=4)):
        assert fused.max_fused_payloads(100) == MAX_FUSED
    for other in (
        make_compressor("qsgd", levels=4, coding="rans"),
        make_compressor("natural"),
    ):
        assert other.max_fused_payloads(100) == 1


@pytest.mark.parametrize("compressor", FUSED, ids=str)
def test_vectors_of_zeros_count_as_zeros(compressor: Compressor) -> None:
    size, w, target = 3000, gaussian(3000, 7), gaussian(3000, 8)
    nothing, some = compressor.encode(np.zeros(size), 0), compressor.encode(gaussian(size, 0), 0)
    for payloads, wanted in (
        ([nothing, nothing], np.zeros(size)),
        ([nothing, some], compressor.decode(some, size)),
        ([some, nothing], compressor.decode(some, size)),
    ):
        total = gaussian(size, 9)
        compressor.sum(payloads, total, fresh=True, scratch=np.empty(size))
        np.testing.assert_array_equal(total, wanted)
        descent = Descent(w, 0.5, target)
        sum_and_step(compressor, payloads, total, descent, fresh=True, scratch=np.empty(size))
        np.testing.assert_array_equal(total, w - 0.5 * wanted)


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("compressor", FUSED, ids=str)
def test_a_damaged_payload_among_others_is_refused_and_the_weights_are_as_before(
    compressor: Compressor, place: int, descending: bool
) -> None:
    size = BLOCK + 3000
    payloads = [bytes(compressor.encode(gaussian(size, seed), seed)) for seed in range(3)]
    # All bits set: no number, or a level beyond all levels, or bits after the last.
    damaged = payloads[place][:-16] + b"\xff" * 16
    w, total = gaussian(size, 7), np.zeros(size)
    kept, descent, scratch = w.copy(), Descent(w, 0.5, np.zeros(size)), np.empty(size)
    for wrong in (damaged, payloads[place][:-1], payloads[place] + b"\0", b""):
        received = [*payloads[:place], wrong, *payloads[place + 1 :]]
        with pytest.raises(PayloadError):
            if descending:
                sum_and_step(compressor, received, total, descent, fresh=True, scratch=scratch)
            else:
                compressor.sum(received, total, fresh=True, scratch=scratch)
        assert w.tobytes() == kept.tobytes()
