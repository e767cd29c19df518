"""Loops written for vector units by hand, whose bits do not depend on how wide the machine's vectors are."""

from __future__ import annotations

from relufit.numerics.simd.bits import at_least, count, leading_zeros, load_bits, multiply_high, ones, store_bits
from relufit.numerics.simd.casts import add_numbers, largest_magnitude, read_numbers, write_halves, write_singles
from relufit.numerics.simd.codebook import from_levels, to_levels
from relufit.numerics.simd.dots import dots
from relufit.numerics.simd.hadamard import (
    butterflies_2,
    butterflies_4,
    butterflies_8,
    copy_run,
    flip_signs,
    hadamard_128,
    scale_with_signs,
)
from relufit.numerics.simd.packing import pack, unpack
from relufit.numerics.simd.rounding import draw, round_levels

__all__ = [
    "add_numbers",
    "at_least",
    "butterflies_2",
    "butterflies_4",
    "butterflies_8",
    "copy_run",
    "count",
    "dots",
    "draw",
    "flip_signs",
    "from_levels",
    "hadamard_128",
    "largest_magnitude",
    "leading_zeros",
    "load_bits",
    "multiply_high",
    "ones",
    "pack",
    "read_numbers",
    "round_levels",
    "scale_with_signs",
    "store_bits",
    "to_levels",
    "unpack",
    "write_halves",
    "write_singles",
]
