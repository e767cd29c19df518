"""The entropy coder's format read in plain Python, and levels to try it with."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from relufit.compression.coding.rans import Rans

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
