"""Casts against numpy's own rounding and against the error that they promise."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from relufit.compression.base import Compressor, ScratchBuffer, joined
from relufit.compression.cast import Float16, Float32, Float64
from relufit.errors import PayloadError

Array = NDArray[np.float64]
ALL = {"fp64": Float64(), "fp32": Float32(), "fp16": Float16()}
BYTES = {"fp64": 8, "fp32": 4, "fp16": 2}
LARGEST_HALF = (2 - 2.0**-10) * 2.0**1023
sizes = st.integers(1, 40)


def vectors(largest: float) -> st.SearchStrategy[Array]:
    return arrays.arrays(np.float64, sizes, elements=st.floats(-largest, largest, allow_subnormal=True))


@given(vectors(np.finfo(np.float64).max))
def test_double_precision_returns_every_bit(vector: Array) -> None:
    assert Float64().decode(Float64().encode(vector, 0), vector.size).tobytes() == vector.tobytes()


@given(vectors(float(np.finfo(np.float32).max)))
def test_single_precision_rounds_as_numpy_does(vector: Array) -> None:
    decoded = Float32().decode(Float32().encode(vector, 0), vector.size)
    assert decoded.dtype == np.float64
    assert decoded.tobytes() == vector.astype(np.float32).astype(np.float64).tobytes()


@given(vectors(LARGEST_HALF))
def test_half_precision_keeps_the_promised_relative_error_at_every_scale(vector: Array) -> None:
    decoded = Float16().decode(Float16().encode(vector, 0), vector.size)
    size = np.abs(vector)
    promised = size >= size.max() * 2.0**-28
    # The last addend is half the spacing of subnormal doubles.
    assert np.all(np.abs(decoded - vector)[promised] <= size[promised] * 2.0**-11 + 2.0**-1074)
    assert np.all(np.abs(decoded)[~promised] <= size.max() * 2.0**-27)
    assert np.all(np.sign(decoded) * np.sign(vector) >= 0)


def scaled_halves(vector: NDArray[Any]) -> bytes:
    """The payload after kind and version, by numpy's own functions."""
    largest = float(np.abs(vector).max())
    exponent = math.frexp(largest)[1] - 15 if largest else 0
    body = np.empty(vector.size, "<f2")
    np.ldexp(vector, -exponent, out=body, casting="same_kind")
    return struct.pack("<h", exponent) + body.tobytes()


@pytest.mark.parametrize(("dtype", "least", "top"), [(np.float64, -1074, 1023), (np.float32, -149, 127)])
def test_half_precision_rounds_as_numpy_does_at_every_scale(dtype: Any, least: int, top: int) -> None:
    rng = np.random.default_rng(3)
    for exponent in range(least, top):
        vector = np.ldexp(rng.random(19) - 0.5, rng.integers(-40, 1, 19)).astype(dtype)
        vector[0] = 0.75
        vector = np.ldexp(vector, exponent)
        assert Float16().encode(vector, 0)[2:] == scaled_halves(vector)
    for vector in (np.zeros(3, dtype), -np.zeros(17, dtype)):
        assert Float16().encode(vector, 0)[2:] == scaled_halves(vector)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("exponent", [-1089, -1023, -1022, -150, -100, -1, 0, 1, 112, 113, 120, 128, 152, 1008, 1009])
