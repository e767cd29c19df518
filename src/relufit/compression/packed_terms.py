"""Payloads of packed levels as terms of a sum: levels of a fixed width can be read from any block on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba.extending import overload

from relufit.compression.coding.packed import restore_block, width_of
from relufit.compression.grid import add_levels
from relufit.compression.levels import is_a
from relufit.compression.sums import add_block
from relufit.numerics.compiled_cache import compiled


class PackedTerm(NamedTuple):
    """Levels from -s to s, packed with a fixed width, that are multiples of norm / s.

    Parameters
    ----------
    body : (bytes,) uint8
        Of the length that d levels have.
    norms : (buckets,) float64
    s, bucket : int
        Quantization levels, and coordinates that share a norm.
    """

    body: np.ndarray
    norms: np.ndarray
    s: int
    bucket: int


@compiled
def _add_packed(term: PackedTerm, start: int, block: np.ndarray, levels: np.ndarray) -> bool:
    if not restore_block(term.body, start, term.s, width_of(term.s), levels):
        return False
    add_levels(block, term.norms, term.s, term.bucket, start, levels)
    return True


@overload(add_block)
def _add_block_of_levels(term, start, block, levels):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    if not is_a(term, PackedTerm):
        return None
    return lambda term, start, block, levels: _add_packed(term, start, block, levels)
