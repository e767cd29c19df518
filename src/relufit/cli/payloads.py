"""What the payloads of a compressor consist of, and what it costs to make and to read them."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np

from relufit import streams
from relufit.compression import Compressor


class Parts(NamedTuple):
    """What the payload of a quantizer consists of."""

    start: int  # bytes before the code of the levels
    coding: str
    size: int  # coordinates
    entropy: float  # of the levels that occur, signs included, in bits a coordinate


class Measured(NamedTuple):
    """What some trials gave."""

    payload: bytes  # of the first one
    parts: Parts | None
    errors: np.ndarray  # ||Q(v) - v||^2 / ||v||^2 of each trial; NaN for the zero vector
    encode: float  # median, in million coordinates a second
    decode: float


def parts(compressor: Compressor, payload: bytes, size: int) -> Parts | None:
    """Return what a payload of `size` coordinates consists of; None where there are no levels."""
    anatomy = compressor.anatomy(payload, size)
    return anatomy and Parts(anatomy.start, anatomy.coding, size, _entropy(anatomy.symbols))


def measure(compressor: Compressor, vector: np.ndarray, seed: int, trials: int) -> Measured:
    """Encode and decode `vector` in some trials, with the keys of iterations 0, 1, ... of a seed.

    Raises
    ------
    PayloadError
        If the vector cannot be sent.
    """
    payload = compressor.encode(vector, streams.key(seed))
    decoded = compressor.decode(payload, vector.size)
    made = parts(compressor, payload, vector.size)
    # Scaled, so that no square leaves the range of the numbers.
    scale = max(float(np.max(vector)), -float(np.min(vector)))
    reference = vector / np.float64(scale or 1.0)
    square = float(reference @ reference) or np.nan
    errors, seconds = np.empty(trials), np.empty((2, trials))
    for trial in range(trials):
        key = streams.key(seed, iteration=trial)
        began = time.perf_counter()
        code = compressor.encode(vector, key)
        between = time.perf_counter()
        compressor.decode(code, vector.size, decoded)
        seconds[:, trial] = between - began, time.perf_counter() - between
        decoded /= scale or 1.0
        decoded -= reference
        errors[trial] = float(decoded @ decoded) / square
    encode, decode = vector.size / 1e6 / np.median(seconds, axis=1)
    return Measured(payload, made, errors, float(encode), float(decode))


def _entropy(symbols: np.ndarray) -> float:
    part = np.unique(symbols, return_counts=True)[1] / symbols.size
    return abs(float(np.sum(part * np.log2(part))))
