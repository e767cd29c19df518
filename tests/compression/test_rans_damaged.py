"""Bodies of the entropy coder that are damaged: refused, or decoded as defined."""

from __future__ import annotations

import numpy as np
import pytest
from rans_reference import (
    LARGEST,
    START,
    Levels,
    check,
    decoded_slowly,
    parse,
)

from relufit.compression.coding.rans import Rans
from relufit.compression.coding.symbols import TOKENS
from relufit.errors import PayloadError

# What is no code.


def body_of(size: int = 300, s: int = 4, seed: int = 0) -> tuple[bytearray, Levels]:
    levels = np.rint(np.random.default_rng(seed).standard_normal(size) * s / 4).astype(np.int16)
    levels[0] = s
    return bytearray(Rans().encode(levels, s)), levels


def refused(body: bytes | bytearray, size: int = 300, s: int = 4) -> None:
    with pytest.raises(PayloadError, match=f"{size} levels from -{s} to {s}"):
        Rans().decode(body, size, s)


def test_signs_and_bits_that_mean_nothing_are_refused() -> None:
    body, _ = body_of()
    for flags in (3 << 3, 1 << 5, 1 << 6, 1 << 7):
        refused(bytes([body[0] | flags]) + body[1:])


@pytest.mark.parametrize(("s", "tokens"), [(1, 2), (4, 5), (15, 16), (16, 17), (17, 17), (18, 18), (30_719, 103)])
def test_a_table_with_symbols_beyond_the_largest_level_is_refused(s: int, tokens: int) -> None:
    # A table with more symbols than are needed is read, as long as there are levels for them.
    def zero(tokens: int) -> bytes:
        start = bytes([1 << 2, tokens - 1]) + bytes(-(-tokens * 3 // 4))
        frequency = parse(start + bytes(6)).symbols[0].frequency
        x = (START // frequency << 16) + START % frequency
        return start + x.to_bytes(6, "little")

    assert Rans().decode(zero(tokens), 1, s).tolist() == [0]
    refused(zero(tokens + 1), 1, s)


def test_a_table_that_is_longer_than_all_levels_is_refused() -> None:
    for tokens in (TOKENS + 1, 256):
        refused(bytes([1 << 2, tokens - 1]) + bytes(-(-tokens * 3 // 4)) + START.to_bytes(6, "little"), 1, LARGEST)


def test_a_level_beyond_the_largest_within_its_token_is_refused() -> None:
    # Levels 32 to 35 are one token.
    levels = np.array([35, 0, -35, 33, 1], np.int16)
    body = Rans().encode(levels, 35)
    np.testing.assert_array_equal(Rans().decode(body, 5, 35), levels)
    for s in (34, 33, 32, 31, 1):
        refused(body, 5, s)


def test_a_coarse_table_with_too_many_symbols_is_refused() -> None:
    # 16 tokens have 31 symbols, 17 have 33.
    for tokens in (17, 18, 104):
        refused(bytes([0, tokens - 1]) + bytes(-(-tokens * 3 // 4)) + START.to_bytes(6, "little"), 1, LARGEST)
    levels = np.arange(-15, 16, dtype=np.int16)
    assert not check(levels, 15)[0] & 1 << 2


def test_weights_with_a_padding_that_is_not_zero_are_refused() -> None:
    for s in (1, 2, 4, 5, 6):
        body, _ = body_of(s=s)
        tokens = body[1] + 1
        assert tokens == s + 1
        used = 6 * tokens % 8
        for bit in range(used, 8) if used else ():
            damaged = body.copy()
            damaged[1 + -(-tokens * 3 // 4)] |= 1 << bit
            refused(damaged, s=s)


def test_truncated_and_extended_bodies_are_refused() -> None:
    for size, s in ((300, 4), (20, 1), (1, 1), (6000, 100)):
        body, _ = body_of(size, s)
        for length in range(len(body)) if size < 6000 else range(0, len(body), 7):
            refused(body[:length], size, s)
        table = 2 + -(-(body[1] + 1) * 3 // 4)
        for more in (b"\0", b"\xff", bytes(2), b"\xff\xff", bytes(6), bytes(100)):
            refused(body + more, size, s)
            refused(body[:table] + more + body[table:], size, s)


def test_another_number_of_levels_is_refused() -> None:
    body, _ = body_of()
    for size in (1, 299, 301, 308, 2600):
        refused(body, size)


@pytest.mark.parametrize("x", [0, 1, 2**16, 2**32 - 1])
def test_a_state_below_the_least_is_refused(x: int) -> None:
    body, _ = body_of(10_000, 100)
    states = 2 ** (body[0] & 3)
    assert states > 1
    for number in range(states):
        damaged, at = body.copy(), len(body) - 6 * (states - number)
        damaged[at : at + 6] = x.to_bytes(6, "little")
        refused(damaged, 10_000, 100)


def test_a_damaged_bit_of_words_or_states_is_refused_but_for_one_in_fifty() -> None:
    # The rest are codes of other levels: those of symbols of one frequency differ by a number in a state alone.
    accepted, bits = 0, 0
    for seed in range(5):
        body, _ = body_of(seed=seed)
        table = 2 + -(-(body[1] + 1) * 3 // 4)
        for bit in range(8 * table, 8 * len(body)):
            damaged = body.copy()
            damaged[bit // 8] ^= 1 << bit % 8
            bits += 1
            try:
                levels = Rans().decode(damaged, 300, 4)
            except PayloadError:
                continue
            accepted += 1
            assert decoded_slowly(bytes(damaged), 300) == levels.tolist()
    assert accepted < bits / 50, (accepted, bits)


def test_a_state_that_does_not_end_where_it_began_is_refused() -> None:
    # All frequencies go to zero, so that states do not change.
    for x, fits in ((START, True), (START + 1, False), (2**48 - 1, False)):
        body = bytes([1 << 3, 0, 0]) + x.to_bytes(6, "little")
        if fits:
            assert not Rans().decode(body, 1000, 1).any()
        else:
            refused(body, 1000, 1)


def test_damaged_bodies_are_refused_or_decoded_as_defined() -> None:
    rng, decoded = np.random.default_rng(0), 0
    bodies = [body_of(size, s, seed) for seed, (size, s) in enumerate([(1, 1), (2, 1), (3, 4), (40, 4), (40, 100)])]
    for _ in range(4000):
        body, levels = bodies[rng.integers(len(bodies))]
        damaged = body.copy()
        for _ in range(rng.integers(1, 4)):
            damaged[rng.integers(min(len(damaged), 12))] ^= 1 << int(rng.integers(8))
        s = int(np.max(np.abs(levels)))
        try:
            result = Rans().decode(damaged, levels.size, s)
        except PayloadError:
            continue
        decoded += 1
        assert np.abs(result).max() <= s
        assert decoded_slowly(bytes(damaged), levels.size) == result.tolist()
    assert decoded > 50
