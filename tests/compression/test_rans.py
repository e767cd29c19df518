"""The entropy coder against a decoder in plain Python, against the entropy, and against another entropy coder."""

from __future__ import annotations

import math

import constriction
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from rans_reference import (
    ALL_TOKENS,
    LARGEST,
    Levels,
    check,
    many_levels,
    parse,
    symbols_of,
)

from relufit import streams, theory
from relufit.compression.base import HEADER_BYTES, ScratchBuffer
from relufit.compression.coding.packed import Packed
from relufit.compression.coding.rans import Rans
from relufit.compression.coding.symbols import SYMBOLS, TOKENS, base_of, plain_bits, symbol_of, token_of
from relufit.compression.coding.weights import BOTH, NEGATIVE, POSITIVE, _log2, frequencies
from relufit.compression.qsgd import QSGD


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
