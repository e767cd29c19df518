"""QSGD against its definition in plain numpy. Statistical tests are seeded and state their level."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from relufit import streams
from relufit.compression.cast import Float64
from relufit.compression.coding import CODINGS
from relufit.compression.qsgd import MAX_LEVELS, QSGD
from relufit.errors import ConfigError, PayloadError

Array = NDArray[np.float64]
LARGEST = float(np.finfo(np.float64).max)
level_counts = st.one_of(st.integers(1, 20), st.integers(1, MAX_LEVELS))
keys = st.integers(0, 2**128 - 1)


def vectors(largest: float, smallest_size: int = 1) -> st.SearchStrategy[Array]:
    return arrays.arrays(
        np.float64, st.integers(smallest_size, 40), elements=st.floats(-largest, largest, allow_subnormal=True)
    )


def norm(vector: Array) -> float:
    """The Euclidean norm, exact to rounding at every scale."""
    return math.hypot(*vector.tolist())


def draws(compressor: QSGD, vector: Array, count: int, seed: int = 0) -> Array:
    """Decoded roundings of the same vector in `count` iterations."""
    return np.array(
        [
            compressor.decode(compressor.encode(vector, streams.key(seed, iteration=t)), vector.size)
            for t in range(count)
        ]
    )


@settings(deadline=None)
@given(vectors(1e3), level_counts, keys)
def test_every_coordinate_goes_to_a_neighbour_on_the_grid(vector: Array, s: int, key: int) -> None:
    compressor = QSGD(s)
    decoded = compressor.decode(compressor.encode(vector, key), vector.size)
    length = norm(vector)
    if length == 0:
        assert not decoded.any()
        return
    place, levels = np.abs(vector) / length * s, np.abs(decoded) / length * s
    np.testing.assert_allclose(levels, np.rint(levels), rtol=0, atol=1e-9)
    assert np.all(np.rint(levels) >= np.floor(place - 1e-9))
    assert np.all(np.rint(levels) <= np.ceil(place + 1e-9))
    assert np.all(decoded * vector >= 0)


def test_a_payload_is_four_bytes_the_norms_and_the_levels() -> None:
    vector = np.random.default_rng(0).standard_normal(300)
    for s, length in [(1, 300 // 5), (4, 300 * 4 // 8), (16, 300 * 6 // 8)]:
        payload = QSGD(s).encode(vector, 5)
        assert len(payload) == 4 + 8 + length
        assert struct.unpack_from("<H", payload, 2) == (s,)
        assert struct.unpack_from("<d", payload, 4)[0] == pytest.approx(norm(vector), rel=1e-14)


@pytest.mark.parametrize("size", [1, 5, 256, 1000])
@pytest.mark.parametrize("bucket_size", [None, 3])
def test_the_zero_vector_is_a_header_alone(size: int, bucket_size: int | None) -> None:
    compressor = QSGD(4, bucket_size=bucket_size)
    payload = compressor.encode(np.zeros(size), 9)
    assert len(payload) == 4
    decoded = compressor.decode(payload, size)
    assert decoded.shape == (size,)
    assert not decoded.any()


@pytest.mark.parametrize("s", [1, 2, 4, 16, 1000])
@pytest.mark.parametrize("bucket_size", [None, 7])
def test_rounding_is_unbiased_in_every_coordinate(s: int, bucket_size: int | None) -> None:
    # |z| < 5 for 20 coordinates: a right quantizer fails with probability 1e-5. The deviation is the known one.
    vector = np.random.default_rng(1).standard_normal(20) * np.logspace(0, -3, 20)
    size = bucket_size or 20
    lengths = np.repeat([norm(vector[i : i + size]) for i in range(0, 20, size)], size)[:20]
    place = np.abs(vector) / lengths * s
    up = place - np.floor(place)
    deviation = lengths / s * np.sqrt(up * (1 - up))
    error = draws(QSGD(s, bucket_size=bucket_size), vector, 4000).mean(axis=0) - vector
    assert np.all(np.abs(error) <= 5 * deviation / math.sqrt(4000) + 1e-15)


@pytest.mark.parametrize("s", [1, 4, 16])
def test_the_squared_error_of_a_vector_is_that_of_independent_roundings(s: int) -> None:
    # |z| < 4.5: fails with probability 7e-6.
    vector = np.random.default_rng(2).standard_normal(50)
    place = np.abs(vector) / norm(vector) * s
    up = place - np.floor(place)
    expected = (norm(vector) / s) ** 2 * np.sum(up * (1 - up))
    squares = np.sum((draws(QSGD(s), vector, 4000) - vector) ** 2, axis=1)
    assert abs(squares.mean() - expected) < 4.5 * squares.std(ddof=1) / math.sqrt(4000)


@pytest.mark.parametrize("bucket_size", [None, 16, 100])
@pytest.mark.parametrize("s", [1, 3, 16])
def test_the_variance_is_the_mean_squared_error_over_all_directions(s: int, bucket_size: int | None) -> None:
    # |z| < 4.5: fails with probability 7e-6. The direction is uniform, the norm is that of a Gaussian vector.
    compressor, rng = QSGD(s, bucket_size=bucket_size), np.random.default_rng(3)
    ratios = []
    for iteration in range(3000):
        vector = rng.standard_normal(40)
        decoded = compressor.decode(compressor.encode(vector, streams.key(1, iteration=iteration)), 40)
        ratios.append(np.sum((decoded - vector) ** 2) / np.sum(vector**2))
    omega = compressor.variance(40)
    assert abs(np.mean(ratios) - omega) < 4.5 * np.std(ratios, ddof=1) / math.sqrt(3000)


def test_roundings_of_different_coordinates_and_streams_are_independent() -> None:
    # With s = 1 a coordinate of 10^4 equal ones is rounded up with probability 1/100. Over 200 streams the number
    # of those rounded up has the binomial mean and variance, and two streams round up 1 of them together on
    # average: |z| < 4.5 for each, which fails with probability 2e-5. Neighbouring keys would show up here.
    up = np.array(draws(QSGD(1), np.ones(10_000), 200) > 0)
    counts, p = up.sum(axis=1), 0.01
    assert abs(counts.mean() - 100) < 4.5 * math.sqrt(10_000 * p * (1 - p) / 200)
    ratio = counts.var(ddof=1) / (10_000 * p * (1 - p))
    assert abs(ratio - 1) < 4.5 * math.sqrt(2 / 199)
    together = up[:-1] & up[1:]
    expected = 199 * 10_000 * p**2
    assert abs(together.sum() - expected) < 4.5 * math.sqrt(expected)
    neighbours = up[:, :-1] & up[:, 1:]
    expected = 200 * 9999 * p**2
    assert abs(neighbours.sum() - expected) < 4.5 * math.sqrt(expected)


def test_the_same_key_gives_the_same_bytes_and_every_other_key_others() -> None:
    vector, compressor = np.random.default_rng(4).standard_normal(200), QSGD(4)
    stream = streams.key(1, rank=1, iteration=1)
    payload = compressor.encode(vector, stream)
    assert payload == compressor.encode(vector.copy(), stream)
    others = [streams.key(2, rank=1, iteration=1), streams.key(1, rank=2, iteration=1)]
    others += [streams.key(1, rank=1, iteration=2), streams.key(1, rank=1, iteration=1, purpose="rows")]
    payloads = {compressor.encode(vector, other) for other in others}
    assert len(payloads) == 4
    assert payload not in payloads


@pytest.mark.parametrize("bit", [*range(0, 96, 5), 127])
def test_every_word_of_the_key_matters(bit: int) -> None:
    vector, key = np.random.default_rng(5).standard_normal(500), streams.key(3)
    assert QSGD(2).encode(vector, key) != QSGD(2).encode(vector, key ^ 1 << bit)


@pytest.mark.parametrize("scale", [5e-324, 1e-310, 1e-300, 1e-290, 1e-200, 1e200, 1e290, 1e300])
@pytest.mark.parametrize("s", [1, 4, MAX_LEVELS])
def test_roundings_do_not_depend_on_the_scale_of_the_vector(scale: float, s: int) -> None:
    # Small whole numbers keep all their digits at every scale, subnormal ones too.
    vector, key = np.random.default_rng(6).integers(-9, 10, 60).astype(np.float64), streams.key(8)
    compressor = QSGD(s)
    plain = compressor.decode(compressor.encode(vector, key), 60)
    scaled = compressor.decode(compressor.encode(vector * scale, key), 60)
    assert np.isfinite(scaled).all()
    assert scaled.any()
    # Half the spacing of subnormal numbers, for the norm (times a level over s, at most 1) and the product.
    assert np.all(np.abs(scaled - plain * scale) <= 1e-13 * np.abs(plain) * scale + 2 * 5e-324)


@settings(deadline=None)
@given(vectors(LARGEST / 7), level_counts, keys)
def test_vectors_of_every_size_come_back_finite(vector: Array, s: int, key: int) -> None:
    decoded = QSGD(s).decode(QSGD(s).encode(vector, key), vector.size)
    assert np.isfinite(decoded).all()
    largest = norm(vector)
    assert np.all(np.abs(decoded) <= largest * (1 + 1e-14))
    assert np.all(decoded * np.sign(vector) >= 0)


@pytest.mark.parametrize("s", [1, 3, 7, 100, MAX_LEVELS])
@pytest.mark.parametrize("number", [LARGEST, -LARGEST, 5e-324, 1e-290, 1.0])
def test_a_single_coordinate_is_its_own_norm(s: int, number: float) -> None:
    decoded = QSGD(s).decode(QSGD(s).encode(np.array([number]), streams.key(0)), 1)
    assert decoded[0] == pytest.approx(number, rel=1e-14)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("size", [1, 5, 16, 33])
@pytest.mark.parametrize("bucket_size", [None, 4])
def test_a_vector_that_is_not_finite_is_refused_wherever_it_is_not(
    size: int, bucket_size: int | None, bad: float
) -> None:
    for index in range(size):
        for others in (0.0, 1.0, 1e300):
            vector = np.full(size, others)
            vector[index] = bad
            with pytest.raises(PayloadError, match="NaN or infinity"):
                QSGD(4, bucket_size=bucket_size).encode(vector, 0)


def test_a_norm_beyond_double_precision_is_refused() -> None:
    with pytest.raises(PayloadError):
        QSGD(4).encode(np.full(4, LARGEST), 0)


@pytest.mark.parametrize("vector", [np.ones((2, 3)), np.ones(0)])
def test_what_is_no_vector_is_refused(vector: Array) -> None:
    with pytest.raises(PayloadError, match="shape"):
        QSGD(4).encode(vector, 0)


def test_single_precision_rows_that_are_not_contiguous_are_taken_as_they_read() -> None:
    vector = np.random.default_rng(0).standard_normal((50, 2)).astype(np.float32)[::-1, 1]
    assert QSGD(4).encode(vector, 3) == QSGD(4).encode(vector.astype(np.float64).copy(), 3)


@pytest.mark.parametrize(("size", "bucket_size"), [(20, 5), (23, 5), (3, 5), (600, 256), (300, 1), (7, 7)])
def test_every_bucket_has_a_norm_and_a_grid_of_its_own(size: int, bucket_size: int) -> None:
    vector = np.random.default_rng(size).standard_normal(size) * np.logspace(0, 6, size)
    compressor, s = QSGD(3, bucket_size=bucket_size), 3
    payload = compressor.encode(vector, streams.key(2))
    decoded = compressor.decode(payload, size)
    buckets = [slice(i, i + bucket_size) for i in range(0, size, bucket_size)]
    norms = np.frombuffer(payload, "<f8", len(buckets), 4)
    for bucket, stored in zip(buckets, norms, strict=True):
        assert stored == pytest.approx(norm(vector[bucket]), rel=1e-14)
        levels = decoded[bucket] / stored * s
        np.testing.assert_allclose(levels, np.rint(levels), rtol=0, atol=1e-12)
        assert np.all(np.abs(levels - vector[bucket] / stored * s) < 1 + 1e-9)


def test_equal_buckets_are_rounded_independently() -> None:
    vector = np.tile(np.random.default_rng(0).standard_normal(50), 2)
    first, second = np.split(draws(QSGD(2, bucket_size=50), vector, 1)[0], 2)
    assert not np.array_equal(first, second)


def test_a_bucket_of_zeros_among_others_comes_back_as_zeros() -> None:
    vector = np.concatenate([np.ones(4), np.zeros(4), -np.ones(3)])
    decoded = draws(QSGD(2, bucket_size=4), vector, 20)
    assert not decoded[:, 4:8].any()
    assert (decoded[:, :4] > 0).any()
    assert (decoded[:, 8:] < 0).any()


def test_the_variance_of_buckets_is_the_mean_of_theirs_by_length() -> None:
    whole, rest = QSGD(3).variance(16), QSGD(3).variance(8)
    assert QSGD(3, bucket_size=16).variance(40) == pytest.approx((32 * whole + 8 * rest) / 40, rel=1e-14)
    assert QSGD(3, bucket_size=100).variance(16) == whole


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("levels", 0),
        ("levels", MAX_LEVELS + 1),
        ("levels", 4.0),
        ("levels", "4"),
        ("levels", True),
        ("coding", "zip"),
        ("bucket_size", 0),
        ("bucket_size", -1),
        ("bucket_size", 2.0),
        ("bucket_size", True),
    ],
)
def test_an_impossible_parameter_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=name):
        QSGD(**{"levels": 4, name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("coding", CODINGS)
def test_every_coding_carries_the_same_levels(coding: str) -> None:
    vector = np.random.default_rng(9).standard_normal(700)
    for s in (1, 5, MAX_LEVELS):
        decoded = QSGD(s, coding=coding).decode(QSGD(s, coding=coding).encode(vector, 1), 700)
        np.testing.assert_array_equal(decoded, QSGD(s).decode(QSGD(s).encode(vector, 1), 700))


@pytest.mark.parametrize("size", [1, 299, 301, 600])
def test_another_size_than_was_sent_is_refused(size: int) -> None:
    payload = QSGD(4).encode(np.ones(300), 0)
    with pytest.raises(PayloadError):
        QSGD(4).decode(payload, size)


def test_other_levels_buckets_kinds_and_versions_are_refused() -> None:
    payload = QSGD(4).encode(np.ones(300), 0)
    for other in (QSGD(5), QSGD(3), QSGD(4, bucket_size=100), Float64()):
        with pytest.raises(PayloadError):
            other.decode(payload, 300)
    with pytest.raises(PayloadError, match="kind"):
        QSGD(4).decode(Float64().encode(np.ones(300), 0), 300)
    newer = bytearray(payload)
    newer[1] += 1
    with pytest.raises(PayloadError, match="version"):
        QSGD(4).decode(bytes(newer), 300)


@pytest.mark.parametrize("stored", [-1.0, math.nan, math.inf, 0.0])
def test_a_norm_that_no_vector_has_is_refused(stored: float) -> None:
    payload = bytearray(QSGD(4).encode(np.ones(300), 0))
    struct.pack_into("<d", payload, 4, stored)
    with pytest.raises(PayloadError, match="norm"):
        QSGD(4).decode(bytes(payload), 300)


@pytest.mark.parametrize("s", [1, 3, 7, 100, MAX_LEVELS])
def test_the_largest_norm_is_decoded_to_finite_numbers(s: int) -> None:
    payload = bytearray(QSGD(s).encode(np.array([1.0]), 1))
    struct.pack_into("<d", payload, 4, LARGEST)
    assert QSGD(s).decode(bytes(payload), 1)[0] == LARGEST


@pytest.mark.parametrize("shift", range(8))
def test_a_payload_may_lie_anywhere_in_memory(shift: int) -> None:
    payload = QSGD(4).encode(np.random.default_rng(0).standard_normal(300), 0)
    view = memoryview(bytearray(bytes(shift) + payload))[shift:]
    np.testing.assert_array_equal(QSGD(4).decode(view, 300), QSGD(4).decode(payload, 300))


def survives(compressor: QSGD, payload: bytes, size: int) -> bool:
    """Tell whether a damaged payload is decoded; it is a finite vector of the right size then."""
    try:
        vector = compressor.decode(payload, size)
    except PayloadError:
        return False
    assert vector.shape == (size,)
    assert vector.dtype == np.float64
    assert np.isfinite(vector).all()
    return True


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize(("s", "size", "bucket_size"), [(1, 40, None), (4, 300, None), (5, 30, 7), (1000, 20, None)])
def test_damaged_payloads_are_refused_or_decoded_and_nothing_else(
    coding: str, s: int, size: int, bucket_size: int | None
) -> None:
    rng, compressor = np.random.default_rng(s), QSGD(s, coding=coding, bucket_size=bucket_size)
    payload = compressor.encode(rng.standard_normal(size), streams.key(0))
    assert survives(compressor, payload, size)
    for length in set(range(len(payload))) - {4}:
        assert not survives(compressor, payload[:length], size)
        assert not survives(compressor, payload + rng.bytes(length + 1), size)
    outcomes = []
    for bit in range(8 * len(payload)):
        damaged = bytearray(payload)
        damaged[bit // 8] ^= 1 << bit % 8
        outcomes.append(survives(compressor, bytes(damaged), size))
    assert not any(outcomes[:32]), "kind, version and levels are told by every bit"
    for _ in range(1000):
        damaged = bytearray(payload)
        for _ in range(rng.integers(2, 6)):
            damaged[rng.integers(len(payload))] ^= 1 << int(rng.integers(8))
        survives(compressor, bytes(damaged), size)
        survives(compressor, rng.bytes(len(payload)), size)
        survives(compressor, payload[:4] + rng.bytes(len(payload) - 4), size)
