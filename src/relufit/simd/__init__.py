"""Loops written for vector units by hand, whose bits do not depend on how wide the machine's vectors are."""

from __future__ import annotations

from relufit.simd.bits import count, leading_zeros, load_bits, multiply_high, store_bits
from relufit.simd.dots import dots
from relufit.simd.packing import pack, unpack
from relufit.simd.rounding import draw, round_levels

__all__ = [
    "count",
    "dots",
    "draw",
    "leading_zeros",
    "load_bits",
    "multiply_high",
    "pack",
    "round_levels",
    "store_bits",
    "unpack",
]
