"""Codings: how the levels of a quantizer become bytes. A new one is a module here and a line in `CODINGS`."""

from __future__ import annotations

from relufit.compression.coding.base import Coding, Law
from relufit.compression.coding.elias import Elias
from relufit.compression.coding.packed import Packed
from relufit.compression.coding.rans import Rans

__all__ = ["CODINGS", "Coding", "Law"]

CODINGS: dict[str, Coding] = {"packed": Packed(), "elias": Elias(), "rans": Rans()}
