"""Codings: how the levels of a quantizer become bytes. A new one is a module here and a line in `CODINGS`."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from relufit.compression.coding.packed import Packed

__all__ = ["CODINGS", "Coding"]


class Coding(Protocol):
    """A lossless map from levels to bytes and back."""

    @property
    def kind(self) -> int:
        """The number that a payload in this coding carries in its header."""

    def encode(self, levels: np.ndarray, s: int) -> bytes:
        """Return the bytes of `levels`, (d,) int16 with values from -s to s."""

    def decode(self, body: memoryview, size: int, s: int) -> np.ndarray:
        """Return the levels, (size,) int16.

        Raises
        ------
        PayloadError
            If `body` is not the code of `size` levels from -s to s.
        """


CODINGS: dict[str, Coding] = {"packed": Packed()}
