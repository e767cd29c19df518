"""The sum of partial gradients and the step along it in one pass, where the payloads can be read in blocks.

What is decoded is the compressor's matter; the step, and the distance from the planted weights, are known here alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from relufit.compression import Compressor
from relufit.compression.base import Pieces
from relufit.compression.sums import Terms, add_block, begin_block
from relufit.errors import PayloadError
from relufit.numerics.compiled_cache import compiled
from relufit.numerics.kernels import BLOCK, descend_block, descend_towards


class Descent(NamedTuple):
    """A step from `w`, (d,) float64, of `step` times a sum, and where it should lead, `target`, (d,) float64."""

    w: np.ndarray
    step: float
    target: np.ndarray


def sum_and_step(
    compressor: Compressor,
    payloads: Sequence[Pieces],
    total: np.ndarray,
    descent: Descent,
    *,
    fresh: bool,
    scratch: np.ndarray,
) -> float:
    """Set `total` to ``w - step * (total + sum of the decoded payloads)``, where `total` counts as zero if `fresh`.

    Parameters
    ----------
    compressor : Compressor
    payloads : sequence of bytes
        At most as many as `compressor.max_fused_payloads` says; they are added in their order.
    total, scratch : (d,) float64
        After an error they may hold anything.
    descent : Descent
        `descent.w` stays as it is.
    fresh : bool

    Returns
    -------
    float
        The squared distance of `total` from `descent.target`.

    Raises
    ------
    PayloadError
        If a payload is invalid.
    """
    terms = compressor.terms(payloads, total.size)
    if terms is not None:
        return sum_terms_and_step(terms, total, descent, fresh=fresh)
    compressor.sum(payloads, total, fresh=fresh, scratch=scratch)
    w, step, target = descent
    return descend_towards(w, total, step, target, total)  # type: ignore[no-any-return]


def sum_terms_and_step(terms: Terms, total: np.ndarray, descent: Descent, *, fresh: bool) -> float:
    """Do as `sum_and_step` with payloads that are terms already; `total` may be `descent.w`."""
    squares: float = _sum_and_step(terms.terms, terms.used, total, fresh, *descent)
    if squares < 0:
        raise PayloadError(terms.invalid)
    return squares


@compiled
def _sum_and_step(
    terms: tuple[Any, ...],
    count: int,
    total: np.ndarray,
    fresh: bool,
    w: np.ndarray,
    step: float,
    target: np.ndarray,
) -> float:
    """Return the squared distance, or -1 if a term is invalid."""
    scratch, levels, squares = np.empty(min(total.size, BLOCK)), np.empty(BLOCK, np.int16), 0.0
    for start in range(0, total.size, BLOCK):
        block = scratch[: min(BLOCK, total.size - start)]
        stop = start + block.size
        out = total[start:stop]
        begin_block(out, fresh, block)
        for number in range(count):
            if not add_block(terms[number], start, block, levels[: block.size]):
                return -1.0
        squares += descend_block(w[start:stop], block, step, target[start:stop], out)
    return squares
