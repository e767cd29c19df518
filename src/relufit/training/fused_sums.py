"""The sum of partial gradients and the step along it in one pass, where the payloads can be read in blocks.

What is decoded is the compressor's matter; the step, and the distance from the planted weights, are known here alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from relufit.compression import Compressor
from relufit.compression.base import Pieces, joined
from relufit.compression.sums import Terms, VectorTerm, add_block, begin_block
from relufit.errors import PayloadError
from relufit.numerics.compiled_cache import compiled
from relufit.numerics.kernels import BLOCK, descend_block, descend_towards
from relufit.numerics.simd import dots


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


def step_in_part(
    compressor: Compressor, payload: Pieces, part: tuple[int, int], total: np.ndarray, descent: Descent, squares: float
) -> float:
    """Set a part of `total` to ``w - step * decoded``.

    After all parts, one after the other, `total` and what is returned are those of one step along the whole vector.

    Parameters
    ----------
    compressor : Compressor
    payload : bytes
        Of the part.
    part : (int, int)
        The first coordinate, where the part before has ended, and the one after the last.
    total : (d,) float64
        After an error the part may hold anything.
    descent : Descent
        `descent.w` stays as it is.
    squares : float
        What was returned for the part before, 0 for the first.

    Returns
    -------
    float
        The squared distance of `total` from `descent.target` so far: over the blocks that end in this part or before.

    Raises
    ------
    PayloadError
        If the payload is invalid.
    """
    start, stop = part
    terms = compressor.terms([payload], stop - start)
    if terms is None:
        decoded = compressor.decode(joined(payload), stop - start, out=total[start:stop]).view()
        decoded.flags.writeable = False
        terms = Terms.of([VectorTerm(decoded)], "")
    squares = _step_in_part(terms.terms[0], start, stop, total, *descent, squares)
    if squares < 0:
        raise PayloadError(terms.invalid)
    return squares


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


@compiled
def _step_in_part(
    term: Any,  # noqa: ANN401 - any term
    start: int,
    stop: int,
    total: np.ndarray,
    w: np.ndarray,
    step: float,
    target: np.ndarray,
    squares: float,
) -> float:
    """Return the squared distance so far, or -1 if the term is invalid. It may be the part of `total`."""
    scratch, levels = np.empty(min(total.size, BLOCK)), np.empty(BLOCK, np.int16)
    # Distances are added block by block of the whole vector, whatever its parts are.
    measured = start - start % BLOCK
    for first in range(start, stop, BLOCK):
        last = min(first + BLOCK, stop)
        block = scratch[: last - first]
        before, after = w[first:last], total[first:last]
        begin_block(after, True, block)
        if not add_block(term, first - start, block, levels[: block.size]):
            return -1.0
        for k in range(block.size):
            after[k] = before[k] - step * block[k]
        while measured + BLOCK <= last or measured < last == total.size:
            end = min(measured + BLOCK, last)
            some, reached, aim = scratch[: end - measured], total[measured:end], target[measured:end]
            for k in range(some.size):
                some[k] = reached[k] - aim[k]
            squares += dots((some,), some)[0]
            measured = end
    return squares
