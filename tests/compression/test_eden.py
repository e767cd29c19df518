"""EDEN: the rotation, the levels and what is sent of them, against plain numpy and the format on docs/formats.md."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.linalg import hadamard as hadamard_matrix

from relufit import streams, theory
from relufit.compression import make_compressor
from relufit.compression.base import HEADER_BYTES
from relufit.compression.eden import Eden
from relufit.errors import ConfigError, PayloadError
from relufit.numerics.rotation import rotate, rotate_back, split

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


def unpacked(code: bytes, size: int, bits: int) -> NDArray[np.int64]:
    """Numbers of `bits` bits in the first layout of the coding packed: blocks of 256 in 16 lanes, then one by one."""
    whole = size // 256 * 256
    ends = whole * bits // 8
    words = np.frombuffer(code[:ends], "<u2").reshape(-1, bits, 16)
    in_order = np.unpackbits(np.ascontiguousarray(words.transpose(0, 2, 1)).view(np.uint8), bitorder="little")
    lanes = in_order.reshape(-1, 16, 16, bits) @ (1 << np.arange(bits))
    last = np.unpackbits(np.frombuffer(code[ends:], np.uint8), bitorder="little")
    rest = last[: (size - whole) * bits].reshape(-1, bits) @ (1 << np.arange(bits))
    assert not last[(size - whole) * bits :].any()
    return np.concatenate([lanes.transpose(0, 2, 1).ravel(), rest]).astype(np.int64)


def signs_of(seed: bytes, first: int, count: int) -> Array:
    """As many signs by the words from `first` on."""
    words = words_of(seed, first, -(-count // 32)).astype("<u4")
    return 1.0 - 2.0 * np.unpackbits(words.view(np.uint8), bitorder="little")[:count]


def transformed(groups: Array) -> Array:
    """The transform of each row."""
    return np.asarray(groups @ hadamard_matrix(groups.shape[1]) / math.sqrt(groups.shape[1]))


def rotated_back(x: Array, seed: bytes) -> Array:
    """Undo the rotation, pass by pass, with matrices."""
    d, x = x.size, x.copy()
    p = (d - 1).bit_length()
    a = min(p, max(p - 13, min(4, p - 7), 1))
    row, count = 2 ** (p - a), d >> a
    for number in range(4 if d <= 8192 else 2, -1, -1):
        first = number << 29
        if number % 2:
            columns = transformed(x[: count << a].reshape(-1, count).T)
            for c in range(count):
                bits = words_of(seed, first + (c // 32 << a), 1 << a) >> np.uint32(c % 32) & np.uint32(1)
                columns[c] *= 1.0 - 2.0 * bits
            x[: count << a] = transformed(columns).T.ravel()
            continue
        if d % row:
            x[-row:] = transformed(x[None, -row:])[0] * signs_of(seed, first + 2**28, row)
        whole = d // row * row
        x[:whole] = transformed(x[:whole].reshape(-1, row)).ravel()
        x *= signs_of(seed, first, d)
    return x


def rotated(vector: Array, key: NDArray[np.uint32], factor: float = 1.0) -> NDArray[np.float32]:
    image = np.empty(vector.size, np.float32)
    rotate(vector, factor, key, image)
    return image


def test_the_rotation_is_orthogonal() -> None:
    key = streams.words(streams.key(1))
    for d in range(1, 71):
        rows = np.array([rotated(row, key) for row in np.eye(d)], np.float64)
        np.testing.assert_allclose(rows @ rows.T, np.eye(d), atol=3e-6)


@pytest.mark.parametrize("d", [*range(1, 71), 129, 1000, 4096, 4097, 8192, 8193, 65_537, 2**20 - 1, 2**20, 2_500_000])
def test_the_inverse_of_the_rotation_is_exact_to_rounding(d: int) -> None:
    vector, key = np.random.default_rng(d).standard_normal(d), streams.words(streams.key(2))
    image = rotated(vector, key, 0.25)
    assert math.isclose(np.linalg.norm(image.astype(np.float64)), np.linalg.norm(vector) / 4, rel_tol=1e-6)
    assert image.tobytes() == rotated(vector, key, 0.25).tobytes()
    expected, single = np.empty(d), image.copy()
    rotate_back(image.copy(), key, 4.0, expected)
    np.testing.assert_allclose(expected, vector, atol=1e-5)
    # Into the memory of the image itself, as the compressor does it.
    rotate_back(single, key, 4.0, single)
    assert single.tobytes() == expected.astype(np.float32).tobytes()
    out = np.empty(d)
    upper = out.view(np.float32)[-d:]
    upper[:] = image
    rotate_back(upper, key, 4.0, out)
    assert out.tobytes() == expected.tobytes()


@pytest.mark.parametrize("d", [*range(2, 300), 5000, 8193, 70_000, 2**22 + 1, 2**32 - 1])
def test_rows_fit_into_the_vector_and_are_no_shorter_than_columns_are_apart(d: int) -> None:
    k, a = split(d)
    assert a >= 1
    assert k <= 13
    assert 2 ** (k + a - 1) < d <= 2 ** (k + a)
    assert d // 2**a <= 2**k <= d


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("d", [1, 2, 3, 12, 100, 255, 1000, 1024, 9000, 20_000])
def test_payloads_are_decoded_as_the_page_says(bits: int, d: int) -> None:
    vector = np.random.default_rng(d).standard_normal(d)
    payload = Eden(bits).encode(vector, streams.key(d))
    kind, version, parameter, seed, scale = struct.unpack_from("<BBH16sd", payload)
    assert (kind, version, parameter) == (80, 1, bits)
    levels = theory.lloyd_max(bits)[unpacked(payload[START:], d, bits)]
    expected = scale * rotated_back(levels, seed)
    np.testing.assert_allclose(Eden(bits).decode(payload, d), expected, atol=2e-6 * np.abs(expected).max())


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("d", [1, 2, 7, 64, 1000, 5000])
def test_the_inner_product_with_the_vector_is_kept(bits: int, d: int) -> None:
    compressor = Eden(bits)
    for size in (1e-300, 1.0, 1e300):
        vector = size * np.random.default_rng(d).uniform(-1, 1, d)
        decoded = compressor.decode(compressor.encode(vector, streams.key(1)), d)
        assert math.isclose((decoded / size) @ (vector / size), (vector / size) @ (vector / size), rel_tol=1e-6)


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
    wrong.append(struct.pack("<BBH", 80, 1, bits % 4 + 1) + payload[4:])
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


PROGRAM = """
import hashlib
import numpy as np
from relufit.compression import make_compressor
digest = hashlib.sha256()
for bits in (1, 2, 3, 4):
    compressor = make_compressor("eden", bits=bits)
    for d in (1, 3, 100, 1000, 9001):
        payload = compressor.encode(np.arange(1.0, d + 1) ** 2 % 101 - 50.5, 5)
        digest.update(payload + compressor.decode(payload, d).tobytes())
print(digest.hexdigest())
"""


def test_the_bits_do_not_depend_on_the_vector_unit(run_python: Callable[..., str], tmp_path: Path) -> None:
    plain = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(tmp_path)}
    assert run_python(PROGRAM, **plain) == run_python(PROGRAM)


@pytest.mark.parametrize("bits", BITS)
def test_a_vector_with_one_number_that_counts_is_kept_whatever_the_others_are(bits: int) -> None:
    vector = np.array([math.ulp(0.0), -0.0, 1e300, 1e-320, -1.0])
    payload = Eden(bits).encode(vector, streams.key(3))
    assert Eden(bits).decode(payload, 5) @ (vector / 1e300) == pytest.approx(1e300, rel=1e-6)
    assert Eden(bits).encode(-np.zeros(5), 3) == Eden(bits).encode(np.zeros(5), 3)
