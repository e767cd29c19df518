"""Which coding a quantizer uses: the one that was named, or with ``"auto"`` the shortest to be expected."""

from __future__ import annotations

from collections.abc import Sequence

from relufit.compression.coding import CODINGS, Coding, Law
from relufit.errors import ConfigError, PayloadError

AUTO = "auto"
_NAMES = {coding.kind: name for name, coding in CODINGS.items()}


def check_coding(name: str) -> None:
    """Raise ConfigError, with the known names, for an unknown coding."""
    if name != AUTO and name not in CODINGS:
        known = ", ".join([*CODINGS, AUTO])
        raise ConfigError(f"unknown coding {name!r}", where="coding", remedy=f"choose one of {known}")


def shortest(laws: Sequence[Law], s: int) -> str:
    """Return the name of the coding with the least expected length; the first of equals."""
    return min(CODINGS, key=lambda name: CODINGS[name].expected_bits(laws, s))


def coding_of(kind: int, name: str) -> Coding:
    """Return the coding that a payload's kind names.

    Raises
    ------
    PayloadError
        If there is none, or a coding was named and it is another.
    """
    known = _NAMES.get(kind)
    if known is None or name not in (known, AUTO):
        raise PayloadError(f"a payload of kind {kind}, which is not in the coding {name}")
    return CODINGS[known]


def name_of(kind: int) -> str:
    """Return the name of the coding that the kind of a valid payload names."""
    return _NAMES[kind]
