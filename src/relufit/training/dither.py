"""The keys of what is drawn when gradients and their sums are encoded."""

from __future__ import annotations

from relufit import streams
from relufit.compression import Compressor


def dither_key(compressor: Compressor, seed: int, rank: int, iteration: int, purpose: str = "dither") -> int:
    """Return the key of what is drawn for an encoding, 0 where nothing is: making one takes microseconds."""
    return streams.key(seed, rank=rank, iteration=iteration, purpose=purpose) if compressor.random else 0
