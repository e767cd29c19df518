"""Bodies of Elias' codes that are damaged: refused, or the code of what they are decoded to."""

from __future__ import annotations

import numpy as np
import pytest
from elias_codes import (
    DENSE_OMEGA,
    LARGEST,
    MODES,
    SPARSE_GAMMA,
    SPARSE_OMEGA,
    Levels,
    code_of,
    read,
    reference,
    to_bytes,
    written,
)

from relufit.compression.coding.elias import Elias
from relufit.errors import PayloadError

# What is no code.


def small(seed: int, size: int = 40, s: int = 4) -> Levels:
    rng = np.random.default_rng(seed)
    return (rng.integers(-s, s + 1, size) * (rng.random(size) < 0.5)).astype(np.int16)


def refused(body: bytes, size: int, s: int) -> None:
    with pytest.raises(PayloadError, match=f"{size} levels from -{s} to {s}"):
        Elias().decode(body, size, s)


@pytest.mark.parametrize("mode", MODES)
def test_truncated_and_extended_bodies_are_refused(mode: int) -> None:
    levels = small(mode)
    body = reference(levels, mode)
    for length in range(len(body)):
        refused(body[:length], 40, 4)
    for more in (b"\0", b"\x80", b"\xff", bytes(8), bytes(100), body):
        refused(body + more, 40, 4)


@pytest.mark.parametrize("mode", MODES)
def test_another_number_of_levels_is_refused(mode: int) -> None:
    for seed in range(8):
        levels = small(seed)
        levels[-1] = -1
        # In omega codes the zeros at the end could be a few more coordinates.
        for size in (1, 39, 48, 2600) if mode in (DENSE_OMEGA, SPARSE_OMEGA) else (1, 39, 41, 48, 2600):
            refused(reference(levels, mode), size, 4)


@pytest.mark.parametrize("mode", MODES)
def test_padding_that_is_not_zero_is_refused(mode: int) -> None:
    seen = set()
    for size in range(1, 60):
        levels = small(size, size)
        bits = written(levels, mode)
        seen.add(-len(bits) % 8)
        for bit in range(-len(bits) % 8):
            damaged = bytearray(to_bytes(bits, mode))
            damaged[-1] |= 1 << bit
            refused(damaged, size, 4)
    assert seen == set(range(8))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("s", [1, 4, 63, 64, 1000, LARGEST])
@pytest.mark.parametrize("place", [0, 20, 39])
def test_a_level_beyond_the_largest_is_refused_wherever_it_is(mode: int, s: int, place: int) -> None:
    levels = [int(level) for level in small(0, 40, 1)]
    for level in (s, -s):
        levels[place] = level
        np.testing.assert_array_equal(Elias().decode(reference(levels, mode), 40, s), levels)
    for level in (s + 1, -s - 1, 2**15, 2**16, 2**31, 2**32 - 1, 2**32, 2**40):
        levels[place] = level
        refused(reference(levels, mode), 40, s)


@pytest.mark.parametrize("mode", [SPARSE_GAMMA, SPARSE_OMEGA])
@pytest.mark.parametrize("gap", [11, 12, 2561, 2**16 + 10, 2**31, 2**32, 2**32 + 10, 2**33 - 1, 2**33])
def test_a_distance_beyond_the_end_is_refused(mode: int, gap: int) -> None:
    start = code_of(1, mode) + "0" + code_of(1, mode)
    assert Elias().decode(to_bytes(start + code_of(10, mode), mode), 10, 1).tolist() == [1] + 9 * [0]
    refused(to_bytes(start + code_of(gap, mode), mode), 10, 1)
    refused(to_bytes(start + code_of(gap, mode) + start[1:] + code_of(1, mode), mode), 10, 1)
    refused(to_bytes(code_of(gap + 1, mode), mode), 10, 1)


@pytest.mark.parametrize("mode", [4, 5, 7, 8, 128, 255])
def test_a_code_that_there_is_not_is_refused(mode: int) -> None:
    refused(bytes([mode]) + reference(small(0), mode & 3)[1:], 40, 4)


@pytest.mark.parametrize("mode", MODES)
def test_every_body_is_refused_or_the_code_of_what_it_decodes_to(mode: int) -> None:
    rng, codes = np.random.default_rng(mode), 0
    for _ in range(4000):
        size = int(rng.integers(1, 6))
        body = bytes([mode]) + rng.bytes(int(rng.integers(0, 4)))
        try:
            levels = Elias().decode(body, size, 100)
        except PayloadError:
            with pytest.raises((IndexError, AssertionError)):
                decoded = read(body, size)
                assert max(map(abs, decoded)) <= 100
            continue
        codes += 1
        assert reference(levels, mode) == body
    assert codes > 20
