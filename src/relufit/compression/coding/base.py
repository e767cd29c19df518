"""What every coding is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar

import numpy as np

from relufit.compression.base import ScratchBuffer
from relufit.compression.levels import Levels
from relufit.errors import PayloadError

#: A number of coordinates, and the probabilities of the magnitudes 0, 1, 2, ... of the level of each.
Law = tuple[int, np.ndarray]


class Coding(ABC):
    """A lossless map from levels to bytes and back."""

    #: The number that a payload in this coding carries in its header.
    kind: ClassVar[int]
    #: Whether levels have one width, so that they can be read from any block on.
    fixed_width: ClassVar[bool] = False

    def encode(self, levels: Levels, s: int) -> bytes:
        """Return the bytes of `levels`, int16 with values from -s to s."""
        return bytes(self.write(levels, s, b"", ScratchBuffer()))

    @abstractmethod
    def write(self, levels: Levels, s: int, start: bytes, scratch: ScratchBuffer) -> memoryview:
        """Return `start` and the bytes of `levels`, made in `scratch`."""

    def decode(self, body: bytes | memoryview, size: int, s: int) -> np.ndarray:
        """Return the levels, (size,) int16.

        Raises
        ------
        PayloadError
            If `body` is not the code of `size` levels from -s to s.
        """
        levels = np.empty(size, np.int16)
        self.restore(np.frombuffer(body, np.uint8), levels, s)
        return levels

    @abstractmethod
    def restore(self, body: np.ndarray, into: Levels, s: int) -> None:
        """Give the levels of `body`, (bytes,) uint8, to `into`; after an error some of them may have been given.

        Raises
        ------
        PayloadError
            If `body` is not the code of that many levels from -s to s.
        """

    @abstractmethod
    def expected_bits(self, laws: Sequence[Law], s: int) -> float:
        """Return the expected length of the code of independent levels with these laws."""


def no_code(size: int, s: int) -> PayloadError:
    """Return the error of a body that codes something else."""
    return PayloadError(no_code_message(size, s))


@lru_cache(maxsize=1024)
def no_code_message(size: int, s: int) -> str:
    """Return what that error says."""
    return f"a body that is not the code of {size} levels from -{s} to {s}"