def test_every_half_is_decoded_as_numpy_does_or_refused_where_it_is_infinite(exponent: int, dtype: Any) -> None:
    halves, start = np.arange(2**16, dtype=np.uint16), struct.pack("<BBh", Float16.kind, 1, exponent)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        wanted = np.ldexp(halves.view("<f2").astype(dtype), exponent)
    finite = np.isfinite(wanted)
    out = np.empty(int(finite.sum()), dtype)
    Float16().decode(start + halves[finite].tobytes(), out.size, out=out)
    assert out.tobytes() == wanted[finite].tobytes()
    # Magnitudes are ordered as their bits are: where the least of those is refused, the others are.
    for half in (
        halves[~finite].min(),
        halves[~finite & (halves >= 2**15)].min(),
        np.uint16(0x7E00),
        np.uint16(0xFC00),
    ):
        with pytest.raises(PayloadError, match="NaN or infinity"):
            Float16().decode(start + half.tobytes(), 1, out=np.empty(1, dtype))
        if dtype == np.float64:
            with pytest.raises(PayloadError, match="NaN or infinity"):
                Float16().add(start + half.tobytes(), np.zeros(1), np.empty(1))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_single_precision_is_decoded_exactly_and_what_is_no_number_is_refused(dtype: Any) -> None:
    edges = np.array([0, 1, 0x7FFFFF, 0x800000, 0x7F7FFFFF], np.uint32)
    bits = np.concatenate([edges, edges | 2**31, np.random.default_rng(0).integers(0, 0x7F800000, 99, np.uint32)])
    start, out = struct.pack("<BBh", Float32.kind, 1, 0), np.empty(bits.size, dtype)
    Float32().decode(start + bits.tobytes(), bits.size, out=out)
    assert out.tobytes() == bits.view("<f4").astype(dtype).tobytes()
    for wrong in (0x7F800000, 0xFF800000, 0x7F800001, 0xFFC00000):
        bits[50] = wrong
        with pytest.raises(PayloadError, match="NaN or infinity"):
            Float32().decode(start + bits.tobytes(), bits.size, out=out)
        with pytest.raises(PayloadError, match="NaN or infinity"):
            Float32().add(start + bits.tobytes(), np.zeros(bits.size), np.empty(bits.size))


def test_double_precision_is_refused_where_single_precision_is_asked_for_and_too_small() -> None:
    beyond = Float32.beyond
    single = np.empty(2, np.float32)
    Float64().decode(Float64().encode(np.array([1.0, -np.nextafter(beyond, 0)]), 0), 2, out=single)
    assert single[1] == -np.finfo(np.float32).max
    with pytest.raises(PayloadError, match="NaN or infinity"):
        Float64().decode(Float64().encode(np.array([1.0, -beyond]), 0), 2, out=single)


def test_half_precision_is_exact_for_the_powers_of_two_in_its_range() -> None:
    vector = 2.0 ** np.arange(-28, 1)
    for scale in (1.0, 2.0**900, 2.0**-900):
        np.testing.assert_array_equal(Float16().decode(Float16().encode(vector * scale, 0), 29), vector * scale)


@pytest.mark.parametrize("name", ALL)
def test_a_payload_is_four_bytes_and_the_numbers_in_little_endian(name: str) -> None:
    vector = np.array([1.0, -2.5, 3.0, 0.0, 0.125])
    payload = ALL[name].encode(vector, 0)
    assert len(payload) == 4 + 5 * BYTES[name]
    exponent = struct.unpack_from("<h", payload, 2)[0]
    body = np.frombuffer(payload[4:], f"<f{BYTES[name]}").astype(np.float64)
    np.testing.assert_array_equal(np.ldexp(body, exponent), vector)


@pytest.mark.parametrize("name", ALL)
def test_nothing_is_drawn(name: str) -> None:
    vector = np.random.default_rng(0).standard_normal(100)
    assert ALL[name].encode(vector, 1) == ALL[name].encode(vector, 2)
    assert ALL[name].variance(100) == 0


@pytest.mark.parametrize("name", ALL)
def test_single_precision_rows_that_are_not_contiguous_are_taken_as_they_read(name: str) -> None:
    vector = np.random.default_rng(0).standard_normal((50, 2)).astype(np.float32)[::-1, 1]
    assert ALL[name].encode(vector, 0) == ALL[name].encode(vector.astype(np.float64).copy(), 0)


@pytest.mark.parametrize("name", ALL)
def test_a_payload_may_lie_anywhere_in_memory(name: str) -> None:
    vector = np.random.default_rng(0).standard_normal(30)
    payload = ALL[name].encode(vector, 0)
    expected = ALL[name].decode(payload, 30)
    for shift in range(1, 8):
        view = memoryview(bytearray(bytes(shift) + payload))[shift:]
        np.testing.assert_array_equal(ALL[name].decode(view, 30), expected)


