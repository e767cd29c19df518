"""Expected lengths of the codes of quantized vectors; the norm of a vector, sent apart, is not counted."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from relufit.theory._checks import nonnegative, whole
from relufit.theory.quantization import level_probabilities

Array = NDArray[np.float64]
Lengths = NDArray[np.int64]

_LARGEST = 2**62


def gamma_length(k: ArrayLike) -> Lengths:
    """Return the bits of Elias' gamma code of k, ``2 floor(log2 k) + 1``, exact for whole numbers from 1 to 2^62.

    P. Elias, *Universal codeword sets and representations of the integers*, 1975, doi:10.1109/TIT.1975.1055349.
    """
    return 2 * _bits(k) - 1


def omega_length(k: ArrayLike) -> Lengths:
    """Return the bits of Elias' omega code of k, 1 to 2^62: those of k, of their number less 1, and so on, and a 0.

    1 is coded in one bit, 2 and 3 in 3, 4 to 7 in 6, 8 to 15 in 7, 16 to 31 in 11. Source as for `gamma_length`.
    """
    bits = _bits(k)
    length = np.ones_like(bits)
    while np.any(bits > 1):
        length += np.where(bits > 1, bits, 0)
        bits = _bits(np.maximum(bits - 1, 1))
    return length


def dense_code_bits(probabilities: ArrayLike, length: Callable[[ArrayLike], Lengths]) -> float:
    """Return the expected bits a coordinate of QSGD's dense code (Alistarh et al. 2017, arXiv:1610.02132).

    Each coordinate is the code of ``|level| + 1``, and a sign bit if the level is not zero. On random directions at
    ``s = sqrt(d)``, d from 1e2 to 1e6, that is 2.93 bits with gamma and 2.94 to 2.95 with omega codes: more, from
    d = 256 on, than the ``2.8 d + 32`` bits that the paper states for every vector.

    Parameters
    ----------
    probabilities : array, shape (L + 1,)
        ``P(|level| = l)``, l = 0 .. L, as of `level_probabilities`.
    length : function
        `gamma_length` or `omega_length`.
    """
    probabilities = _law(probabilities)
    level = np.arange(len(probabilities))
    return float(np.sum(probabilities * (length(level + 1) + (level > 0))))


def sparse_code_bits(probabilities: ArrayLike, length: Callable[[ArrayLike], Lengths]) -> float:
    """Return the expected bits a coordinate of QSGD's sparse code (Alistarh et al. 2017, arXiv:1610.02132).

    Each coordinate with a level other than zero is the code of its distance from the one before, 1 or more, a sign
    bit, and the code of ``|level|``. Coordinates are taken as independent, in a long vector: distances are
    geometric, and summed from one power of two to the next, where both codes have one length. Parameters as in
    `dense_code_bits`; `sparse_message_bits` is for a vector of given length.
    """
    probabilities = _law(probabilities)
    nonzero = float(np.sum(probabilities[1:]))
    levels = float(np.sum(probabilities[1:] * (length(np.arange(1, len(probabilities))) + 1)))
    if nonzero == 0:
        return 0.0
    # P(distance >= k) = (1 - nonzero)^(k-1); the last power takes what is beyond it.
    start = 2 ** np.arange(63)
    rate = math.log1p(-min(nonzero, 1 - 2**-53))
    reached = np.append(np.exp(rate * (start - 1.0)), 0.0)
    return levels + nonzero * float(np.sum((reached[:-1] - reached[1:]) * length(start)))


def sparse_message_bits(probabilities: ArrayLike, length: Callable[[ArrayLike], Lengths], d: int) -> float:
    """Return the expected bits of d independent coordinates in QSGD's sparse code, and of the distance to their end.

    After the last level that is not zero the code of the distance to the end of the vector closes the message. With p
    the probability of such a level and ``q = 1 - p``, a distance of g, 1 to d, is that between two of them, to the
    first or to the end ``p q^(g-1) (p (d - g) + 2)`` times in the mean, and one of d + 1, a vector of zeros, ``q^d``
    times. Parameters as in `dense_code_bits`; d is 1 or more.
    """
    probabilities, d = _law(probabilities), whole("d", d)
    p = min(float(np.sum(probabilities[1:])), 1 - 2**-53)
    levels = float(np.sum(probabilities[1:] * (length(np.arange(1, len(probabilities))) + 1)))
    if p == 0:
        return float(length(d + 1))
    first = 2 ** np.arange(int(d).bit_length())
    # Both codes have one length from one power of two to the next.
    last = np.minimum(2 * first - 1, d)
    rate = math.log1p(-p)
    before, after = np.exp(rate * (first - 1.0)), np.exp(rate * last)
    once = before - after
    # Sum of g p q^(g-1) over the distances of a group.
    weighted = first * before - last * after + (before * (1 - p) - after) / p
    distances = np.sum(length(first) * ((p * d + 2) * once - p * weighted))
    return d * levels + float(distances) + math.exp(rate * d) * float(length(d + 1))


def elias_bits(d: int, levels: int, *, norm: str = "l2") -> dict[str, float]:
    """Return the expected bits a coordinate of QSGD's four codes, on uniformly distributed directions.

    Keys are ``"dense_gamma"``, ``"dense_omega"``, ``"sparse_gamma"`` and ``"sparse_omega"``; arguments are those of
    `level_probabilities`, whose law is taken for each coordinate.
    """
    probabilities = level_probabilities(d, levels, norm=norm)
    return {
        f"{kind}_{name}": bits(probabilities, length)
        for kind, bits in (("dense", dense_code_bits), ("sparse", sparse_code_bits))
        for name, length in (("gamma", gamma_length), ("omega", omega_length))
    }


def rate_distortion_bits(omega: float) -> float:
    """Return ``(1/2) log2(1 + 1 / omega)``, the least bits a coordinate of an unbiased compression of Gaussians.

    Y with ``E[Y | X] = X`` and error ``omega Var X`` leaves ``Var X omega / (1 + omega)`` to the best linear
    estimate of X, and the rate-distortion function of a Gaussian at that is the least mutual information; X plus
    Gaussian noise reaches it. It is for long vectors of independent coordinates; infinite at omega = 0.
    """
    omega = nonnegative("omega", omega)
    return math.log1p(1 / omega) / (2 * math.log(2)) if omega else math.inf


def _bits(k: ArrayLike) -> Lengths:
    """Return ``floor(log2 k) + 1``."""
    given = np.asarray(k)
    if given.dtype.kind not in "iuf" or not np.all((given >= 1) & (given <= _LARGEST) & (given == np.floor(given))):
        raise ValueError("k must be whole numbers from 1 to 2^62")
    whole = given.astype(np.int64)
    bits = np.frexp(whole.astype(np.float64))[1].astype(np.int64)
    # Next below a power of two, the float may have been rounded up to it.
    return bits - (np.left_shift(1, bits - 1) > whole)


def _law(probabilities: ArrayLike) -> Array:
    law = np.asarray(probabilities, dtype=np.float64)
    if law.ndim != 1 or not np.all(law >= 0) or not abs(law.sum() - 1) < 1e-6:
        raise ValueError("probabilities must be a list of nonnegative numbers of sum 1")
    return law
