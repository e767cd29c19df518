"""Compressors of vectors: what `encode` returns is what travels, and what is counted.

A compressor is made by name with `make_compressor`. A new one is a subclass of `Compressor`: a module here and its
class in `relufit.compression.registry`, or a package of its own that declares an entry point, see docs/compressors.md.
"""

from __future__ import annotations

from relufit.compression.base import Compressor
from relufit.compression.registry import COMPRESSORS, compressor_classes, compressor_names, make_compressor

__all__ = ["COMPRESSORS", "Compressor", "compressor_classes", "compressor_names", "make_compressor"]
