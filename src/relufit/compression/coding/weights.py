"""Frequencies of symbols from a short description, in whole numbers, so that they are the same on every machine.

A token has a weight w from 0 to 63 that stands for a frequency in proportion to 2^(w/4); both signs of a token have
the same frequency.
"""

from __future__ import annotations

from math import isqrt

import numpy as np

from relufit.compression.coding.symbols import SYMBOLS
from relufit.numerics.compiled_cache import compiled

_TOP = 63
#: Binary digits of logarithms.
_DIGITS = 16
#: floor(2^(w/4 + 20)); exact, since the root of a root's whole part is the whole part of the fourth root.
_SHARES = np.array([isqrt(isqrt(1 << (w + 80))) for w in range(_TOP + 1)], np.int64)
#: 2^((w - 63.5) / 4): from there on a share of the largest is nearer to weight w than to w - 1.
_BORDERS = np.array([isqrt(isqrt(isqrt(1 << (2 * w + 289)))) / 2.0**52 for w in range(_TOP + 1)])

#: For which signs a table has symbols.
BOTH, POSITIVE, NEGATIVE = 0, 1, 2


@compiled
def weigh(counts: np.ndarray, tokens: int, signs: int, weights: np.ndarray) -> None:
    """Write the weights of the first `tokens` tokens, given the counts of symbols."""
    per_symbol, largest = np.empty(tokens), 0.0
    for token in range(tokens):
        total = counts[0] if token == 0 else counts[2 * token - 1] + counts[2 * token]
        per_symbol[token] = total / 2 if token and signs == BOTH else float(total)
        largest = max(largest, per_symbol[token])
    for token in range(tokens):
        weight = 0
        while weight < _TOP and per_symbol[token] >= largest * _BORDERS[weight + 1]:
            weight += 1
        weights[token] = weight


@compiled
def frequencies(weights: np.ndarray, signs: int, total: int, frequency: np.ndarray) -> None:
    """Write the frequency of each symbol, (SYMBOLS,) int64; at least 2 each, `total` together.

    The most frequent symbol makes up for what is gained and lost by rounding, at most 2 for each symbol: it is
    frequent enough where `total` is at least 2^16, or 2^12 for at most 32 symbols.
    """
    frequency[:] = 0
    shares = _SHARES[weights[0]]
    for token in range(1, weights.size):
        shares += _SHARES[weights[token]] * (2 if signs == BOTH else 1)
    left, most = total, 0
    for token in range(weights.size):
        value = max(2, _SHARES[weights[token]] * total // shares)
        for symbol in range(max(0, 2 * token - 1), 2 * token + 1):
            positive = symbol == 2 * token - 1
            if token and ((signs == POSITIVE and not positive) or (signs == NEGATIVE and positive)):
                continue
            frequency[symbol] = value
            left -= value
            if value > frequency[most]:
                most = symbol
    frequency[most] += left


@compiled
def cost(counts: np.ndarray, frequency: np.ndarray, precision: int) -> int:
    """Return the bits that symbols with these counts cost, rounded down, for frequencies of 2^precision."""
    total = 0
    for symbol in range(SYMBOLS):
        if counts[symbol]:
            total += counts[symbol] * ((precision << _DIGITS) - _log2(frequency[symbol]))
    return total >> _DIGITS


@compiled
def _log2(number: int) -> int:
    """Return 2^16 log2 of a number from 1 to 2^16, rounded down: the whole part, then a digit for each squaring."""
    digits = 0
    while number >> (digits + 1):
        digits += 1
    x = number << (30 - digits)
    for _ in range(_DIGITS):
        x = x * x >> 30
        digits <<= 1
        if x >> 31:
            x >>= 1
            digits |= 1
    return digits
