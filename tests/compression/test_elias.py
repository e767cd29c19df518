"""Elias' codes against a reader and a writer in strings of zeros and ones, bit by bit, from the definition.

Statistical tests are seeded and pass if |z| < 4.5: a right prediction fails one with probability 2e-5.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from elias_codes import (
    DENSE_GAMMA,
    DENSE_OMEGA,
    LARGEST,
    SPARSE_GAMMA,
    SPARSE_OMEGA,
    Levels,
    check,
    reference,
    to_bytes,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from universal_codes import gamma, omega

from relufit import theory
from relufit.compression.base import ScratchBuffer
from relufit.compression.coding import elias
from relufit.compression.coding.elias import Elias

WHOLE = [*range(1, 200), *(2**j + step for j in range(3, 33) for step in (-1, 0, 1) if 2**j + step <= 2**32)]


# The codes of numbers.

GAMMA = {1: "1", 2: "010", 3: "011", 4: "00100", 5: "00101", 8: "0001000", 10: "0001010", 17: "000010001"}
OMEGA = {
    1: "0",
    2: "100",
    3: "110",
    4: "101000",
    7: "101110",
    8: "1110000",
    15: "1111110",
    16: "10100100000",
    31: "10100111110",
    32: "101011000000",
    100: "1011011001000",
    1000: "11100111111010000",
    1_000_000: "1010010011111101000010010000000",
}


@pytest.mark.parametrize(("codes", "write", "is_omega"), [(GAMMA, gamma, False), (OMEGA, omega, True)])
def test_codes_of_numbers_are_those_of_the_literature(codes: dict[int, str], write: Any, is_omega: bool) -> None:
    for n, code in codes.items():
        assert write(n) == code
        assert elias._length(np.int64(n), int(is_omega)) == len(code)
        assert elias._word(np.int64(n), int(is_omega)) == int(code, 2)


@pytest.mark.parametrize(("write", "is_omega"), [(gamma, False), (omega, True)])
def test_words_and_lengths_are_those_of_the_definition_up_to_2_to_the_32(write: Any, is_omega: bool) -> None:
    lengths = (theory.omega_length if is_omega else theory.gamma_length)(WHOLE)
    for n, length in zip(WHOLE, lengths, strict=True):
        code = write(n)
        assert elias._length(np.int64(n), int(is_omega)) == len(code) == length
        assert elias._word(np.int64(n), int(is_omega)) == int(code, 2)


@pytest.mark.parametrize("around", ["0", "1"])
@pytest.mark.parametrize(("write", "is_omega"), [(gamma, False), (omega, True)])
def test_numbers_are_read_wherever_they_start(write: Any, is_omega: bool, around: str) -> None:
    for n in WHOLE:
        for start in range(9):
            bits = around * start + write(n)
            for after in ("", around * 80):
                body = np.frombuffer(to_bytes(bits + after, 0)[1:], np.uint8)
                assert elias._read(body, np.int64(start), is_omega) == (n, len(bits))


@pytest.mark.parametrize(("write", "is_omega"), [(gamma, False), (omega, True)])
def test_larger_numbers_and_endless_codes_are_told(write: Any, is_omega: bool) -> None:
    for n in (2**32 + 1, 2**33 - 1):
        code = write(n)
        assert elias._read(np.frombuffer(to_bytes(code, 0)[1:], np.uint8), np.int64(0), is_omega) == (n, len(code))
    for bits in (write(2**33), write(2**40), write(2**62), ("1" if is_omega else "0") * 200):
        assert elias._read(np.frombuffer(to_bytes(bits, 0)[1:], np.uint8), np.int64(0), is_omega)[0] == 0


# The codes of levels.


@settings(deadline=None, max_examples=300)
@given(st.data(), st.sampled_from([1, 2, 4, 15, 63, 64, 65, 1000, LARGEST]), st.integers(1, 80))
def test_levels_of_every_kind_are_coded_as_defined(data: st.DataObject, s: int, size: int) -> None:
    elements = st.integers(-s, s) if data.draw(st.booleans()) else st.sampled_from([0, 0, 0, 0, 0, s, -s])
    check(data.draw(arrays.arrays(np.int16, size, elements=elements)), s)


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 63, 64, 65, 2559, 2560, 2561, 5121, 6000])
@pytest.mark.parametrize("density", [0.0, 0.01, 0.3, 1.0])
def test_vectors_around_the_limits_of_blocks_are_coded_as_defined(size: int, density: float) -> None:
    rng = np.random.default_rng([size, int(100 * density)])
    for s in (1, 70, LARGEST):
        levels = rng.integers(-s, s + 1, size) * (rng.random(size) < density)
        check(levels.astype(np.int16), s)
    for index in {0, size // 2, size - 1}:
        levels = np.zeros(size, np.int16)
        levels[index] = -LARGEST
        check(levels, LARGEST)


def spread(s: int, gap: int, count: int) -> Levels:
    """Levels of about s, each `gap` coordinates after the one before."""
    levels = np.zeros(gap * count, np.int16)
    levels[gap - 1 :: gap] = np.where(np.arange(count) % 3, s, -s)
    return levels


def test_each_of_the_four_codes_is_the_shortest_for_some_levels() -> None:
    # Dense codes are no longer where |level| + 1 has as many bits as |level|, and there are few zeros to skip.
    dense = np.tile(np.array([0, 2, -5, 0, 5], np.int16), 20)
    assert check(dense, 5) == DENSE_GAMMA
    assert check(spread(1, 30, 20), 1) == SPARSE_GAMMA
    assert check(dense * np.int16(5000), LARGEST) == DENSE_OMEGA
    assert check(spread(LARGEST, 500, 20), LARGEST) == SPARSE_OMEGA


def test_of_codes_of_one_length_the_first_is_taken() -> None:
    # A single zero is 1 or 010, 0 or 100.
    assert Elias().encode(np.zeros(1, np.int16), 1) == bytes([DENSE_GAMMA, 0b10000000])


@pytest.mark.parametrize("gap", [2**12, 2**16 - 1, 2**20 - 1, 2**20, 2**20 + 1])
def test_long_distances_come_back(gap: int) -> None:
    levels = np.zeros(gap + 3000, np.int16)
    levels[gap - 1], levels[gap + 1], levels[-1] = LARGEST, -1, -LARGEST
    body = Elias().encode(levels, LARGEST)
    assert body == reference(levels, SPARSE_OMEGA)
    for mode in (SPARSE_GAMMA, SPARSE_OMEGA):
        decoded = Elias().decode(reference(levels, mode), levels.size, LARGEST)
        np.testing.assert_array_equal(decoded, levels)


def test_what_comes_before_the_levels_is_left_as_it_is() -> None:
    for levels in (spread(1, 30, 20), np.arange(-100, 100, dtype=np.int16)):
        assert Elias().write(levels, 100, b"before", ScratchBuffer()) == b"before" + Elias().encode(levels, 100)


# What is to be expected.


def exact_sparse_bits(law: NDArray[np.float64], size: int, length: Any) -> float:
    """The mean length of the sparse code of `size` independent levels.

    The distance that ends at coordinate i is geometric, cut off at i + 1, and so is that to the end of the vector.
    """
    p, reach = 1 - law[0], np.arange(1, size + 2)
    above = (1 - p) ** (reach - 1.0)
    lengths = length(reach)
    cut = np.append(0, np.cumsum(p * above[:-1] * lengths[:-1])) + above * lengths
    levels = np.arange(1, law.size)
    return float(p * np.sum(cut[:size]) + cut[size] + size * np.sum(law[1:] * (1 + length(levels))))


@pytest.mark.parametrize("s", [1, 4, 30, 1000])
@pytest.mark.parametrize("size", [100, 1000, 10_000])
@pytest.mark.parametrize("norm", ["l2", "max"])
def test_lengths_are_on_average_those_to_be_expected(size: int, s: int, norm: str) -> None:
    law = theory.level_probabilities(size, s, norm=norm)
    law = law / law.sum()
    rng, count = np.random.default_rng([size, s]), 1_000_000 // size
    bits, bodies = [], []
    for _ in range(count):
        magnitudes = rng.choice(law.size, size, p=law)
        levels = (magnitudes * rng.choice([-1, 1], size)).astype(np.int16)
        bits.append(elias._count(levels, size))
        bodies.append(8.0 * len(Elias().encode(levels, s)))
    exact = [
        size * theory.dense_code_bits(law, theory.gamma_length),
        exact_sparse_bits(law, size, theory.gamma_length),
        size * theory.dense_code_bits(law, theory.omega_length),
        exact_sparse_bits(law, size, theory.omega_length),
    ]
    table = np.array(bits, np.float64)
    errors = np.std(table, axis=0, ddof=1) / math.sqrt(count)
    assert np.all(np.abs(table.mean(axis=0) - exact) < 4.5 * errors + 1e-9)
    expected = Elias().expected_bits([(size, law)], s)
    assert expected == pytest.approx(8 + min(exact) + 3.5, rel=1e-9)
    # What fills the last byte need not be 3.5 bits in the mean of one law, and choosing for each vector gains a little.
    mean, error = np.mean(bodies), 4.5 * np.std(bodies, ddof=1) / math.sqrt(count)
    assert abs(mean - expected) < error + 0.01 * expected + 3.5


def test_what_is_to_be_expected_of_several_laws_is_their_sum_in_one_code() -> None:
    # Sparse codes are shorter for the first law, dense codes for the second: one of them is used for all.
    few, many = np.array([0.99, 0.01]), np.array([0.4, 0.0, 0.4, 0.0, 0.0, 0.2])
    codes = [
        (kind, length)
        for kind in (theory.dense_code_bits, theory.sparse_code_bits)
        for length in (theory.gamma_length, theory.omega_length)
    ]
    together = min(1000 * kind(few, length) + 100 * kind(many, length) for kind, length in codes)
    # Beside it stand the distance to the end, where the code is sparse, and half a byte, to fill the last one.
    assert 3.5 <= Elias().expected_bits([(1000, few), (100, many)], 5) - (8 + together) <= 16
    alone = [Elias().expected_bits([law], 5) - 8 for law in ((1000, few), (100, many))]
    assert together > sum(alone) + 10
