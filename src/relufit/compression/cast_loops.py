"""The compiled loops of casts, and payloads of single and half precision as terms of a sum."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba.extending import overload

from relufit.compression.levels import is_a
from relufit.compression.sums import add_block
from relufit.numerics import simd
from relufit.numerics.compiled_cache import compiled

#: Floats above all finite ones, as the bits of infinity.
INFINITE_DOUBLE, INFINITE_SINGLE = 0x7FF << 52, 0xFF << 23


class NarrowTerm(NamedTuple):
    """Numbers of 32 or 16 bits that a payload holds, at any address.

    Parameters
    ----------
    body : (bytes,) uint8
        As long as d numbers are.
    bits : int
        32 or 16.
    low, high : float
        What halves are multiplied by, see `halves_scales`.
    limit : int
        Magnitudes whose bits are an integer from this on are invalid.
    """

    body: np.ndarray
    bits: int
    low: float
    high: float
    limit: int


def halves_scales(exponent: int) -> tuple[float, float]:
    """Return two powers of two for `simd.read_numbers` that give halves times 2^exponent, rounded once.

    The first product is exact: it is 0 or lies in the range of normal doubles.
    """
    below = min(0, exponent + 1022)
    return 2.0 ** (1008 + below), 2.0 ** (exponent - below)


def halves_limit(exponent: int, top: int) -> int:
    """Return the bits of the least magnitude of a half that, times 2^exponent, is 2^top or more, or is not finite."""
    power = min(16, top - exponent)
    return (power + 15) << 10 if power >= -14 else 1 << max(0, power + 24)


@compiled
def _add_narrow(term: NarrowTerm, start: int, block: np.ndarray) -> bool:
    scales = (term.low, term.high)
    if term.bits == 32:
        return simd.add_numbers(32, term.body, start, scales, block) < term.limit
    return simd.add_numbers(16, term.body, start, scales, block) < term.limit


@overload(add_block)
def _add_block_of_numbers(term, start, block, levels):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    if not is_a(term, NarrowTerm):
        return None
    return lambda term, start, block, levels: _add_narrow(term, start, block)


@compiled
def read(bits: int, body: np.ndarray, low: float, high: float, out: np.ndarray) -> int:
    """Write the numbers of `body`, of 64, 32 or 16 bits, to `out`; return the largest magnitude as an integer."""
    if bits == 64:
        return simd.read_numbers(64, body, 0, (low, high), out)
    if bits == 32:
        return simd.read_numbers(32, body, 0, (low, high), out)
    return simd.read_numbers(16, body, 0, (low, high), out)


@compiled
def largest_magnitude(v: np.ndarray) -> float:
    """Return the largest magnitude of a float32 or float64 vector; NaN or infinity if there is one."""
    return simd.largest_magnitude(v)  # type: ignore[no-any-return]


@compiled
def write_singles(v: np.ndarray, body: np.ndarray) -> bool:
    """Write a vector as float32 to the bytes `body`; tell whether all numbers are finite after rounding."""
    return simd.write_singles(v, body) < INFINITE_SINGLE  # type: ignore[no-any-return]


@compiled
def write_halves(v: np.ndarray, low: float, high: float, body: np.ndarray) -> None:
    """Write a vector, times `low` and `high`, as halves to the bytes `body`; see `simd.write_halves`."""
    simd.write_halves(v, (low, high), body)
