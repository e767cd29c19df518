"""Sets of positions: how few bytes they take, and that every set has one code and every code one set."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from relufit.compression.coding.positions import expected_bits, read_positions, write_positions
from relufit.errors import PayloadError

SHARES = (0.001, 0.01, 0.05, 0.2, 0.38, 0.5, 0.7, 0.99)


def chosen(rng: np.random.Generator, size: int, count: int) -> NDArray[np.int64]:
    return np.sort(rng.choice(size, count, replace=False)).astype(np.int64)


@pytest.mark.parametrize("size", range(1, 11))
def test_every_set_of_positions_has_a_code_of_its_own_and_no_other_bytes_are_read(size: int) -> None:
    short = [bytes(code) for length in range(2) for code in itertools.product(range(256), repeat=length)]
    for count in range(1, size + 1):
        codes = {}
        for subset in itertools.combinations(range(size), count):
            code = bytes(write_positions(np.array(subset, np.int64), size))
            assert read_positions(memoryview(code), size, count).tolist() == list(subset)
            codes[code] = subset
        assert len(codes) == math.comb(size, count)
        for code in short:
            if code not in codes:
                with pytest.raises(PayloadError):
                    read_positions(memoryview(code), size, count)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("size", [1000, 30_000, 10**6])
def test_positions_take_nearly_the_bits_of_their_number_of_sets(size: int, share: float) -> None:
    rng, count = np.random.default_rng(size), max(1, round(share * size))
    logs = math.lgamma(size + 1) - math.lgamma(count + 1) - math.lgamma(size - count + 1)
    lengths = []
    for _ in range(10 if size < 10**6 else 1):
        positions = chosen(rng, size, count)
        code = write_positions(positions, size)
        np.testing.assert_array_equal(read_positions(code, size, count), positions)
        lengths.append(8 * len(code))
    # 2 % above from a hundred positions on, and a few bytes else.
    ideal = logs / math.log(2)
    assert np.mean(lengths) <= 1.02 * ideal + (0 if min(count, size - count) >= 100 else 16)
    assert np.mean(lengths) == pytest.approx(expected_bits(size, count), rel=0.01, abs=12)


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 2000), st.data())
def test_positions_that_lie_anyhow_come_back(size: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, size - 1))
    members = data.draw(st.sets(st.integers(0, size - 1), max_size=30)) | set(
        range(start, data.draw(st.integers(start + 1, size)))
    )
    positions = np.array(sorted(members), np.int64)
    code = write_positions(positions, size)
    np.testing.assert_array_equal(read_positions(code, size, positions.size), positions)


@pytest.mark.parametrize(("size", "count"), [(2**32 - 1, 1), (2**32 - 1, 2), (2**32 - 1, 1000), (2**31, 3)])
def test_positions_of_the_longest_vectors_come_back(size: int, count: int) -> None:
    spread = np.linspace(0, size - 1, count).astype(np.int64)
    for positions in (spread, np.arange(count), np.arange(size - count, size)):
        code = write_positions(positions, size)
        np.testing.assert_array_equal(read_positions(code, size, count), positions)


def test_positions_of_equal_distance_or_at_one_end_take_no_endless_code() -> None:
    for size, count in ((10**5, 10), (10**5, 1000), (10**5, 60_000), (10**5, 10**5)):
        for positions in (np.arange(count), np.arange(size - count, size), np.linspace(0, size - 1, count).astype(int)):
            code = write_positions(positions.astype(np.int64), size)
            np.testing.assert_array_equal(read_positions(code, size, count), positions)
            assert len(code) <= 8 * count + 8


def test_bytes_are_a_set_of_positions_or_refused() -> None:
    rng, read, refused = np.random.default_rng(1), 0, 0
    for trial in range(20_000):
        size = int(rng.choice((1, 2, 40, 300, 2**32 - 1)))
        count = int(rng.integers(1, min(size, 60) + 1))
        # Codes of the right length, damaged or made up, and ends of one byte.
        code = bytearray(write_positions(chosen(rng, min(size, 10**4), count), size))
        if trial % 2 and code:
            code[rng.integers(len(code))] ^= 1 << rng.integers(8)
        else:
            code = bytearray(rng.bytes(int(rng.integers(len(code) + 4))) + bytes([trial % 256] * (trial % 5)))
        try:
            positions = read_positions(memoryview(code), size, count)
        except PayloadError:
            refused += 1
            continue
        read += 1
        assert positions.shape == (count,)
        assert positions[0] >= 0
        assert positions[-1] < size
        assert np.all(np.diff(positions) > 0)
        assert bytes(write_positions(positions, size)) == bytes(code)
    assert min(read, refused) > 1000


def positions_by_the_page(body: bytes, size: int, count: int) -> list[int]:
    """Positions by the formulas of docs/formats.md."""
    digits, x, w = iter(body[8:]), int.from_bytes(body[:8].ljust(8, b"\0"), "big"), 2**64 - 1
    positions, start, made = [], 0, 0
    for i in range(count):
        if i == made:
            c, r = count - i, size - start
            made += max(1, c // 8)
            a, b, t = 2**32 * (r - c) // (r + 1), 0, [2**32]
            while a**2 // 2**32 >= 2**31:
                a, b = a**2 // 2**32, b + 1
            for _ in range(15):
                t.append(t[-1] * a // 2**32)
            bounds = [*(max(t[j] // 2**8, 16 - j) for j in range(16)), 0]
        distance, j = 0, 15
        while j == 15:
            p = w // 2**24
            j = next(j for j in range(16) if p * bounds[j + 1] <= x < p * bounds[j])
            x, w = x - p * bounds[j + 1], p * (bounds[j] - bounds[j + 1])
            distance += 2**b * j
            if j < 15:
                w //= 2**b
                distance, x = distance + x // w, x % w
            while w < 2**56:
                w, x = 2**8 * w, 2**8 * x + next(digits, 0)
        positions.append(start + distance)
        start += distance + 1
    return positions


@pytest.mark.parametrize("share", SHARES)
def test_positions_are_read_as_the_page_says(share: float) -> None:
    for size in (50, 2000, 2**32 - 1):
        count = max(1, round(share * min(size, 2000)))
        positions = chosen(np.random.default_rng(size), min(size, 10**6), count)
        assert positions_by_the_page(bytes(write_positions(positions, size)), size, count) == positions.tolist()
