"""Random streams addressed by name: every draw is a function of (seed, purpose, rank, iteration).

No stream has a state that must be carried from one iteration to the next, so that a rank can be replaced,
a run resumed, or one iteration looked at alone, and the numbers are the same.
"""

from __future__ import annotations

import hashlib
import struct

import numpy as np

from relufit.errors import ConfigError

_INT64 = range(-(2**63), 2**63)
_UINT64 = 2**64 - 1
_NUMBERS, _WORD = struct.Struct("<qqq"), np.dtype("<u4")


def key(seed: int, *, rank: int = 0, iteration: int = 0, purpose: str = "dither") -> int:
    """Return the 128-bit key of one stream.

    The arguments go through BLAKE2b, so that streams whose seeds, ranks or iterations are neighbours share
    nothing: no shifted copies, no common words.

    Parameters
    ----------
    seed, rank, iteration : int
        64-bit integers.
    purpose : str
        What the stream is for: ``"dither"``, ``"rows"``, ``"inputs"``, ...

    Raises
    ------
    ConfigError
        If an argument is no 64-bit integer.
    """
    if not (type(seed) is type(rank) is type(iteration) is int):
        _check(seed=seed, rank=rank, iteration=iteration)
    try:
        numbers = _NUMBERS.pack(seed, rank, iteration)
    except struct.error:
        _check(seed=seed, rank=rank, iteration=iteration)
        raise
    hashed = hashlib.blake2b(numbers + purpose.encode(), digest_size=16, person=b"relufit")
    return int.from_bytes(hashed.digest(), "little")


def _check(**numbers: object) -> None:
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or int(value) not in _INT64:
            raise ConfigError(f"{value!r} is no 64-bit integer", where=name, remedy="give a whole number")


def generator(stream: int) -> np.random.Generator:
    """Return numpy's counter-based Philox generator at the start of the stream with that key."""
    return np.random.Generator(np.random.Philox(key=stream))


class Generators:
    """The generators of one stream after the other, as `generator` returns them, in the memory of one.

    Making a generator takes longer than drawing a hundred numbers. It can be used in one thread at a time.
    """

    def __init__(self) -> None:
        self._philox = np.random.Philox(key=0)
        self._start = self._philox.state
        self._generator = np.random.Generator(self._philox)

    def at(self, stream: int) -> np.random.Generator:
        """Return the generator at the start of the stream with that key; the one before it is at the start as well."""
        self._start["state"]["key"][:] = stream & _UINT64, stream >> 64
        self._philox.state = self._start
        return self._generator


def words(stream: int) -> np.ndarray:
    """Split a key into four 32-bit words, as the compiled loops take it: (4,) uint32."""
    return np.frombuffer(stream.to_bytes(16, "little"), _WORD)