@pytest.mark.parametrize("name", ALL)
def test_a_decoded_vector_does_not_change_with_the_buffer_it_came_from(name: str) -> None:
    buffer = bytearray(ALL[name].encode(np.ones(9), 0))
    decoded = ALL[name].decode(memoryview(buffer), 9)
    buffer[:] = bytes(len(buffer))
    np.testing.assert_array_equal(decoded, np.ones(9))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_vector_that_is_not_finite_is_refused(name: str, bad: float) -> None:
    vector = np.ones(20)
    vector[13] = bad
    with pytest.raises(PayloadError, match="NaN or infinity"):
        ALL[name].encode(vector, 0)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("vector", [np.ones((2, 3)), np.ones(0), np.ones((0, 4))])
def test_what_is_no_vector_is_refused(name: str, vector: Array) -> None:
    with pytest.raises(PayloadError, match="shape"):
        ALL[name].encode(vector, 0)


@pytest.mark.parametrize(("name", "number"), [("fp32", 3.5e38), ("fp32", -1e300), ("fp16", 1.7976931348623157e308)])
def test_numbers_beyond_the_range_are_refused_and_never_sent_as_infinity(name: str, number: float) -> None:
    with pytest.raises(PayloadError, match="range"):
        ALL[name].encode(np.array([1.0, number]), 0)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("size", [1, 19, 21, 40])
def test_another_size_than_was_sent_is_refused(name: str, size: int) -> None:
    payload = ALL[name].encode(np.ones(20), 0)
    with pytest.raises(PayloadError):
        ALL[name].decode(payload, size)


@pytest.mark.parametrize("name", ALL)
def test_the_payload_of_another_compressor_or_version_is_refused(name: str) -> None:
    for other in set(ALL) - {name}:
        with pytest.raises(PayloadError, match="kind"):
            ALL[name].decode(ALL[other].encode(np.ones(8), 0), 8 * BYTES[other] // BYTES[name])
    payload = bytearray(ALL[name].encode(np.ones(8), 0))
    payload[1] += 1
    with pytest.raises(PayloadError, match="version"):
        ALL[name].decode(bytes(payload), 8)


@pytest.mark.parametrize(("name", "exponent"), [("fp64", 1), ("fp32", -3), ("fp16", 1010), ("fp16", -1090)])
def test_a_scale_that_is_never_sent_is_refused(name: str, exponent: int) -> None:
    payload = bytearray(ALL[name].encode(np.ones(8), 0))
    struct.pack_into("<h", payload, 2, exponent)
    with pytest.raises(PayloadError, match="scale"):
        ALL[name].decode(bytes(payload), 8)


@pytest.mark.parametrize("name", ALL)
def test_a_payload_made_in_memory_that_is_used_again_is_the_same(name: str) -> None:
    scratch, rng = ScratchBuffer(), np.random.default_rng(5)
    for size in (300, 7, 40):
        vector = rng.standard_normal(size)
        assert bytes(joined(ALL[name].pieces(vector, 0, scratch))) == ALL[name].encode(vector, 0)


def survives(compressor: Compressor, payload: bytes, size: int) -> bool:
    """Tell whether a damaged payload is decoded; it is a finite vector of the right size then."""
    try:
        vector = compressor.decode(payload, size)
    except PayloadError:
        return False
    assert vector.shape == (size,)
    assert vector.dtype == np.float64
    assert np.isfinite(vector).all()
    return True


@pytest.mark.parametrize("name", ALL)
def test_damaged_payloads_are_refused_or_decoded_and_nothing_else(name: str) -> None:
    rng, size = np.random.default_rng(7), 21
    payload = ALL[name].encode(rng.standard_normal(size), 0)
    for length in range(len(payload)):
        assert not survives(ALL[name], payload[:length], size)
        assert not survives(ALL[name], payload + rng.bytes(length + 1), size)
    outcomes = []
    for bit in range(8 * len(payload)):
        damaged = bytearray(payload)
        damaged[bit // 8] ^= 1 << bit % 8
        outcomes.append(survives(ALL[name], bytes(damaged), size))
    assert not any(outcomes[:16]), "kind and version are told by every bit"
    assert any(outcomes[32:]), "a wrong number cannot be told from a right one"
    for _ in range(2000):
        survives(ALL[name], rng.bytes(len(payload)), size)
        survives(ALL[name], payload[:4] + rng.bytes(len(payload) - 4), size)
