"""Compressors that send some coordinates only: which ones, in how many bits, and what is lost of a vector.

The statistical tests are seeded. Together they fail by chance with a probability below 1e-5.
"""

from __future__ import annotations

import itertools
import math
import struct
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from relufit import streams, theory
from relufit.compression import Compressor, make_compressor
from relufit.compression.selection import largest_positions
from relufit.errors import ConfigError, PayloadError

Array = NDArray[np.float64]
ALL: list[Compressor] = [
    *(make_compressor("top_k", fraction=0.1, values=values) for values in ("fp32", "fp16")),
    make_compressor("top_k_sign", fraction=0.1),
    *(make_compressor("rand_k", fraction=0.1, scaled=scaled) for scaled in (True, False)),
]


def gaussian(size: int, seed: int = 0) -> Array:
    return np.random.default_rng([size, seed]).standard_normal(size)


def sent(compressor: Compressor, vector: Array, key: int = 0) -> Array:
    return compressor.decode(compressor.encode(vector, key), vector.size)


def share_of_error(compressor: Compressor, vector: Array, key: int = 0) -> float:
    return float(np.sum((sent(compressor, vector, key) - vector) ** 2) / np.sum(vector**2))


# The largest coordinates.


def by_sorting(vector: NDArray[Any], count: int) -> NDArray[np.intp]:
    first = np.argsort(-np.abs(vector), kind="stable")[:count]
    return np.sort(first[vector[first] != 0])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("size", [1, 2, 15, 16, 17, 1000, 8191, 8192, 30_000])
