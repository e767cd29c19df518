"""The length of payloads: what a compressor expects, or where it does not say, what it sends."""

from __future__ import annotations

from functools import lru_cache

from relufit import streams
from relufit.compression.base import Compressor

#: The longest vector that is encoded for its length; of a longer one the length is taken to be in proportion.
_LONGEST = 2**16


@lru_cache(maxsize=10_000)
def payload_bits(compressor: Compressor, size: int) -> float:
    """Return the expected bits of the payload of a Gaussian vector of `size` coordinates.

    Where the compressor does not know them, they are those of the payload of one such vector.
    """
    expected = compressor.expected_bits(size)
    if expected is not None:
        return float(expected)
    sampled = min(size, _LONGEST)
    vector = streams.generator(streams.key(0, purpose="vector")).standard_normal(sampled)
    return 8.0 * len(compressor.encode(vector, 0)) * size / sampled
