"""Levels of up to 15 bits as one of 207 symbols and a few plain bits.

A magnitude has a token: below 16 itself; above, the octaves are cut into eight equal parts each, and the place in a
part is left to plain bits. Zero is symbol 0; token t is symbol 2 t - 1 above zero and 2 t below.
"""

from __future__ import annotations

import numpy as np

from relufit.numerics.compiled_cache import compiled
from relufit.numerics.simd import leading_zeros

#: Magnitudes that are tokens of their own, parts of an octave, tokens and symbols in all.
_DIRECT, _PARTS = 16, 8
TOKENS = _DIRECT + 11 * _PARTS
SYMBOLS = 2 * TOKENS - 1


@compiled
def token_of(magnitude: int) -> int:
    """Return the token of a magnitude from 0 to 32767."""
    if magnitude < _DIRECT:
        return magnitude
    plain = 60 - leading_zeros(np.uint64(magnitude))
    return _DIRECT + (plain - 1) * _PARTS + (magnitude >> plain) - _PARTS


@compiled
def plain_bits(token: int) -> int:
    """Return how many plain bits follow a token."""
    return 0 if token < _DIRECT else (token - _DIRECT) // _PARTS + 1


@compiled
def base_of(token: int) -> int:
    """Return the least magnitude of a token."""
    return token if token < _DIRECT else (_PARTS + (token - _DIRECT) % _PARTS) << plain_bits(token)


@compiled
def symbol_of(level: int) -> int:
    """Return the symbol of a level."""
    token = token_of(abs(level))
    return 2 * token - (level > 0)
