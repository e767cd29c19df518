"""Packed levels against a reader and a writer that follow the definition, in whole numbers of any size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from relufit.compression.base import ScratchBuffer
from relufit.compression.coding import CODINGS
from relufit.compression.coding.packed import Packed
from relufit.errors import PayloadError

Levels = NDArray[np.int16]
LEVEL_COUNTS = [1, 2, 3, 4, 7, 8, 15, 16, 100, 127, 128, 1000, 16383, 16384, 2**15 - 1]
#: Around the blocks of both layouts, 256 and 1280, and of the loops, 2560.
SIZES = [1, 2, 4, 5, 6, 7, 255, 256, 257, 511, 512, 600, 1279, 1280, 1281, 2559, 2560, 2561, 6000]


def bits_of(s: int) -> int:
    """The least b with 2^b >= 2 s + 1."""
    return next(b for b in range(1, 17) if 2**b >= 2 * s + 1)


def length_of(size: int, s: int) -> int:
    return -(-size // 5) if s == 1 else -(-size * bits_of(s) // 8)


def trits(numbers: list[int]) -> int:
    return sum(number * 3**k for k, number in enumerate(numbers))


def stream(numbers: list[int], width: int) -> int:
    return sum(number << (width * i) for i, number in enumerate(numbers))


def definition_of_trits(numbers: list[int]) -> bytes:
    """Byte j of a block has numbers j, j + 256, ..., j + 1024; the rest is five neighbours to a byte."""
    whole = len(numbers) // 1280 * 1280
    blocks = (numbers[start : start + 1280] for start in range(0, whole, 1280))
    body = bytes(trits(block[j::256]) for block in blocks for j in range(256))
    return body + bytes(trits(numbers[i : i + 5]) for i in range(whole, len(numbers), 5))


def definition(levels: Levels, s: int) -> bytes:
    """Blocks of 16 interleaved lanes of 16 numbers in 16-bit words, then the rest as one stream of bits."""
    width, numbers = bits_of(s), [int(level) + s for level in levels]
    if s == 1:
        return definition_of_trits(numbers)
    whole = len(numbers) // 256 * 256
    body = b""
    for block in range(0, whole, 256):
        lanes = [
            stream(numbers[block + lane : block + 256 : 16], width).to_bytes(2 * width, "little") for lane in range(16)
        ]
        body += b"".join(lane[2 * word : 2 * word + 2] for word in range(width) for lane in lanes)
    rest = numbers[whole:]
    return body + stream(rest, width).to_bytes(-(-len(rest) * width // 8), "little")


def draw(rng: np.random.Generator, size: int, s: int) -> Levels:
    levels = rng.integers(-s, s + 1, size).astype(np.int16)
    levels[0], levels[-1] = -s, s
    return levels


@pytest.mark.parametrize("s", LEVEL_COUNTS)
def test_the_bytes_are_those_of_the_definition(s: int) -> None:
    rng = np.random.default_rng(s)
    for size in SIZES:
        levels = draw(rng, size, s)
        body = definition(levels, s)
        assert Packed().encode(levels, s) == body
        np.testing.assert_array_equal(Packed().decode(body, size, s), levels)


@settings(deadline=None)
@given(
    st.sampled_from([1, 1, 2, 5, 100, 2**15 - 1]) | st.integers(1, 2**15 - 1),
    st.integers(1, 2700),
    st.integers(0, 2**32),
)
def test_levels_come_back_as_they_went(s: int, size: int, seed: int) -> None:
    levels = draw(np.random.default_rng(seed), size, s)
    body = Packed().encode(levels, s)
    decoded = Packed().decode(memoryview(body), size, s)
    assert decoded.dtype == np.int16
    np.testing.assert_array_equal(decoded, levels)


def test_what_comes_before_the_levels_is_left_as_it_is() -> None:
    for s in (1, 4):
        levels = draw(np.random.default_rng(0), 300, s)
        assert Packed().write(levels, s, b"before", ScratchBuffer()) == b"before" + Packed().encode(levels, s)


def test_five_ternary_levels_take_a_byte() -> None:
    for size in (1, 5, 6, 1280, 1281, 2560, 10_000):
        assert len(Packed().encode(np.zeros(size, np.int16), 1)) == -(-size // 5)


def test_a_level_takes_no_more_bits_than_it_needs() -> None:
    for s, width in [(2, 3), (3, 3), (4, 4), (7, 4), (8, 5), (127, 8), (128, 9), (2**15 - 1, 16)]:
        assert len(Packed().encode(np.zeros(2560, np.int16), s)) == 2560 * width // 8
        assert len(Packed().encode(np.zeros(5, np.int16), s)) == -(-5 * width // 8)


@pytest.mark.parametrize("s", LEVEL_COUNTS)
def test_the_expected_length_is_the_length(s: int) -> None:
    for size in SIZES:
        length = len(Packed().encode(np.zeros(size, np.int16), s))
        assert Packed().expected_bits([(size, np.ones(1))], s) == 8 * length
        assert Packed().expected_bits([(size - 1, np.ones(1)), (1, np.ones(1))], s) == 8 * length


@pytest.mark.parametrize("s", [1, 4, 1000])
@pytest.mark.parametrize("size", [5, 256, 300, 1280, 1300])
def test_a_body_of_another_length_is_refused(s: int, size: int) -> None:
    body = Packed().encode(draw(np.random.default_rng(0), size, s), s)
    for wrong in (body[:-1], body + b"\0", b"", body * 2):
        with pytest.raises(PayloadError, match="bytes of levels"):
            Packed().decode(memoryview(wrong), size, s)


# Where 2 s + 1 is no power of two, a number beyond 2 s fits in the bits.
@pytest.mark.parametrize("s", [4, 16, 100, 1000, 2**14, 2**15 - 1])
@pytest.mark.parametrize("place", [0, 100, 255, 256, 290, 299])
def test_a_level_beyond_the_largest_is_refused_wherever_it_is(s: int, place: int) -> None:
    levels = draw(np.random.default_rng(0), 300, s).astype(np.int64)
    for beyond in {s + 1, 2 ** bits_of(s) - 1 - s}:
        levels[place] = beyond
        with pytest.raises(PayloadError, match="levels"):
            Packed().decode(definition(levels, s), 300, s)  # type: ignore[arg-type]
    levels[place] = s
    np.testing.assert_array_equal(Packed().decode(definition(levels, s), 300, s), levels)  # type: ignore[arg-type]


@pytest.mark.parametrize("place", [0, 1, 254, 255, 256, 300, 511, 512, 513, 514])
def test_a_byte_that_is_no_sum_of_five_is_refused_wherever_it_is(place: int) -> None:
    # 515 bytes: two blocks of 256, two bytes of five and one of three.
    body = bytearray(Packed().encode(draw(np.random.default_rng(0), 2573, 1), 1))
    assert len(body) == 515
    most = 3**5 if place < 514 else 3**3
    for number in (most - 1, most, most + 1, 254, 255):
        body[place] = number
        if number < most:
            assert Packed().encode(Packed().decode(body, 2573, 1), 1) == bytes(body)
        else:
            with pytest.raises(PayloadError, match="levels"):
                Packed().decode(body, 2573, 1)


@pytest.mark.parametrize("s", [2, 4, 1000, 2**14 - 1])
@pytest.mark.parametrize("size", [1, 3, 257, 261])
def test_padding_that_is_not_zero_is_refused(s: int, size: int) -> None:
    body = bytearray(Packed().encode(draw(np.random.default_rng(0), size, s), s))
    used = size * bits_of(s) % 8
    assert used
    for bit in range(used, 8):
        damaged = body.copy()
        damaged[-1] |= 1 << bit
        with pytest.raises(PayloadError, match="levels"):
            Packed().decode(damaged, size, s)


def test_every_body_is_refused_or_the_code_of_what_it_decodes_to() -> None:
    rng, codes, refused = np.random.default_rng(3), 0, 0
    for _ in range(4000):
        size, s = int(rng.integers(1, 12)), int(rng.integers(1, 20))
        body = rng.bytes(length_of(size, s))
        try:
            levels = Packed().decode(memoryview(body), size, s)
        except PayloadError:
            refused += 1
            continue
        codes += 1
        assert np.abs(levels).max() <= s
        assert Packed().encode(levels, s) == body
    assert codes > 100
    assert refused > 100


@pytest.mark.parametrize("s", [127, 2**14 - 1, 2**15 - 1])
def test_every_block_is_refused_or_the_code_of_what_it_decodes_to(s: int) -> None:
    # 2 s + 1 is one less than a power of two: each number but the largest is a level.
    rng, words = np.random.default_rng(s), bits_of(s) * 16
    for _ in range(50):
        body = rng.integers(0, 2**16, words, "<u2").tobytes()
        largest = 2 ** bits_of(s) - 1
        lanes = [b"".join(body[2 * at : 2 * at + 2] for at in range(lane, words, 16)) for lane in range(16)]
        numbers = [int.from_bytes(lane, "little") >> (bits_of(s) * i) & largest for i in range(16) for lane in lanes]
        if max(numbers) == largest:
            with pytest.raises(PayloadError, match="levels"):
                Packed().decode(body, 256, s)
        else:
            np.testing.assert_array_equal(Packed().decode(body, 256, s), np.array(numbers) - s)


def test_codings_have_kinds_of_their_own() -> None:
    kinds = [coding.kind for coding in CODINGS.values()]
    assert len(set(kinds)) == len(kinds)
    assert not {1, 2, 3} & set(kinds), "casts have those"
