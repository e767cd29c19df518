"""Every registered compressor on vectors of all sizes and of every special shape, and its payloads byte by byte."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from make_golden import GOLDEN, VECTORS, golden_cases, key_of
from references import (
    REFERENCES,
    Array,
    Case,
    draws,
    every_compressor,
    in_one_coding,
    rounding,
    sparse,
    uneven,
    with_reference,
)

from relufit import streams
from relufit.errors import PayloadError

# Nothing overflows on the way to a number that is sent or refused.
pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")

CASES, ALL = with_reference(), list(every_compressor())
IN_ONE_CODING = in_one_coding()
LARGEST = float(np.finfo(np.float64).max)
#: Its norm is half a unit of the last place above the largest number.
ON_THE_EDGE = np.array([LARGEST, LARGEST * 2.0**-26])


def powers(size: int, low: float, high: float, rng: np.random.Generator) -> Array:
    """Numbers of either sign whose logarithms are spread evenly."""
    return rng.choice([-1.0, 1.0], size) * 10.0 ** np.linspace(low, high, size)


def one_hot(size: int, index: int, number: float = 1.0) -> Array:
    vector = np.zeros(size)
    vector[index] = number
    return vector


def alternating(size: int, *numbers: float) -> Array:
    return np.resize(np.array(numbers), size)


#: Vectors by size; the random ones come from the generator.
SPECIAL: dict[str, Callable[[int, np.random.Generator], Array]] = {
    "zeros": lambda size, rng: np.zeros(size),
    "zeros of both signs": lambda size, rng: alternating(size, 0.0, -0.0, -0.0),
    "one-hot at the start": lambda size, rng: one_hot(size, 0),
    "one-hot in the middle": lambda size, rng: one_hot(size, size // 2, -math.pi),
    "one-hot at the end": lambda size, rng: one_hot(size, size - 1, 1e-300),
    "constant": lambda size, rng: np.full(size, 0.3),
    "constant, negative": lambda size, rng: np.full(size, -7.0),
    "constant, huge": lambda size, rng: np.full(size, 1e300),
    "constant, least": lambda size, rng: np.full(size, math.ulp(0.0)),
    "powers of two": lambda size, rng: np.ldexp(1.0, rng.integers(-40, 40, size)),
    "ones of both signs": lambda size, rng: alternating(size, 1.0, -1.0),
    "huge and tiny in turn": lambda size, rng: alternating(size, 1e300, 1e-300),
    "huge, tiny and zero in turn": lambda size, rng: alternating(size, -1e300, 1e-300, 0.0),
    "largest and least": lambda size, rng: alternating(size, LARGEST / 64, -math.ulp(0.0)),
    "subnormal": lambda size, rng: rng.integers(-1000, 1000, size) * math.ulp(0.0),
    "subnormal and normal": lambda size, rng: rng.standard_normal(size) * 2.0**-1022,
    "sorted": lambda size, rng: np.sort(rng.standard_normal(size)),
    "negative": lambda size, rng: -np.abs(rng.standard_normal(size)),
    "mixed magnitudes": lambda size, rng: rng.permutation(powers(size, -3, 3, rng)),
    "all magnitudes": lambda size, rng: rng.permutation(powers(size, -307, 307, rng)),
    "sparse": lambda size, rng: rng.standard_normal(size) * (rng.random(size) < 0.02),
    "runs": lambda size, rng: np.repeat(rng.standard_normal(size), 37)[:size],
    "whole numbers": lambda size, rng: rng.integers(-3, 4, size).astype(np.float64),
    "single precision": lambda size, rng: rng.standard_normal(size).astype(np.float32).astype(np.float64),
    "beyond single precision": lambda size, rng: rng.standard_normal(size) * 1e60,
    "at the top": lambda size, rng: np.full(size, LARGEST),
    "one-hot, 2^1023": lambda size, rng: one_hot(size, 0, 2.0**1023),
    "one-hot, below 2^1023": lambda size, rng: one_hot(size, size // 2, -math.nextafter(2.0**1023, 0)),
    "below 2^1020": lambda size, rng: rng.uniform(0.5, 1, size) * 2.0**1018,
}


def check_round_trip(case: Case, vector: Array, key: int) -> None:
    """A vector is refused if the definition has no finite number for it, and comes back on the grid otherwise."""
    compressor, size, expected = case.compressor, vector.size, rounding(case, vector)
    before = vector.tobytes()
    if not expected.possible:
        if np.abs(vector).max() > LARGEST / 2 and rounding(case, vector * (1 - 1e-12)).possible:
            return  # half a unit of the last place decides whether the norm is the largest number or infinity
        with pytest.raises(PayloadError):
            compressor.encode(vector, key)
        return
    payload = compressor.encode(vector, key)
    assert vector.tobytes() == before
    assert type(payload) is bytes
    decoded = compressor.decode(payload, size)
    assert decoded.shape == (size,)
    assert decoded.dtype == np.float64
    assert not uneven(decoded, expected).size
    for wrong in (payload + b"\0", payload[:-1]):
        with pytest.raises(PayloadError):
            compressor.decode(wrong, size)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_special_vectors_come_back(case: Case) -> None:
    for make in SPECIAL.values():
        for size in (1, 7, 300):
            check_round_trip(case, make(size, np.random.default_rng(size)), streams.key(size))


@pytest.mark.parametrize("case", CASES, ids=str)
@settings(deadline=None, max_examples=5)
@given(st.integers(1, 2000), st.sampled_from(list(SPECIAL)), st.integers(0, 2**32))
def test_vectors_of_every_size_come_back(case: Case, size: int, family: str, seed: int) -> None:
    check_round_trip(case, SPECIAL[family](size, np.random.default_rng(seed)), streams.key(seed))


@settings(deadline=None, max_examples=400)
@example(Case("qsgd", (("levels", 1), ("coding", "packed"), ("bucket_size", None), ("norm", "l2"))), ON_THE_EDGE, 0)
@given(
    st.sampled_from(CASES),
    arrays.arrays(
        np.float64, st.integers(1, 40), elements=st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=True)
    ),
    st.integers(0, 2**32),
)
def test_vectors_of_any_numbers_come_back(case: Case, vector: Array, seed: int) -> None:
    check_round_trip(case, vector, streams.key(seed))


LARGE = [case for case in CASES if case.get("levels", 4) in (4, 32767) and case.get("bucket_size") in (None, 64)]


@pytest.mark.parametrize("case", [case for case in LARGE if case.get("norm", "l2") == "l2"], ids=str)
@pytest.mark.parametrize("size", [10_001, 65_537])
def test_large_vectors_come_back(case: Case, size: int) -> None:
    check_round_trip(case, np.random.default_rng(size).standard_normal(size), streams.key(size))


@pytest.mark.parametrize("case", [case for case in LARGE if case.get("bucket_size") is None], ids=str)
def test_very_large_vectors_come_back(case: Case) -> None:
    rng = np.random.default_rng(0)
    check_round_trip(case, rng.standard_normal(300_000) * np.logspace(0, -12, 300_000), streams.key(0))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_is_decoded_does_not_depend_on_the_coding(case: Case) -> None:
    if case.get("coding", "packed") == "packed":
        return
    packed = case.but(coding="packed").compressor
    for family in ("zeros", "constant", "sparse", "negative", "mixed magnitudes"):
        for size in (1, 33, 700):
            vector, key = SPECIAL[family](size, np.random.default_rng(size)), streams.key(7)
            one = case.compressor.decode(case.compressor.encode(vector, key), size)
            np.testing.assert_array_equal(one, packed.decode(packed.encode(vector, key), size))


@pytest.mark.parametrize("case", ALL, ids=str)
def test_single_precision_gives_the_same_bytes(case: Case) -> None:
    for size, key in ((1, 0), (100, streams.key(1)), (1000, streams.key(2))):
        vector = np.random.default_rng(size).standard_normal(size).astype(np.float32)
        payload = case.compressor.encode(vector, key)
        assert payload == case.compressor.encode(vector.astype(np.float64), key)
        assert payload == case.compressor.encode(np.repeat(vector, 2)[::2], key)


@pytest.mark.parametrize("case", ALL, ids=str)
def test_what_is_decoded_can_be_written_into_an_array(case: Case) -> None:
    for size in (1, 5, 300, 1000):
        for vector in (np.random.default_rng(size).standard_normal(size), np.zeros(size)):
            payload = case.compressor.encode(vector, streams.key(1))
            decoded = case.compressor.decode(payload, size)
            double, single = np.full(size, np.nan), np.full(size, np.nan, np.float32)
            assert case.compressor.decode(payload, size, out=double) is double
            np.testing.assert_array_equal(double, decoded)
            assert case.compressor.decode(payload, size, out=single) is single
            np.testing.assert_array_equal(single, decoded.astype(np.float32))


@pytest.mark.parametrize("case", IN_ONE_CODING, ids=str)
def test_numbers_beyond_single_precision_are_never_written_as_infinity(case: Case) -> None:
    vector = np.linspace(-1e60, 1e60, 100)
    expected = rounding(case, vector)
    if expected.possible and np.abs(expected.high).max() > np.finfo(np.float32).max:
        payload = case.compressor.encode(vector, streams.key(1))
        with pytest.raises(PayloadError):
            case.compressor.decode(payload, 100, out=np.empty(100, np.float32))


@pytest.mark.parametrize("case", IN_ONE_CODING, ids=str)
def test_an_array_that_cannot_be_written_into_is_refused(case: Case) -> None:
    payload = case.compressor.encode(np.ones(10), streams.key(1))
    fixed = np.empty(10)
    fixed.flags.writeable = False
    for out in (np.empty(9), np.empty((1, 10)), np.empty(10, np.int64), np.empty(20)[::2], fixed):
        with pytest.raises(ValueError, match="out"):
            case.compressor.decode(payload, 10, out=out)


@pytest.mark.parametrize("case", ALL, ids=str)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_refused_wherever_it_is(case: Case, bad: float) -> None:
    for size in (1, 6, 45):
        for index, others in itertools.product(
            {0, 1, size // 2, size - 2, size - 1} & set(range(size)), (0.0, 1.0, 1e300)
        ):
            vector = np.full(size, others)
            vector[index] = bad
            with pytest.raises(PayloadError):
                case.compressor.encode(vector, 0)
    vector = np.ones(300, np.float32)
    for index in (0, 150, 255, 256, 299):
        vector[index] = bad
        with pytest.raises(PayloadError):
            case.compressor.encode(vector, 0)
        vector[index] = 1


@pytest.mark.parametrize("case", [case for case in IN_ONE_CODING if not sparse(case)], ids=str)
@pytest.mark.parametrize("size", [1, 2, 7, 64, 65, 255, 256, 257, 1000])
def test_the_length_of_a_payload_is_that_of_the_definition(case: Case, size: int) -> None:
    vector = np.random.default_rng(size).standard_normal(size)
    payload = case.compressor.encode(vector, streams.key(1))
    if case.name in ("sign", "one_bit", "majority"):
        assert len(payload) == 4 + {"sign": 8, "one_bit": 16, "majority": 0}[case.name] + math.ceil(size / 8)
        return
    if case.get("coding") is None:
        assert len(payload) == 4 + size * {"fp64": 8, "fp32": 4, "fp16": 2}[case.name]
        return
    # Five levels to a byte if there are three, else the bits of the whole numbers up to 2 s for each.
    s = int.from_bytes(payload[2:4], "little")
    body = math.ceil(size / 5) if s == 1 else math.ceil(size * (2 * s).bit_length() / 8)
    before = 2 if case.name == "natural" else 8 * math.ceil(size / (case.get("bucket_size") or size))
    assert len(payload) == 4 + before + body


@pytest.mark.parametrize("case", golden_cases(), ids=str)
def test_payloads_are_those_of_the_format_byte_for_byte(case: Case) -> None:
    assert GOLDEN.exists(), f"run {GOLDEN.with_name('make_golden.py')}"
    recorded = json.loads(GOLDEN.read_text())
    for name, vector in VECTORS.items():
        payload = case.compressor.encode(vector, key_of(name))
        version = str(payload[1])
        assert str(case) in recorded.get(version, {}), f"{case}, version {version}: run make_golden.py"
        known = recorded[version][str(case)][name]
        assert known in (payload.hex(), hashlib.sha256(payload).hexdigest())
        if len(known) != 64 and case.name in REFERENCES:
            decoded = case.compressor.decode(bytes.fromhex(known), vector.size)
            assert not uneven(decoded, rounding(case, vector)).size


def test_golden_payloads_depend_on_the_key_where_something_is_drawn() -> None:
    vector = VECTORS["1000 numbers"]
    for case in golden_cases():
        one, other = (case.compressor.encode(vector, key_of(name)) for name in VECTORS)
        # A seed is sent even where it decides nothing, and a bit is drawn for each zero.
        assert (one != other) == (draws(case) or case.name in ("rand_k", "majority"))
