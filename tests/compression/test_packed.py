"""Packed levels against a reader and a writer that follow the definition, bit by bit, in plain Python."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from relufit.compression.coding import CODINGS
from relufit.compression.coding.packed import Packed
from relufit.errors import PayloadError

Levels = NDArray[np.int16]
LEVEL_COUNTS = [1, 2, 3, 4, 7, 8, 15, 16, 127, 128, 1000, 16383, 16384, 2**15 - 1]
SIZES = [1, 2, 7, 8, 9, 63, 255, 256, 257, 511, 512, 600]


def bits_of(s: int) -> int:
    """The least b with 2^b >= 2 s + 1."""
    return next(b for b in range(1, 17) if 2**b >= 2 * s + 1)


def definition(levels: Levels, s: int) -> bytes:
    """Blocks of eight interleaved lanes of 32 numbers, then the rest as one stream of bits."""
    width, numbers = bits_of(s), [int(level) + s for level in levels]
    whole = len(numbers) // 256 * 256
    body = b""
    for block in range(0, whole, 256):
        lanes = []
        for lane in range(8):
            stream = sum(numbers[block + lane + 8 * i] << (width * i) for i in range(32))
            lanes.append(stream.to_bytes(4 * width, "little"))
        body += b"".join(lane[4 * word : 4 * word + 4] for word in range(width) for lane in lanes)
    rest = numbers[whole:]
    stream = sum(number << (width * i) for i, number in enumerate(rest))
    return body + stream.to_bytes(-(-len(rest) * width // 8), "little")


def draw(rng: np.random.Generator, size: int, s: int) -> Levels:
    levels = rng.integers(-s, s + 1, size).astype(np.int16)
    levels[0], levels[-1] = -s, s
    return levels


@pytest.mark.parametrize("s", LEVEL_COUNTS)
def test_the_bytes_are_those_of_the_definition(s: int) -> None:
    rng = np.random.default_rng(s)
    for size in SIZES:
        levels = draw(rng, size, s)
        assert Packed().encode(levels, s) == definition(levels, s)


@settings(deadline=None)
@given(st.integers(1, 2**15 - 1), st.integers(1, 700), st.integers(0, 2**32))
def test_levels_come_back_as_they_went(s: int, size: int, seed: int) -> None:
    levels = draw(np.random.default_rng(seed), size, s)
    body = Packed().encode(levels, s)
    decoded = Packed().decode(memoryview(body), size, s)
    assert decoded.dtype == np.int16
    np.testing.assert_array_equal(decoded, levels)


def test_a_level_takes_no_more_bits_than_it_needs() -> None:
    for s, width in [(1, 2), (3, 3), (4, 4), (7, 4), (8, 5), (127, 8), (128, 9), (2**15 - 1, 16)]:
        assert len(Packed().encode(np.zeros(2560, np.int16), s)) == 2560 * width // 8
        assert len(Packed().encode(np.zeros(5, np.int16), s)) == -(-5 * width // 8)


@pytest.mark.parametrize("s", [1, 4, 1000])
@pytest.mark.parametrize("size", [5, 256, 300])
def test_a_body_of_another_length_is_refused(s: int, size: int) -> None:
    body = Packed().encode(draw(np.random.default_rng(0), size, s), s)
    for wrong in (body[:-1], body + b"\0", b"", body * 2):
        with pytest.raises(PayloadError, match="bytes of levels"):
            Packed().decode(memoryview(wrong), size, s)


@pytest.mark.parametrize("s", [1, 4, 16, 1000, 2**14, 2**15 - 1])
@pytest.mark.parametrize("place", [0, 100, 255, 256, 290, 299])
def test_a_level_beyond_the_largest_is_refused_wherever_it_is(s: int, place: int) -> None:
    levels = draw(np.random.default_rng(0), 300, s).astype(np.int64)
    levels[place] = s + 1
    body = definition(levels, s)  # type: ignore[arg-type]
    with pytest.raises(PayloadError, match="level"):
        Packed().decode(memoryview(body), 300, s)
    levels[place] = s
    np.testing.assert_array_equal(Packed().decode(memoryview(definition(levels, s)), 300, s), levels)  # type: ignore[arg-type]


def test_padding_that_is_not_zero_is_refused() -> None:
    body = bytearray(Packed().encode(np.array([0, 1, -1], np.int16), 1))
    assert len(body) == 1
    for bit in (6, 7):
        with pytest.raises(PayloadError, match="padding"):
            Packed().decode(memoryview(bytes([body[0] | 1 << bit])), 3, 1)


def test_every_body_is_refused_or_the_code_of_what_it_decodes_to() -> None:
    rng, codes = np.random.default_rng(3), 0
    for _ in range(3000):
        size, s = int(rng.integers(1, 12)), int(rng.integers(1, 20))
        body = rng.bytes(-(-size * bits_of(s) // 8))
        try:
            levels = Packed().decode(memoryview(body), size, s)
        except PayloadError:
            continue
        codes += 1
        assert np.abs(levels).max() <= s
        assert Packed().encode(levels, s) == body
    assert codes > 100


def test_codings_have_kinds_of_their_own() -> None:
    kinds = [coding.kind for coding in CODINGS.values()]
    assert len(set(kinds)) == len(kinds)
    assert not {1, 2, 3} & set(kinds), "casts have those"