def test_the_largest_are_those_that_sorting_finds(size: int, dtype: type) -> None:
    rng = np.random.default_rng(size)
    tiny, huge = float(np.finfo(dtype).smallest_subnormal), float(np.finfo(dtype).max)
    for vector in (
        rng.standard_normal(size),
        np.sort(rng.standard_normal(size)),
        rng.integers(-3, 4, size) / 2.0,
        np.full(size, -0.5),
        rng.integers(-9, 10, size) * tiny,
        rng.uniform(-1, 1, size) * huge,
        np.where(rng.random(size) < 0.01, 1.0, -0.0),
        # What a sample sees is not what the vector is like.
        np.where(np.arange(size) % max(1, size // 4096) == 0, 1e3, rng.standard_normal(size)),
        np.where(np.arange(size) % max(1, size // 4096) == 0, 1e-3, rng.standard_normal(size)),
    ):
        given = vector.astype(dtype)
        for count in {1, max(1, size // 100), max(1, size // 3), size}:
            np.testing.assert_array_equal(largest_positions(given, count), by_sorting(given, count))


def test_of_equal_magnitudes_the_first_are_sent() -> None:
    vector = np.resize([2.0, -2.0, 1.0], 30)
    for name in ("top_k", "top_k_sign"):
        decoded = sent(make_compressor(name, fraction=0.5), vector)
        assert np.flatnonzero(decoded).tolist() == [i for i in range(30) if i % 3 < 2][:15]
        np.testing.assert_array_equal(decoded[decoded != 0], vector[decoded != 0])


@pytest.mark.parametrize("name", ["top_k", "top_k_sign"])
def test_zeros_are_not_sent_and_fewer_coordinates_take_fewer_bytes(name: str) -> None:
    compressor, vector = make_compressor(name, fraction=0.5), np.zeros(200)
    vector[[3, 50, 199]] = 2.0, -2.0, 2.0
    payload = compressor.encode(vector, 0)
    np.testing.assert_array_equal(compressor.decode(payload, 200), vector)
    assert payload[0] & 128
    assert len(payload) < 30
    for number in (0, 100, 101, 2**32 - 1):
        with pytest.raises(PayloadError):
            compressor.decode(payload[:4] + struct.pack("<I", number) + payload[8:], 200)


def test_values_that_the_format_rounds_to_zero_are_not_sent() -> None:
    for values, tiny in (("fp32", 1e-50), ("fp16", 1e-12)):
        compressor = make_compressor("top_k", fraction=1.0, values=values)
        vector = np.array([tiny, 1.0, -tiny, -0.5])
        payload = compressor.encode(vector, 0)
        assert payload == compressor.encode(np.array([0.0, 1.0, -0.0, -0.5]), 0)
        np.testing.assert_array_equal(compressor.decode(payload, 4), [0, 1, 0, -0.5])
    assert len(make_compressor("top_k", fraction=1.0).encode(np.full(3, 1e-50), 0)) == 4


@pytest.mark.parametrize(("values", "start", "itemsize"), [("fp32", 4, 4), ("fp16", 6, 2)])
def test_values_that_no_encoder_sends_are_refused(values: str, start: int, itemsize: int) -> None:
    compressor, vector = make_compressor("top_k", fraction=0.1, values=values), gaussian(100)
    payload = compressor.encode(vector, 0)
    for zero in (0, 0x80):
        damaged = bytearray(payload)
        damaged[start : start + itemsize] = bytes(itemsize - 1) + bytes([zero])
        with pytest.raises(PayloadError, match="zero"):
            compressor.decode(damaged, 100)


def test_halves_are_scaled_to_the_range_of_the_format() -> None:
    compressor = make_compressor("top_k", fraction=0.5, values="fp16")
    # The second rounds up to 2^15, the largest that a scaled number becomes.
    for vector in (np.array([1.0, 0.25]), np.array([1 - 2.0**-30, 0.25])):
        payload = compressor.encode(vector, 0)
        (half,) = struct.unpack_from("<e", payload, 6)
        assert compressor.decode(payload, 2)[0] == 1
        for factor in (1 / 4, 3 if half < 2**14.5 else 1.5):
            with pytest.raises(PayloadError, match="scaled"):
                compressor.decode(payload[:6] + struct.pack("<e", half * factor) + payload[8:], 2)


@pytest.mark.parametrize("compressor", ALL, ids=str)
def test_numbers_that_are_not_finite_are_refused_however_few_are_sent(compressor: Compressor) -> None:
    for size in (1, 2, 10_000):
        for bad in (math.nan, -math.nan, math.inf, -math.inf):
            for dtype in (np.float64, np.float32):
                vector = np.full(size, np.finfo(dtype).max, dtype)
                vector[-1] = bad
                with pytest.raises(PayloadError, match="NaN or infinity in the vector"):
                    compressor.encode(vector, 3)


# What is lost.


@pytest.mark.parametrize("size", [1, 7, 5000])
@pytest.mark.parametrize("fraction", [0.001, 0.05, 0.3, 1.0])
def test_no_vector_loses_more_than_the_published_share(size: int, fraction: float) -> None:
    count = max(1, round(fraction * size))
    spike = np.append(1e6, np.ones(size - 1))
    for vector in (gaussian(size), np.ones(size), spike, gaussian(size) * np.logspace(0, -9, size)):
        assert share_of_error(make_compressor("top_k", fraction=fraction), vector) <= 1 - count / size + 1e-6
        kept = float(np.sum(np.sort(np.abs(vector))[size - count :]) ** 2 / (count * np.sum(vector**2)))
        assert kept >= 1 / size - 1e-12
        lost = share_of_error(make_compressor("top_k_sign", fraction=fraction), vector)
        assert lost == pytest.approx(1 - kept, abs=1e-9)


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.5, 1.0])
def test_gaussian_vectors_lose_what_is_predicted(fraction: float) -> None:
    vector = gaussian(10**6)
    for name, values in (("top_k", {"values": "fp32"}), ("top_k", {"values": "fp16"}), ("top_k_sign", {})):
        delta = theory.top_delta(fraction, signs=name == "top_k_sign")
        lost = share_of_error(make_compressor(name, fraction=fraction, **values), vector)
        # Six standard deviations of the squared norm of the coordinates that are sent, at most.
        assert lost == pytest.approx(1 - delta, abs=6 * math.sqrt(8 / 10**6))


@pytest.mark.parametrize(
    "compressor",
    [
        *(make_compressor(name, fraction=q) for name in ("top_k", "top_k_sign") for q in (0.1, 0.5, 1.0)),
        make_compressor("rand_k", fraction=0.1, scaled=False),
        make_compressor("rand_k", fraction=1.0),
        make_compressor("fp64"),
    ],
    ids=str,
)
def test_the_contraction_is_the_share_that_is_kept_of_a_gaussian_direction(compressor: Compressor) -> None:
    kept, products = [], []
    for seed in range(300):
        vector = gaussian(200, seed)
        decoded = sent(compressor, vector, streams.key(seed))
        squares = np.sum(vector**2)
        kept.append(np.sum(decoded**2) / squares)
        products.append(decoded @ vector / squares)
    delta = compressor.contraction(200)
    assert delta is not None
    for shares in (kept, products):
        # Two per cent for the limit of many dimensions.
        assert abs(np.mean(shares) - delta) <= 0.02 * delta + 5.5 * np.std(shares) / math.sqrt(300)


def test_what_is_biased_has_no_variance_and_what_has_one_no_contraction() -> None:
    for compressor in ALL:
        assert (compressor.variance(1000) is None) == (compressor.contraction(1000) is not None)
        assert (compressor.variance(1000) is None) == (compressor.variance_bound(1000) is None)


def test_a_mean_magnitude_is_right_at_both_ends_of_the_range() -> None:
    compressor = make_compressor("top_k_sign", fraction=1.0)
    for number in (np.finfo(np.float64).max, math.ulp(0.0), 3 * math.ulp(0.0), 1.0):
        np.testing.assert_array_equal(sent(compressor, np.array([number, -number, number])), [number, -number, number])


def test_random_coordinates_without_a_factor_lose_the_share_that_is_not_sent() -> None:
    vector, compressor = gaussian(1000), make_compressor("rand_k", fraction=0.2, scaled=False)
    lost = [share_of_error(compressor, vector, streams.key(t)) for t in range(400)]
    assert abs(np.mean(lost) - 0.8) <= 5.5 * np.std(lost) / 20
    assert compressor.variance(1000) is compressor.variance_bound(1000) is None


# Random sets.


@pytest.mark.parametrize(("size", "fraction"), [(6, 0.5), (7, 0.29), (7, 0.72), (9, 0.12)])
def test_every_set_of_coordinates_is_as_frequent_as_every_other(size: int, fraction: float) -> None:
    compressor, trials = make_compressor("rand_k", fraction=fraction), 20_000
    counts = dict.fromkeys(itertools.combinations(range(size), round(fraction * size)), 0)
    for t in range(trials):
        counts[tuple(np.flatnonzero(sent(compressor, np.ones(size), streams.key(t))).tolist())] += 1
    assert stats.chisquare(list(counts.values())).pvalue > 1e-7


@pytest.mark.parametrize("fraction", [0.03, 0.4, 0.9])
def test_coordinates_of_long_vectors_are_drawn_evenly_and_without_regard_to_each_other(fraction: float) -> None:
    size, trials = 5000, 400
    compressor = make_compressor("rand_k", fraction=fraction)
    drawn = np.array([sent(compressor, np.ones(size), streams.key(1, iteration=t)) > 0 for t in range(trials)])
    assert np.all(drawn.sum(axis=1) == round(fraction * size))
    spread = fraction * (1 - fraction)
    square = np.sum((drawn.sum(axis=0) - trials * fraction) ** 2) / (trials * spread)
    assert 1e-7 < stats.chi2.cdf(square, size - 1) < 1 - 1e-7
    centred = drawn - fraction
    for lag in (1, 2, 7, 64, 1024):
        for one, other in ((centred[:, lag:], centred[:, :-lag]), (centred[lag:], centred[:-lag])):
            if one.size:
                score = np.sum(one * other) / (spread * math.sqrt(one.size))
                # Without replacement, coordinates have a correlation of -1 / (d - 1).
                assert abs(score + math.sqrt(one.size) / size) < 6


def test_positions_follow_from_the_seed_as_the_page_says() -> None:
    for size, fraction in ((50, 0.2), (50, 0.7), (5000, 0.5)):
        compressor = make_compressor("rand_k", fraction=fraction)
        payload = compressor.encode(np.ones(size), streams.key(9))
        (seed,) = struct.unpack_from("<q", payload, 4)
        key = streams.key(9)
        assert seed == (key % 2**64 ^ key >> 64) - 2**63
        a, b, c, d = streams.words(streams.key(seed, purpose="positions")).tolist()

        def word(i: int, a: int = a, b: int = b, c: int = c, d: int = d) -> int:
            x = i * 0x9E3779B1 % 2**32 ^ a
            x = ((x ^ x >> 16) * 0x21F0AAAD + b) % 2**32
            x = (x ^ x >> 15) * 0x735A2D97 % 2**32 ^ c
            x = ((x ^ x >> 15) * 0xD168AAAD + d) % 2**32
            return x ^ x >> 16

        k = round(fraction * size)
        members = min(k, size - k)
        found: set[int] = set()
        for i, j in enumerate(range(size - members, size)):
            number = (word(2 * i) << 32 | word(2 * i + 1)) * (j + 1) >> 64
            found.add(j if number in found else number)
        positions = sorted(found if 2 * k <= size else set(range(size)) - found)
        assert np.flatnonzero(compressor.decode(payload, size)).tolist() == positions


# Payloads.


@pytest.mark.parametrize("compressor", ALL, ids=str)
def test_sums_are_those_of_decoded_vectors_in_the_sign_of_zero_too(compressor: Compressor) -> None:
    for vector in (gaussian(300), np.zeros(300)):
        payload, total = compressor.encode(vector, 1), np.resize([0.0, -0.0, 1.0], 300)
        wanted = total + compressor.decode(payload, 300)
        compressor.add(payload, total, np.empty(300))
        assert total.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("compressor", ALL, ids=str)
def test_a_vector_of_zeros_is_a_header(compressor: Compressor) -> None:
    for size in (1, 1000):
        payload = compressor.encode(np.resize([0.0, -0.0], size), 1)
        assert len(payload) == 4
        assert not compressor.decode(payload, size).any()


@pytest.mark.parametrize("size", [1000, 20_000])
@pytest.mark.parametrize("fraction", [0.01, 0.05, 0.2, 0.6])
@pytest.mark.parametrize("name", ["top_k", "top_k_sign", "rand_k"])
def test_the_expected_length_is_that_of_gaussian_vectors(name: str, fraction: float, size: int) -> None:
    compressor = make_compressor(name, fraction=fraction)
    lengths = [8 * len(compressor.encode(gaussian(size, seed), seed)) for seed in range(20)]
    assert np.mean(lengths) == pytest.approx(compressor.expected_bits(size), rel=0.01)


@pytest.mark.parametrize(
    ("name", "parameters", "where"),
    [
        *((name, {"fraction": wrong}, "fraction") for name in ("top_k", "rand_k", "top_k_sign")
          for wrong in (0, 0.0, -0.1, 1.5, True, math.nan, math.inf, "0.1", None)),
        *((name, {"values": wrong}, "values") for name in ("top_k", "rand_k") for wrong in ("fp64", "", 32, None, [])),
        *(("rand_k", {"scaled": wrong}, "scaled") for wrong in (1, "yes", None)),
    ],
)  # fmt: skip
def test_impossible_parameters_are_refused_with_what_helps(name: str, parameters: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_compressor(name, **parameters)
    assert caught.value.where == where
    assert caught.value.remedy
    assert str(caught.value).startswith(f"{where}: ")


@pytest.mark.parametrize("name", ["top_k", "rand_k", "top_k_sign"])
def test_at_least_one_coordinate_is_sent_and_at_most_all(name: str) -> None:
    for fraction in (math.ulp(0.0), 1e-9, 0.5, math.nextafter(1, 0), 1.0):
        compressor = make_compressor(name, fraction=fraction)
        for size in (1, 2, 3, 65):
            decoded = sent(compressor, gaussian(size))
            assert np.count_nonzero(decoded) == max(1, round(fraction * size))


def test_a_fraction_is_a_number_of_python_whatever_it_was_given_as() -> None:
    assert make_compressor("top_k", fraction=np.float32(0.5)).parameters == {"fraction": 0.5, "values": "fp32"}
    assert make_compressor("top_k", fraction=1) == make_compressor("top_k", fraction=1.0)


def test_numbers_beyond_the_format_are_refused_whichever_coordinates_are_drawn() -> None:
    vector = np.ones(100)
    vector[17] = 1e38
    for key in range(20):
        with pytest.raises(PayloadError):
            make_compressor("rand_k", fraction=0.01).encode(vector, key)
        make_compressor("rand_k", fraction=0.01, values="fp16").encode(vector, key)
    vector[17] = 1e307
    with pytest.raises(PayloadError, match="beyond the range of float64"):
        make_compressor("rand_k", fraction=0.01, values="fp16").encode(vector, 0)
