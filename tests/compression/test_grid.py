"""Norms, grids, and the arrays that are read and written: nothing as large as the vector is made on the way."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import pytest
from memory import peak_memory
from numpy.typing import NDArray

from relufit.compression.base import ScratchBuffer
from relufit.compression.coding import CODINGS
from relufit.compression.grid import norms_of
from relufit.compression.qsgd import MAX_LEVELS, QSGD
from relufit.errors import PayloadError

KINDS = [np.float32, np.float64]


def gaussian(size: int, kind: type = np.float64, seed: int = 0) -> NDArray[Any]:
    return np.random.default_rng(seed).standard_normal(size).astype(kind)


# Norms.


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bucket", [1, 3, 16, 17, 100, 1000])
@pytest.mark.parametrize("size", [1, 16, 33, 99, 100, 101])
def test_every_bucket_has_the_norm_of_its_numbers(kind: type, bucket: int, size: int) -> None:
    vector = gaussian(size, kind)
    parts = [vector[i : i + bucket].tolist() for i in range(0, size, bucket)]
    norms = norms_of(vector, bucket, "max")
    assert norms.dtype == np.float64
    assert norms.tolist() == [max(map(abs, part)) for part in parts]
    np.testing.assert_allclose(norms_of(vector, bucket, "l2"), [math.hypot(*part) for part in parts], rtol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
def test_norms_are_right_at_every_magnitude(kind: type) -> None:
    tiny, largest = float(np.finfo(kind).smallest_subnormal), float(np.finfo(kind).max)
    for exponent in range(-330, 300, 7):
        scale = 10.0**exponent if exponent > -300 else math.ldexp(1, -1074)
        if not tiny <= scale <= largest / 16:
            continue
        vector = np.array([3, -4, 0, 12] * 5, kind) * kind(scale)
        exact = math.hypot(*vector.tolist())
        assert norms_of(vector, 20, "l2")[0] == pytest.approx(exact, rel=1e-14, abs=2 * math.ulp(0.0))
        assert norms_of(vector, 20, "max")[0] == max(map(abs, vector.tolist()))
    assert norms_of(np.array([0.0, -largest], kind), 2, "max").tolist() == [largest]
    assert norms_of(np.array([0.0, -tiny, 0.0], kind), 3, "max").tolist() == [tiny]
    for norm in ("l2", "max"):
        assert norms_of(np.array([0.0, -0.0, 0.0], kind), 2, norm).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("norm", ["l2", "max"])
@pytest.mark.parametrize("bad", [math.nan, -math.nan, math.inf, -math.inf])
def test_a_bucket_that_is_not_finite_has_no_finite_norm(kind: type, norm: str, bad: float) -> None:
    for index in range(40):
        vector = np.full(40, 1e-30, kind)
        vector[index] = bad
        finite = np.isfinite(norms_of(vector, 7, norm))
        assert np.flatnonzero(~finite).tolist() == [index // 7]


@pytest.mark.parametrize("largest", [5e-324, 1e-310, 1e-291, 1e-290, 1.0, 1e290, 1e291, 1.7e308])
@pytest.mark.parametrize("s", [1, 3, 16, MAX_LEVELS])
def test_the_largest_magnitude_is_exact_with_the_largest_norm(largest: float, s: int) -> None:
    vector = largest * np.array([0.5, -1.0, 0.0, 0.25, 1.0])
    compressor = QSGD(s, norm="max")
    for key in range(20):
        decoded = compressor.decode(compressor.encode(vector, key), 5)
        np.testing.assert_allclose(decoded[[1, 2, 4]], [-largest, 0, largest], rtol=1e-15, atol=0)
        slack = 1e-15 * largest + math.ulp(0.0)
        assert np.all(np.abs(decoded - vector) <= largest / s + slack)
        assert np.all(np.abs(decoded) <= largest * (1 + 1e-15))


@pytest.mark.parametrize("bucket", [None, 7, 2560, 3000])
@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("norm", ["l2", "max"])
@pytest.mark.parametrize("scale", [1.0, 2.0**-140, 2.0**120])
def test_both_precisions_give_the_same_bytes(bucket: int | None, coding: str, norm: str, scale: float) -> None:
    vector = gaussian(6000, np.float32) * np.float32(scale)
    compressor = QSGD(5, coding, bucket, norm)
    assert compressor.encode(vector, 3) == compressor.encode(vector.astype(np.float64), 3)


def test_a_bucket_of_single_precision_beyond_all_scales_gives_the_same_bytes() -> None:
    vector = np.array([1e-45, -3e-45, 0.0, 1e-40, 3e38, -1e38], np.float32)
    for s in (1, 5, MAX_LEVELS):
        for bucket in (1, 2, 6):
            one, other = (QSGD(s, bucket_size=bucket).encode(v, 1) for v in (vector, vector.astype(np.float64)))
            assert one == other


# Arrays that are given to be filled.


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("bucket", [None, 100])
def test_an_array_that_is_given_is_filled_and_returned(kind: type, coding: str, bucket: int | None) -> None:
    compressor = QSGD(16, coding, bucket)
    for vector in (gaussian(2700), np.zeros(2700)):
        payload, out = compressor.encode(vector, 1), np.full(2700, np.nan, kind)
        assert compressor.decode(payload, 2700, out=out) is out
        np.testing.assert_array_equal(out, compressor.decode(payload, 2700).astype(kind))


def test_an_array_that_cannot_be_filled_is_refused() -> None:
    payload, fixed = QSGD(4).encode(gaussian(300), 0), np.empty(300)
    fixed.flags.writeable = False
    wrong = [
        np.empty(299),
        np.empty(301),
        np.empty((300, 1)),
        np.empty((1, 300)),
        np.empty(600)[::2],
        np.empty(300)[::-1],
        np.empty((300, 2))[:, 0],
        np.empty(300, np.float16),
        np.empty(300, np.int64),
        np.empty(300, np.complex128),
        np.empty(300, ">f8"),
        fixed,
        np.empty(2401, np.uint8)[1:].view(np.float64),
    ]
    for out in wrong:
        with pytest.raises(ValueError, match="out must be contiguous"):
            QSGD(4).decode(payload, 300, out=out)


def test_numbers_beyond_single_precision_are_refused_where_that_is_asked_for() -> None:
    compressor, largest = QSGD(1, norm="max"), float(np.finfo(np.float32).max)
    for number, fits in ((largest, True), (math.nextafter(largest, math.inf), False), (1e300, False)):
        payload = compressor.encode(np.array([number, 0.0]), 0)
        assert compressor.decode(payload, 2).tolist() == [number, 0.0]
        out = np.empty(2, np.float32)
        if fits:
            assert compressor.decode(payload, 2, out=out).tolist() == [number, 0.0]
        else:
            with pytest.raises(PayloadError, match="beyond the range of float32"):
                compressor.decode(payload, 2, out=out)


@pytest.mark.parametrize("norm", ["l2", "max"])
def test_what_is_stored_as_a_norm_is_what_levels_are_multiples_of(norm: str) -> None:
    vector = gaussian(50)
    for s in (1, 4, 100):
        payload = QSGD(s, norm=norm).encode(vector, 0)
        (stored,) = struct.unpack_from("<d", payload, 4)
        levels = QSGD(s, norm=norm).decode(payload, 50) / stored * s
        np.testing.assert_allclose(levels, np.rint(levels), rtol=0, atol=1e-12)


# Memory.


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("s", [1, 16, 1000])
def test_no_more_memory_is_taken_than_for_the_result(kind: type, coding: str, s: int) -> None:
    vector, compressor, room = gaussian(10**6, kind), QSGD(s, coding), 2**16
    used, payload = peak_memory(lambda: compressor.pieces(vector, 1))
    # The room for an entropy code is made before its length is known.
    assert used <= len(payload) * (1.05 if coding == "rans" else 1) + room
    # The next one takes the place of the one before.
    scratch = ScratchBuffer()
    assert peak_memory(lambda: compressor.pieces(vector, 1, scratch))[0] <= room
    # It is read with a table of 2^16 bytes.
    room += 2**16 if coding == "rans" else 0
    used, decoded = peak_memory(lambda: compressor.decode(payload, 10**6))
    assert used <= decoded.nbytes + room
    out = np.empty(10**6, kind)
    used, _ = peak_memory(lambda: compressor.decode(payload, 10**6, out=out))
    assert used <= room


@pytest.mark.parametrize("kind", KINDS)
def test_buckets_take_the_memory_of_their_norms(kind: type) -> None:
    vector, compressor, norms = gaussian(10**6, kind), QSGD(16, bucket_size=64), 8 * 10**6 // 64
    used, payload = peak_memory(lambda: compressor.pieces(vector, 1))
    assert used <= len(payload) + 3 * norms + 2**16
    used, decoded = peak_memory(lambda: compressor.decode(payload, 10**6))
    assert used <= decoded.nbytes + norms + 2**16
