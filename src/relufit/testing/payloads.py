"""The way to bytes and back: types, shapes, sizes, special numbers, and what is refused."""

from __future__ import annotations

import math
import statistics

import numpy as np

from relufit.compression import Compressor
from relufit.compression.base import ScratchBuffer, joined, length_of, payload_bound
from relufit.errors import PayloadError
from relufit.numerics.kernels import energy
from relufit.testing.check import SIZES, Check, gaussian, is_random, neighbours, same, sent

_TINY, _HUGE = math.ulp(0.0), np.finfo(np.float64).max


def check_bytes(compressor: Compressor) -> None:
    """`encode` returns bytes, not more than are received, for vectors in both precisions."""
    for size in SIZES:
        for vector in (gaussian(size), gaussian(size).astype(np.float32)):
            payload = compressor.encode(vector, 1)
            assert type(payload) is bytes, f"encode returns {type(payload).__name__}"
            most = payload_bound(size)
            assert len(payload) <= most, f"{len(payload)} bytes for {size} coordinates are more than {most}"


def check_decoded(compressor: Compressor) -> None:
    """`decode` returns a new vector of finite float64 of the right shape, from bytes and from any memory."""
    for size in SIZES:
        payload = compressor.encode(gaussian(size), 1)
        odd = memoryview(bytearray(b"odd" + payload))[3:]
        decoded = [compressor.decode(memory, size) for memory in (payload, memoryview(payload), odd)]
        for vector in decoded:
            _check_vector(vector, size)
            assert same(vector, decoded[0]), "the same bytes elsewhere in memory are decoded to something else"
        assert bytes(odd) == payload, "decode changes the payload"
        decoded[0][:] = 0
        assert same(compressor.decode(payload, size), decoded[1]), "a decoded vector belongs to the compressor"


def check_out(compressor: Compressor) -> None:
    """`decode` fills and returns `out`, in both precisions, and refuses an `out` that does not fit."""
    size = 300
    payload = compressor.encode(gaussian(size), 1)
    decoded = compressor.decode(payload, size)
    for dtype in (np.float64, np.float32):
        out = np.full(size, np.nan, dtype)
        assert compressor.decode(payload, size, out=out) is out, "decode does not return `out`"
        assert same(out, decoded.astype(dtype)), f"`out` in {dtype.__name__} is not what is decoded without"
    for wrong in (np.empty(size + 1), np.empty(size, np.int64), np.empty(2 * size)[::2]):
        try:
            compressor.decode(payload, size, out=wrong)
        except ValueError:
            continue
        raise AssertionError(f"an `out` of shape {wrong.shape}, {wrong.dtype}, strides {wrong.strides} is accepted")


def check_input_is_kept(compressor: Compressor) -> None:
    """`encode` leaves its vector as it is, and takes one that is not contiguous."""
    vector = gaussian(301)
    before = vector.tobytes()
    payload = compressor.encode(vector, 1)
    assert vector.tobytes() == before, "encode changes the vector"
    apart = np.repeat(vector, 2)[::2]
    assert compressor.encode(apart, 1) == payload, "a vector that is not contiguous has another payload"


def check_zeros(compressor: Compressor) -> None:
    """A vector of zeros is decoded to zeros."""
    for size in SIZES:
        for zero in (0.0, -0.0):
            assert not sent(compressor, np.full(size, zero), 1).any(), f"{size} zeros are decoded to something else"


def check_extremes(compressor: Compressor) -> None:
    """Numbers at the ends of float64 and float32 are refused or decoded to finite numbers."""
    small, large = float(np.finfo(np.float32).smallest_subnormal), float(np.finfo(np.float32).max)
    for numbers in (
        [_HUGE],
        [_TINY],
        [_HUGE, _TINY, 1.0, -1.0],
        [_HUGE / 4] * 7,
        [small, large],
        [-0.0, 1e-310, -1e300],
    ):
        for size in (1, 40):
            vector = np.resize(np.array(numbers), size)
            for given in (vector, _single(vector)):
                try:
                    payload = compressor.encode(given, 1)
                except PayloadError:
                    continue
                _check_vector(compressor.decode(payload, size), size)


