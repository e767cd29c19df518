"""The entropy coder against a decoder in plain Python, against the entropy, and against another entropy coder."""

from __future__ import annotations

import math
from typing import NamedTuple

import constriction
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from relufit import streams, theory
from relufit.compression.base import HEADER_BYTES, ScratchBuffer
from relufit.compression.coding.packed import Packed
from relufit.compression.coding.rans import Rans
from relufit.compression.coding.symbols import SYMBOLS, TOKENS, base_of, plain_bits, symbol_of, token_of
from relufit.compression.coding.weights import BOTH, NEGATIVE, POSITIVE, _log2, frequencies
from relufit.compression.qsgd import QSGD
from relufit.errors import PayloadError

Levels = NDArray[np.int16]
LARGEST = 2**15 - 1
START = 2**32


# The definition, in whole numbers of any size.


class Token(NamedTuple):
    """Magnitudes from `base` on, 2^plain of them."""

    base: int
    plain: int


#: 0 to 15 alone; then each octave up to 2^15 in eight equal parts.
ALL_TOKENS = [Token(n, 0) for n in range(16)] + [
    Token(2**octave + part * 2 ** (octave - 3), octave - 3) for octave in range(4, 15) for part in range(8)
]


def share_of(weight: int) -> int:
    """floor(2^(weight/4 + 20)): the largest n with n^4 <= 2^(weight + 80)."""
    n = round(2 ** (weight / 4 + 20))
    while n**4 > 2 ** (weight + 80):
        n -= 1
    while (n + 1) ** 4 <= 2 ** (weight + 80):
        n += 1
    return n


class Symbol(NamedTuple):
    """A token with a sign, and the part of the states that is its own."""

    token: Token
    sign: int
    frequency: int
    before: int


