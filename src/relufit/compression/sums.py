"""Sums of payloads that can be read from any block on: several at a time, so that the sum passes through memory once.

Vectors are long and memory is slow: a sum that is not written after each payload takes half of the time. Every
coordinate goes through the same operations in the same order as if one payload were added after the other.

A compressor whose payloads can be read in this way describes each by a named tuple, a term, and overloads `add_block`
for its type, see `relufit.compression.packed_terms`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numba.extending import overload

from relufit.compression.levels import is_a
from relufit.errors import PayloadError
from relufit.numerics.compiled_cache import compiled
from relufit.numerics.kernels import BLOCK

#: The most payloads in one sum. They are decoded while others are waited for, so that few are there at a time.
MAX_FUSED = 4
#: The bits of a float64 that are all set in NaN and infinity alone.
EXPONENT = np.uint64(0x7FF << 52)


class Terms(NamedTuple):
    """Payloads as the compiled loops take them.

    Parameters
    ----------
    terms : tuple
        `MAX_FUSED` named tuples of one type, of which the first `used` are payloads.
    used : int
        From 1 to `MAX_FUSED`.
    invalid : str
        What the error says that is raised if `add_block` finds a payload invalid.
    """

    terms: tuple[Any, ...]
    used: int
    invalid: str

    @classmethod
    def of(cls, terms: Sequence[Any], invalid: str) -> Terms:
        """Return 1 to `MAX_FUSED` terms; the loops take a fixed number, of which the last ones may not count."""
        return cls((*terms, *[terms[0]] * (MAX_FUSED - len(terms))), len(terms), invalid)


def sum_terms(terms: Terms, total: np.ndarray, fresh: bool) -> None:
    """Add terms to `total`, (d,) float64, or to zero if `fresh`, in their order.

    Raises
    ------
    PayloadError
        If a payload is invalid; `total` holds anything then.
    """
    if not _sum_terms(terms.terms, terms.used, total, fresh):
        raise PayloadError(terms.invalid)


def add_block(term: Any, start: int, block: np.ndarray, levels: np.ndarray) -> bool:  # noqa: ANN401 - any term
    """Add the coordinates of `term` from index `start` on to `block`, and return whether they are valid.

    `start` is a multiple of `BLOCK`; `block`, float64, has `BLOCK` coordinates, or those that are left at the end;
    `levels` is scratch of that size, int16.
    """
    raise NotImplementedError


@compiled
def begin_block(total: np.ndarray, fresh: bool, block: np.ndarray) -> None:
    """Write zeros to `block` if `fresh`, else `total`."""
    if fresh:
        for k in range(block.size):
            block[k] = 0.0
    else:
        for k in range(block.size):
            block[k] = total[k]


@compiled
def _sum_terms(terms: tuple[Any, ...], count: int, total: np.ndarray, fresh: bool) -> bool:
    scratch, levels = np.empty(min(total.size, BLOCK)), np.empty(BLOCK, np.int16)
    for start in range(0, total.size, BLOCK):
        block = scratch[: min(BLOCK, total.size - start)]
        out = total[start : start + block.size]
        begin_block(out, fresh, block)
        for number in range(count):
            if not add_block(terms[number], start, block, levels[: block.size]):
                return False
        for k in range(block.size):
            out[k] = block[k]
    return True


class VectorTerm(NamedTuple):
    """A vector, (d,) float64, that a payload holds as it is."""

    vector: np.ndarray


@compiled
def _add_vector(term: VectorTerm, start: int, block: np.ndarray) -> bool:
    largest, part = np.uint64(0), term.vector[start : start + block.size]
    bits = part.view(np.uint64)
    for k in range(block.size):
        block[k] += part[k]
        largest = max(largest, bits[k] & EXPONENT)
    return largest != EXPONENT  # type: ignore[no-any-return]


@overload(add_block)
def _add_block_of_vector(term, start, block, levels):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    if not is_a(term, VectorTerm):
        return None
    return lambda term, start, block, levels: _add_vector(term, start, block)
