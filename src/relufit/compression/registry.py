"""Compressors by name: those of this package, and those that other packages declare as entry points.

A package declares a compressor by an entry point of the group `GROUP`, whose name is the compressor's and whose object
is its class, in its ``pyproject.toml``::

    [project.entry-points."relufit.compressors"]
    random_fraction = "random_fraction:RandomFraction"
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from inspect import Parameter, isabstract, signature
from typing import Any

from relufit.compression.base import Compressor
from relufit.compression.cast import Float16, Float32, Float64
from relufit.compression.eden import Eden
from relufit.compression.gradiveq import GradiVeQ
from relufit.compression.natural import Natural
from relufit.compression.qsgd import QSGD, Ternary
from relufit.compression.rand_k import RandK
from relufit.compression.scaled_qsgd import ScaledQSGD
from relufit.compression.sign import Majority, OneBit, Sign
from relufit.compression.top_k import TopK
from relufit.compression.top_k_sign import TopKSign
from relufit.errors import ConfigError

#: The group of entry points.
GROUP = "relufit.compressors"
#: The compressors of this package.
COMPRESSORS: dict[str, type[Compressor]] = {
    kind.name: kind
    for kind in (
        Float64,
        Float32,
        Float16,
        QSGD,
        Ternary,
        Natural,
        Eden,
        ScaledQSGD,
        Sign,
        OneBit,
        Majority,
        TopK,
        TopKSign,
        RandK,
        GradiVeQ,
    )
}


def compressor_names() -> list[str]:
    """Return the names of all compressors, those of other packages last."""
    return [*COMPRESSORS, *(name for name in _declared() if name not in COMPRESSORS)]


def compressor_classes() -> Iterator[type[Compressor]]:
    """Yield the classes of all compressors, those of other packages last.

    Raises
    ------
    ConfigError
        As `compressor_class`.
    """
    for name in compressor_names():
        yield compressor_class(name)


def compressor_class(name: str) -> type[Compressor]:
    """Return the class of a compressor.

    Raises
    ------
    ConfigError
        If no package has a compressor of that name, if two have one, or if the one of another package cannot be loaded
        or is no compressor of that name.
    """
    declared = _declared().get(name, ()) if isinstance(name, str) else ()
    own = COMPRESSORS.get(name) if isinstance(name, str) else None
    if own and not declared:
        return own
    if not declared:
        known = ", ".join(compressor_names())
        raise ConfigError(f"unknown compressor {name!r}", where="compressor", remedy=f"choose one of {known}")
    if own or len(declared) > 1:
        owners = [*(["relufit"] if own else []), *map(_distribution, declared)]
        raise ConfigError(
            f"{name!r} is a compressor of {' and of '.join(owners)}",
            where="compressor",
            remedy=f"uninstall {owners[-1]}, or have it declare another name",
        )
    return _load(declared[0])


def make_compressor(name: str, **parameters: Any) -> Compressor:  # noqa: ANN401 - each compressor has its own
    """Return the compressor of that name.

    Parameters
    ----------
    name : str
        One of `compressor_names`.
    **parameters
        The compressor's own parameters, such as ``levels``, ``coding`` and ``bucket_size`` of ``"qsgd"``.

    Raises
    ------
    ConfigError
        If the name or a parameter is unknown, missing or impossible.
    """
    kind = compressor_class(name)
    known = signature(kind).parameters
    for parameter in parameters:
        if parameter not in known:
            listed = ", ".join(known) or "no parameters"
            raise ConfigError(f"{name} has no parameter {parameter!r}", where="compressor", remedy=f"it has {listed}")
    for parameter, described in known.items():
        if described.default is Parameter.empty and parameter not in parameters:
            raise ConfigError(f"{name} needs {parameter!r}", where="compressor", remedy=f"give {parameter}=")
    return kind(**parameters)


@cache
def _declared() -> dict[str, tuple[EntryPoint, ...]]:
    """Return the entry points of installed packages by name; a package that is found twice counts once."""
    declared: dict[str, dict[tuple[str, str], EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        declared.setdefault(point.name, {}).setdefault((_distribution(point), point.value), point)
    return {name: tuple(points.values()) for name, points in declared.items()}


@cache
def _load(point: EntryPoint) -> type[Compressor]:
    owner = _distribution(point)
    remedy = f"mend, upgrade or uninstall {owner}"
    try:
        kind = point.load()
    except Exception as error:
        what = f"{point.name!r} of {owner} cannot be loaded from {point.value} ({type(error).__name__}: {error})"
        raise ConfigError(what, where="compressor", remedy=remedy) from error
    if not (isinstance(kind, type) and issubclass(kind, Compressor)) or isabstract(kind):
        what = f"{point.name!r} of {owner}, {point.value}, is no complete subclass of relufit.compression.Compressor"
        raise ConfigError(what, where="compressor", remedy=remedy)
    if getattr(kind, "name", None) != point.name:
        what = f"{point.name!r} of {owner} is a compressor with the name {getattr(kind, 'name', None)!r}"
        raise ConfigError(what, where="compressor", remedy=f"let {owner} declare it by that name")
    return kind


def _distribution(point: EntryPoint) -> str:
    """Return the name of the distribution that declares an entry point."""
    return point.dist.name if point.dist else "an unknown distribution"
