"""EDEN: the rotation, the levels and what is sent of them, against plain numpy and the format on docs/formats.md."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.linalg import hadamard as hadamard_matrix

from relufit import streams, theory
from relufit.compression import make_compressor
from relufit.compression.base import HEADER_BYTES
from relufit.compression.eden import Eden
from relufit.errors import ConfigError, PayloadError
from relufit.numerics.rotation import hadamard, rotate, rotate_back, split

Array = NDArray[np.float64]

BITS = (1, 2, 3, 4)
#: Header, seed and scale.
START = 4 + 16 + 8


def words_of(seed: bytes, first: int, count: int) -> NDArray[np.uint32]:
    """Words of the stream with that seed, by the formulas on the page."""
    a, b, c, d = np.frombuffer(seed, "<u4")
    i = np.arange(first, first + count, dtype=np.uint32)
    x = (i * np.uint32(0x9E3779B1)) ^ a
    x = ((x ^ (x >> 16)) * np.uint32(0x21F0AAAD)) + b
    x = ((x ^ (x >> 15)) * np.uint32(0x735A2D97)) ^ c
    x = ((x ^ (x >> 15)) * np.uint32(0xD168AAAD)) + d
    return np.asarray(x ^ (x >> 16), np.uint32)


def rotated_back(x: Array, seed: bytes) -> Array:
    """Undo the rotation, round by round, with matrices."""
    d = x.size
    p = (d - 1).bit_length()
    a = max(min(p // 2, 8), p - 12)
    k = p - a
    x = x.copy()
    for number in range(5, -1, -1):
        levels = a if number % 2 else k
        size = d >> levels << levels
        some = x[:size] if number in (0, 3, 4) else x[d - size :]
        groups = some.reshape(2**a, -1).T if number % 2 else some.reshape(-1, 2**k)
        transformed = groups @ hadamard_matrix(2**levels) / 2 ** (levels / 2)
        some[:] = transformed.T.ravel() if number % 2 else transformed.ravel()
        if number % 2 == 0:
            count = -(-d // 32)
            drawn = words_of(seed, number // 2 * count, count)
            bits = np.unpackbits(drawn.view(np.uint8), bitorder="little")[:size]
            some *= 1.0 - 2.0 * bits
    return x


@pytest.mark.parametrize("k", range(1, 13))
def test_the_transform_is_that_of_the_matrix(k: int) -> None:
    x = np.random.default_rng(k).standard_normal(2**k)
    expected = 0.3 * (hadamard_matrix(2**k) @ x)
    hadamard(x, 0.3)
    np.testing.assert_allclose(x, expected, atol=1e-12 * 2 ** (k / 2))


def test_the_rotation_is_orthogonal() -> None:
    key = streams.words(streams.key(1))
    for d in range(1, 71):
        rows = np.eye(d)
        for row in rows:
            rotate(row, key)
        np.testing.assert_allclose(rows @ rows.T, np.eye(d), atol=1e-14)


@pytest.mark.parametrize("d", [*range(1, 71), 1000, 4096, 4097, 65_537, 2**20 - 1, 2_500_000])
def test_the_inverse_of_the_rotation_is_exact_to_rounding(d: int) -> None:
    x, key = np.random.default_rng(d).standard_normal(d), streams.words(streams.key(2))
    before = x.copy()
    rotate(x, key)
    assert math.isclose(np.linalg.norm(x), np.linalg.norm(before), rel_tol=1e-13)
    rotate_back(x, key)
    np.testing.assert_allclose(x, before, atol=1e-14)


@pytest.mark.parametrize("d", [5000, 70_000, 2**22 + 1])
def test_groups_of_neighbours_fit_and_pairs_of_rounds_reach_all_numbers(d: int) -> None:
    k, a = split(d)
    assert k <= 12
    assert 2 ** (k + a - 1) < d <= 2 ** (k + a)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("d", [1, 2, 3, 12, 100, 255])
def test_payloads_are_decoded_as_the_page_says(bits: int, d: int) -> None:
    vector = np.random.default_rng(d).standard_normal(d)
    payload = Eden(bits).encode(vector, streams.key(d))
    kind, version, parameter, seed, scale = struct.unpack_from("<BBH16sd", payload)
    assert (kind, version, parameter) == (100, 1, bits)
    code = int.from_bytes(payload[START:], "little")
    levels = theory.lloyd_max(bits)[[code >> bits * i & 2**bits - 1 for i in range(d)]]
    expected = scale * rotated_back(levels, seed)
    np.testing.assert_allclose(Eden(bits).decode(payload, d), expected, atol=1e-13 * np.abs(expected).max())


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("d", [1, 2, 7, 64, 1000, 5000])
def test_the_inner_product_with_the_vector_is_kept(bits: int, d: int) -> None:
    compressor = Eden(bits)
    for size in (1e-300, 1.0, 1e300):
        vector = size * np.random.default_rng(d).uniform(-1, 1, d)
        decoded = compressor.decode(compressor.encode(vector, streams.key(1)), d)
        assert math.isclose((decoded / size) @ (vector / size), (vector / size) @ (vector / size), rel_tol=1e-12)


@pytest.mark.parametrize("bits", BITS)
def test_a_one_hot_vector_has_no_bias_and_the_error_of_a_random_direction(bits: int) -> None:
    d, trials, compressor = 100, 3000, Eden(bits)
    for index in (0, 57, 99):
        vector = np.zeros(d)
        vector[index] = 1.0
        errors = [compressor.decode(compressor.encode(vector, streams.key(t)), d) - vector for t in range(trials)]
        squares = np.sum(np.square(errors), axis=1)
        omega = compressor.variance(d)
        # The square of the mean error of unbiased draws is omega / trials on average.
        assert np.sum(np.mean(errors, axis=0) ** 2) <= 2 * omega / trials
        assert squares.mean() == pytest.approx(omega, rel=0.1)


@pytest.mark.parametrize("bits", BITS)
def test_what_is_too_small_for_a_scale_is_zero_and_what_is_too_large_is_refused(bits: int) -> None:
    compressor, hot = Eden(bits), np.zeros(100)
    hot[3] = math.ulp(0.0)
    payload = compressor.encode(hot, 0)
    assert len(payload) == HEADER_BYTES
    assert not compressor.decode(payload, 100).any()
    with pytest.raises(PayloadError, match="Euclidean norm"):
        compressor.encode(np.full(100, 1.7e308), 0)


@pytest.mark.parametrize("bits", BITS)
def test_payloads_that_are_no_payloads_are_refused(bits: int) -> None:
    compressor, vector = Eden(bits), np.random.default_rng(0).standard_normal(301)
    payload = compressor.encode(vector, streams.key(1))
    wrong = [payload[:-1], payload + b"\0", payload[:START], payload[:5]]
    wrong += [payload[:-1] + bytes([payload[-1] | 0x80])] if 301 * bits % 8 else []
    for scale in (0.0, -1.0, math.nan, math.inf, 1.7e308):
        wrong.append(payload[:20] + struct.pack("<d", scale) + payload[START:])
    wrong.append(struct.pack("<BBH", 100, 1, bits % 4 + 1) + payload[4:])
    for damaged in wrong:
        with pytest.raises(PayloadError):
            compressor.decode(damaged, 301)
    # As large as it may be.
    most = payload[:20] + struct.pack("<d", 1e306) + payload[START:]
    assert np.isfinite(compressor.decode(most, 301)).all()
    with pytest.raises(PayloadError, match="float32"):
        compressor.decode(most, 301, out=np.empty(301, np.float32))


@pytest.mark.parametrize("bits", [0, 5, True, "2", 1.0, None])
def test_impossible_bits_are_refused(bits: object) -> None:
    with pytest.raises(ConfigError) as caught:
        make_compressor("eden", bits=bits)
    assert caught.value.where == "bits"
    assert caught.value.remedy == "give 1 to 4"
