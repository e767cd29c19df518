"""Compressors of vectors: what `encode` returns is what travels, and what is counted.

A compressor is made by name with `make_compressor`; a new one is a module here and a line in `COMPRESSORS`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from relufit.compression.base import Compressor
from relufit.compression.cast import Float16, Float32, Float64
from relufit.compression.natural import Natural
from relufit.compression.qsgd import QSGD, Ternary
from relufit.errors import ConfigError

__all__ = ["COMPRESSORS", "Compressor", "make_compressor"]

COMPRESSORS: dict[str, Callable[..., Compressor]] = {
    "fp64": Float64,
    "fp32": Float32,
    "fp16": Float16,
    "qsgd": QSGD,
    "ternary": Ternary,
    "natural": Natural,
}


def make_compressor(name: str, **parameters: Any) -> Compressor:  # noqa: ANN401 - each compressor has its own
    """Return the compressor of that name.

    Parameters
    ----------
    name : str
        A key of `COMPRESSORS`.
    **parameters
        The compressor's own parameters, such as ``levels``, ``coding`` and ``bucket_size`` of ``"qsgd"``.

    Raises
    ------
    ConfigError
        If the name or a parameter is unknown, missing or impossible.
    """
    if name not in COMPRESSORS:
        raise ConfigError(
            f"unknown compressor {name!r}",
            where="compressor",
            remedy=f"choose one of {', '.join(COMPRESSORS)}",
        )
    kind = COMPRESSORS[name]
    known = inspect.signature(kind).parameters
    for parameter in parameters:
        if parameter not in known:
            has = ", ".join(known) or "no parameters"
            raise ConfigError(f"{name} has no parameter {parameter!r}", where="compressor", remedy=f"it has {has}")
    for parameter, its in known.items():
        if its.default is inspect.Parameter.empty and parameter not in parameters:
            raise ConfigError(f"{name} needs {parameter!r}", where="compressor", remedy=f"give {parameter}=")
    return kind(**parameters)
