"""Levels as the codings see them, a block at a time.

A coding reads its levels with `take` and delivers them with `put`, so that no array of all levels is needed: they
may lie in an int16 array, or be rounded from a vector as they are read, or become numbers as they are decoded. Who
wants to be read or written describes itself by a named tuple and overloads `take` or `put` for its type.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numba import types
from numba.extending import overload

from relufit.numerics.compiled_cache import compiled

#: How many levels are taken or put at a time: whole blocks of every layout, few enough for the fastest cache.
BLOCK = 2560


class Levels(Protocol):
    """What can be read or written: an int16 array, or a named tuple that `take` or `put` knows."""

    @property
    def size(self) -> int:
        """The number of levels."""


def take(source, start, levels):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - for compiled functions
    """Write the levels of `source` from index `start` on to `levels`."""
    raise NotImplementedError


def put(target, start, levels):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - for compiled functions
    """Give `levels` to `target` as those from index `start` on."""
    raise NotImplementedError


def is_a(kind: Any, name: type) -> bool:  # noqa: ANN401 - numba's types are untyped
    """Tell whether a type that the compiler found is the named tuple `name`."""
    return isinstance(kind, types.BaseNamedTuple) and kind.instance_class is name


@compiled
def _copy(source: np.ndarray, first: int, target: np.ndarray, start: int, size: int) -> None:
    some = source[first : first + size]
    copied = target[start : start + size]
    for i in range(size):
        copied[i] = some[i]


@overload(take)
def _take_array(source, start, levels):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    if not isinstance(source, types.Array):
        return None
    return lambda source, start, levels: _copy(source, start, levels, 0, levels.size)


@overload(put)
def _put_array(target, start, levels):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    if not isinstance(target, types.Array):
        return None
    return lambda target, start, levels: _copy(levels, 0, target, start, levels.size)