def symbols_of(weights: list[int], signs: int, total: int) -> list[Symbol]:
    """Zero, then each token above and below zero, as far as the signs allow."""
    which = [(0, 1)] + [
        (token, sign)
        for token in range(1, len(weights))
        for sign in (1, -1)
        if signs == 0 or (signs == 1) == (sign == 1)
    ]
    shares = sum(share_of(weights[token]) for token, _ in which)
    counts = [max(2, share_of(weights[token]) * total // shares) for token, _ in which]
    counts[counts.index(max(counts))] += total - sum(counts)
    before = [sum(counts[:i]) for i in range(len(counts))]
    return [Symbol(ALL_TOKENS[t], sign, f, b) for (t, sign), f, b in zip(which, counts, before, strict=True)]


class Table(NamedTuple):
    """What a body starts with, the other end of it, and what lies between."""

    symbols: list[Symbol]
    precision: int
    words: list[int]
    states: list[int]


def parse(body: bytes) -> Table:
    states, fine, signs = 2 ** (body[0] & 3), body[0] >> 2 & 1, body[0] >> 3
    assert signs in (0, 1, 2)
    tokens = body[1] + 1
    length = 2 + -(-tokens * 3 // 4)
    packed = int.from_bytes(body[2:length], "little")
    assert packed < 64**tokens
    precision = 16 if fine else 12
    symbols = symbols_of([packed >> (6 * i) & 63 for i in range(tokens)], signs, 2**precision)
    end = len(body) - 6 * states
    words, rest = divmod(end - length, 2)
    assert rest == 0
    assert words >= 0
    return Table(
        symbols,
        precision,
        [int.from_bytes(body[length + 2 * i : length + 2 * i + 2], "little") for i in range(words)],
        [int.from_bytes(body[end + 6 * i : end + 6 * i + 6], "little") for i in range(states)],
    )


def decoded_slowly(body: bytes, size: int) -> list[int]:
    """Decode as the layout says; AssertionError or IndexError where that is not possible."""
    symbols, precision, words, states = parse(body)
    assert min(states) >= START
    levels = []

    def refilled(x: int) -> int:
        return x if x >= START else x << 16 | words.pop()

    for i in range(size):
        x = states[i % len(states)]
        slot = x % 2**precision
        symbol = next(s for s in symbols if s.before <= slot < s.before + s.frequency)
        x = refilled(symbol.frequency * (x >> precision) + slot - symbol.before)
        base, plain = symbol.token
        if plain:
            base += x % 2**plain
            x = refilled(x >> plain)
        levels.append(symbol.sign * base)
        states[i % len(states)] = x
    assert not words
    assert all(x == START for x in states)
    return levels


def check(levels: Levels, s: int = LARGEST, *, slowly: bool = True) -> bytes:
    body = Rans().encode(levels, s)
    decoded = Rans().decode(memoryview(body), levels.size, s)
    assert decoded.dtype == np.int16
    np.testing.assert_array_equal(decoded, levels)
    if slowly:
        assert decoded_slowly(body, levels.size) == levels.tolist()
    return body


@st.composite
def many_levels(draw: st.DrawFn) -> tuple[Levels, int]:
    """Levels of one of several kinds, and an s that allows for them."""
    s = draw(st.sampled_from([1, 2, 4, 15, 16, 17, 64, 1000, LARGEST]) | st.integers(1, LARGEST))
    size = draw(st.integers(1, 200) | st.integers(1, 3000))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = draw(st.sampled_from(["even", "skewed", "rare", "constant", "few"]))
    if kind == "even":
        levels = rng.integers(-s, s + 1, size)
    elif kind == "skewed":
        levels = np.clip(np.rint(rng.standard_normal(size) * s * rng.random() ** 4), -s, s)
    elif kind == "rare":
        levels = rng.choice([-s, s], size) * (rng.random(size) < 0.01)
    elif kind == "constant":
        levels = np.full(size, draw(st.integers(-s, s)))
    else:
        levels = rng.choice(draw(arrays.arrays(np.int64, 4, elements=st.integers(-s, s))), size)
    sign = draw(st.sampled_from([0, 0, 1, -1]))
    return (sign * np.abs(levels) if sign else levels).astype(np.int16), s


@settings(deadline=None, max_examples=200)
@given(many_levels())
def test_levels_of_every_kind_come_back_and_are_coded_as_defined(case: tuple[Levels, int]) -> None:
    check(*case)


@settings(deadline=None, max_examples=100)
@given(arrays.arrays(np.int16, st.integers(1, 60), elements=st.integers(-LARGEST, LARGEST)))
def test_any_numbers_come_back_and_are_coded_as_defined(levels: Levels) -> None:
    check(levels, int(np.max(np.abs(levels))) or 1)


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 63, 64, 65, 2559, 2560, 2561, 5121, 32767, 32768, 40_000])
def test_vectors_around_the_limits_of_blocks_and_tables_are_coded_as_defined(size: int) -> None:
    rng = np.random.default_rng(size)
    fine = size >= 2**15
    for s, tokens in [(1, 2), (15, 16), (16, 17), (LARGEST, 104)]:
        levels = rng.integers(-s, s + 1, size).astype(np.int16)
        levels[0], levels[-1] = s, -s
        body = check(levels, s)
        assert body[1] == tokens - 1
        assert body[0] >> 2 & 1 == (fine or tokens > 16)
    outlier = np.zeros(size, np.int16)
    outlier[size // 2] = -LARGEST
    assert check(outlier)[0] >> 3 == 2


@pytest.mark.parametrize("seed", range(3))
def test_large_vectors_come_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    wide = rng.integers(-LARGEST, LARGEST + 1, 10**5)
    for levels in (wide, wide >> 10, wide * (rng.random(10**5) < 0.001), np.zeros(10**5)):
        check(levels.astype(np.int16), slowly=False)


@pytest.mark.parametrize(("levels", "signs"), [([0, 3, 1], 1), ([0, -3, -1], 2), ([1, -1], 0), ([0], 1)])
def test_a_sign_that_does_not_occur_has_no_symbols(levels: list[int], signs: int) -> None:
    body = check(np.array(levels, np.int16))
    assert body[0] >> 3 == signs
    assert {symbol.sign for symbol in parse(body).symbols} == ({1, -1} if signs != 1 else {1})


@pytest.mark.parametrize(
    ("size", "s", "states"), [(1000, 1, 1), (4000, 100, 2), (8000, 100, 4), (20_000, 100, 8), (10**5, 4, 8)]
)
def test_a_state_codes_a_kilobyte_or_more(size: int, s: int, states: int) -> None:
    levels = np.random.default_rng(0).integers(-s, s + 1, size).astype(np.int16)
    body = check(levels, s)
    assert len(parse(body).states) == states
    assert states == 1 or len(body) >= 1024 * states


def test_equal_levels_take_the_table_and_a_state() -> None:
    # One weight in one byte; sixteen in twelve, where fifteen symbols that do not occur have 2 of 4096.
    assert len(check(np.zeros(10**6, np.int16), slowly=False)) == 2 + 1 + 6
    assert len(check(np.full(100, 15, np.int16))) <= 2 + 12 + 2 + 6


def test_what_comes_before_the_levels_is_left_as_it_is() -> None:
    levels = np.arange(-100, 100, dtype=np.int16)
    assert Rans().write(levels, 100, b"before", ScratchBuffer()) == b"before" + Rans().encode(levels, 100)


# How long it is.


def entropy(levels: Levels) -> float:
    """Bytes that a coder would need that knew how often each level occurs."""
    _, counts = np.unique(levels, return_counts=True)
    return float(np.sum(counts * np.log2(levels.size / counts))) / 8


def gaussian_levels(size: int, s: int, bucket: int | None, seed: int) -> tuple[bytes, Levels]:
    """A payload of a Gaussian vector, and the levels that are in it."""
    vector, key = np.random.default_rng([seed, size]).standard_normal(size), streams.key(seed)
    payload = QSGD(s, coding="packed", bucket_size=bucket).encode(vector, key)
    norms = -(-size // (bucket or size))
    return QSGD(s, coding="rans", bucket_size=bucket).encode(vector, key), Packed().decode(
        payload[HEADER_BYTES + 8 * norms :], size, s
    )


@pytest.mark.parametrize(("s", "above"), [(1, 0.02), (4, 0.01), (16, 0.01), (64, 0.01), (1000, 0.01), (LARGEST, 0.01)])
@pytest.mark.parametrize("bucket", [None, 512])
def test_a_million_coordinates_take_a_percent_more_than_their_entropy(s: int, above: float, bucket: int | None) -> None:
    payload, levels = gaussian_levels(10**6, s, bucket, 0)
    norms = -(-(10**6) // (bucket or 10**6))
    assert entropy(levels) <= len(payload) - 8 * norms <= (1 + above) * entropy(levels)


@pytest.mark.parametrize("s", [1, 4, 16, 32, 64])
@pytest.mark.parametrize("seed", range(10))
def test_a_thousand_coordinates_take_24_bytes_and_2_percent_more_with_all_that_is_sent(s: int, seed: int) -> None:
    payload, levels = gaussian_levels(1000, s, None, seed)
    assert len(payload) <= 24 + 1.02 * entropy(levels)


def ans_bytes(levels: Levels) -> int:
    """The length by another coder of the same kind, which is told the frequencies for nothing."""
    _, symbols, counts = np.unique(levels, return_inverse=True, return_counts=True)
    model = constriction.stream.model.Categorical(counts / levels.size, perfect=False)
    coder = constriction.stream.stack.AnsCoder()
    coder.encode_reverse(symbols.astype(np.int32), model)
    return 4 * len(coder.get_compressed())


@pytest.mark.parametrize("bucket", [None, 512])
@pytest.mark.parametrize("size", [1000, 10_000, 100_000])
@pytest.mark.parametrize("s", [1, 4, 16, 64, 1000])
def test_it_is_hardly_longer_than_by_a_coder_that_is_told_the_frequencies(
    size: int, s: int, bucket: int | None
) -> None:
    for seed in range(3):
        _, levels = gaussian_levels(size, s, bucket, seed)
        assert len(Rans().encode(levels, s)) <= 1.01 * ans_bytes(levels) + 64


def test_the_other_coder_is_a_test() -> None:
    _, levels = gaussian_levels(100_000, 16, 512, 0)
    assert entropy(levels) <= ans_bytes(levels) <= 1.001 * entropy(levels) + 8


@pytest.mark.parametrize("bucket", [None, 512])
@pytest.mark.parametrize("size", [100, 1000, 10_000, 100_000])
@pytest.mark.parametrize("s", [1, 4, 16, 64, 1000])
def test_lengths_are_on_average_those_to_be_expected(size: int, s: int, bucket: int | None) -> None:
    law = theory.level_probabilities(min(bucket or size, size), s)
    law /= law.sum()
    rng, lengths = np.random.default_rng([size, s]), []
    for _ in range(max(4, min(50, 200_000 // size))):
        levels = rng.choice(law.size, size, p=law) * rng.choice([-1, 1], size)
        lengths.append(len(Rans().encode(levels.astype(np.int16), s)))
    assert np.mean(lengths) == pytest.approx(Rans().expected_bits([(size, law)], s) / 8, rel=0.03, abs=8)


# Symbols, frequencies, logarithms.


def test_tokens_and_plain_bits_are_those_of_the_definition_for_every_level() -> None:
    assert len(ALL_TOKENS) == TOKENS
    assert 2 * TOKENS - 1 == SYMBOLS
    expected = [number for number, token in enumerate(ALL_TOKENS) for _ in range(2**token.plain)]
    assert len(expected) == LARGEST + 1
    for magnitude, number in enumerate(expected):
        assert token_of(magnitude) == number
        assert symbol_of(magnitude) == (2 * number - 1 if magnitude else 0)
        assert symbol_of(-magnitude) == 2 * number
    for number, (base, plain) in enumerate(ALL_TOKENS):
        assert base == expected.index(number)
        assert (base, plain) == (base_of(number), plain_bits(number))
        assert base % 2**plain == 0


@settings(deadline=None, max_examples=300)
@given(st.data(), st.sampled_from([BOTH, POSITIVE, NEGATIVE]), st.booleans())
def test_frequencies_are_those_of_the_definition(data: st.DataObject, signs: int, fine: bool) -> None:
    tokens = data.draw(st.integers(1, TOKENS if fine else 16))
    weight = data.draw(st.sampled_from([st.integers(0, 63), st.integers(0, 3), st.sampled_from([0, 63])]))
    weights = data.draw(arrays.arrays(np.uint8, tokens, elements=weight))
    total, frequency = 2 ** (16 if fine else 12), np.empty(SYMBOLS, np.int64)
    frequencies(weights, signs, total, frequency)
    assert frequency.sum() == total
    above, below = frequency[1 : 2 * tokens - 1 : 2], frequency[2 : 2 * tokens : 2]
    assert not frequency[2 * tokens - 1 :].any()
    assert not (signs == NEGATIVE and above.any())
    assert not (signs == POSITIVE and below.any())
    used = [frequency[:1], *([above] if signs != NEGATIVE else []), *([below] if signs != POSITIVE else [])]
    assert min(np.concatenate(used)) >= 2
    if signs == BOTH:
        assert np.count_nonzero(above != below) <= 1
    defined = symbols_of(weights.tolist(), signs, total)
    assert [s.frequency for s in defined] == frequency[np.flatnonzero(frequency)].tolist()
    assert [s.before for s in defined] == (np.cumsum(frequency) - frequency)[np.flatnonzero(frequency)].tolist()


def test_logarithms_are_right_to_16_digits() -> None:
    numbers = {*range(1, 3000), *(2**k + step for k in range(17) for step in (-1, 0, 1)), *range(1, 2**16, 97)}
    for number in sorted(n for n in numbers if 1 <= n <= 2**16):
        assert 0 <= math.log2(number) - _log2(number) / 2**16 < 2**-16


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