def check_not_finite(compressor: Compressor) -> None:
    """NaN and infinity, wherever they are, are refused with PayloadError."""
    for size in (1, 5, 300):
        for index in {0, size // 2, size - 1}:
            for value in (math.nan, math.inf, -math.inf):
                for dtype in (np.float64, np.float32):
                    vector = gaussian(size).astype(dtype)
                    vector[index] = value
                    _refused(compressor, vector, f"{value} at index {index} of {size} in {vector.dtype}")


def check_no_vectors(compressor: Compressor) -> None:
    """Arrays that are no vectors of real numbers are refused with PayloadError."""
    for wrong in (np.empty(0), np.ones((2, 3)), np.array(["a", "b"]), np.ones(3, complex)):
        _refused(compressor, wrong, f"an array of shape {wrong.shape} and type {wrong.dtype}")


def check_keys(compressor: Compressor) -> None:
    """A payload is a function of the vector and the key; if the compressor draws, each key draws something else."""
    vector = gaussian(400, 5)
    for _ in range(2):
        payloads = [compressor.encode(vector, key) for key in neighbours(1)]
        assert payloads == [compressor.encode(vector.copy(), key) for key in neighbours(1)], "not the same bytes again"
    count = len(set(payloads))
    if is_random(compressor, 400):
        assert count == len(payloads), f"{len(payloads)} keys give {count} payloads: draws do not follow the key"


def check_pieces(compressor: Compressor) -> None:
    """`pieces` are the payload in the same bytes, in used memory and with the sum of squares known as well."""
    scratch = ScratchBuffer()
    for size in SIZES:
        vector = gaussian(size)
        payload = compressor.encode(vector, 7)
        for pieces in (
            compressor.pieces(vector, 7),
            compressor.pieces(vector, 7, scratch),
            compressor.pieces(vector, 7, scratch, energy(vector)),
        ):
            assert bytes(joined(pieces)) == payload, f"the pieces of {size} coordinates are not the payload"
            assert length_of(pieces) == len(payload), "the length of the pieces is not that of the payload"


def check_expected_bits(compressor: Compressor) -> None:
    """`expected_bits` is the mean length of payloads of Gaussian vectors, within 10 % and 40 bytes."""
    for size in (100, 1000, 20_000):
        expected = compressor.expected_bits(size)
        if expected is None:
            continue
        count = 5 if size > 1000 else 20
        mean = statistics.fmean(len(compressor.encode(gaussian(size, seed), seed)) for seed in range(count))
        off = abs(mean - expected / 8)
        assert off <= 0.1 * expected / 8 + 40, f"{mean:.0f} bytes for {size} coordinates, {expected / 8:.0f} expected"


def check_equal_coordinates(compressor: Compressor) -> None:
    """Of a million equal coordinates, in single precision, none is an exception where all others are exact."""
    vector = np.full(2**20, 0.1, np.float32)
    decoded = sent(compressor, vector, 8)
    _check_vector(decoded, vector.size)
    exact = np.abs(decoded / float(vector[0]) - 1) <= 1e-9
    exceptions = int(np.count_nonzero(~exact))
    few = 0 < exceptions < 1e-3 * vector.size
    assert not few, f"{exceptions} of {vector.size} equal coordinates are decoded to something else than the others"


def _check_vector(vector: np.ndarray, size: int) -> None:
    assert isinstance(vector, np.ndarray), f"decode returns {type(vector).__name__}"
    assert vector.shape == (size,), f"decode returns the shape {vector.shape} for {size} coordinates"
    assert vector.dtype == np.float64, f"decode returns {vector.dtype}"
    assert np.isfinite(vector).all(), "decode returns numbers that are not finite"


def _single(vector: np.ndarray) -> np.ndarray:
    """Return a vector in single precision, with its largest numbers in place of larger ones."""
    largest = float(np.finfo(np.float32).max)
    return np.asarray(np.clip(vector, -largest, largest), np.float32)


def _refused(compressor: Compressor, vector: np.ndarray, what: str) -> None:
    try:
        compressor.encode(vector, 1)
    except PayloadError:
        return
    raise AssertionError(f"{what} is encoded, not refused")


CHECKS = tuple(
    map(
        Check,
        (
            check_bytes,
            check_decoded,
            check_out,
            check_input_is_kept,
            check_zeros,
            check_extremes,
            check_not_finite,
            check_no_vectors,
            check_keys,
            check_pieces,
            check_expected_bits,
            check_equal_coordinates,
        ),
    )
)
