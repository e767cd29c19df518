"""What a machine takes for each part of an iteration, as measured once and kept in a file."""

from __future__ import annotations

import bisect
import json
import math
import re
from ast import literal_eval
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from inspect import signature
from pathlib import Path
from typing import Any

from relufit.compression import Compressor, make_compressor
from relufit.compression.lengths import payload_bits
from relufit.errors import ConfigError, DataError
from relufit.exchange import Exchange
from relufit.files.atomic import write_text

_VERSION = 2
#: At the end of the label of a compressor with error feedback.
FEEDBACK = "+feedback"
#: Between the parts of a label, of which the first letter is no digit: a number may have a sign.
_PARTS = re.compile(r"-(?=[^\d.])")


@dataclass(frozen=True)
class Curve:
    """Seconds by the number of coordinates: measured at some, on straight lines between them and beyond.

    Parameters
    ----------
    sizes : tuple of int
        Numbers of coordinates, two at least, ascending.
    seconds : tuple of float
        As many.
    """

    sizes: tuple[int, ...]
    seconds: tuple[float, ...]

    def __call__(self, count: float) -> float:
        """Return the seconds of so many."""
        after = min(max(bisect.bisect_left(self.sizes, count), 1), len(self.sizes) - 1)
        (few, many), (less, more) = self.sizes[after - 1 : after + 1], self.seconds[after - 1 : after + 1]
        return max(0.0, less + (more - less) * (count - few) / (many - few))


@dataclass(frozen=True)
class Codec:
    """What it takes to encode and to decode a vector.

    Parameters
    ----------
    name : str
        Of the compressor.
    coding : str
        Of its levels; empty for floating-point formats.
    sigma : float
        Levels over the root of the dimension, 0 where there is no choice of levels: what QSGD's seconds depend on
        beside the dimension.
    encode, decode : Curve
        Seconds by coordinates.
    """

    name: str
    coding: str
    sigma: float
    encode: Curve
    decode: Curve


@dataclass(frozen=True)
class Costs:
    """Seconds of the parts of an iteration on one machine.

    Parameters
    ----------
    batch, row : Curve
        A mini-batch whatever its rows, and each of its rows, by coordinates.
    update : Curve
        One update of the weights, and their error, by coordinates.
    message : float
        Half a round trip of an empty frame over loopback.
    byte : float
        What each byte adds to that.
    codecs : tuple of Codec
    machine : dict
        Where and by what they were measured.
    """

    batch: Curve
    row: Curve
    update: Curve
    message: float
    byte: float
    codecs: tuple[Codec, ...]
    machine: Mapping[str, str]

    def codec(self, compressor: Compressor, size: int) -> Codec:
        """Return the costs of the compressor, those measured at the nearest levels for its size.

        Raises
        ------
        DataError
            If there are none.
        """
        name, coding, sigma = compressor.name, compressor.coding_name(size), compressor.resolution(size)
        measured = [codec for codec in self.codecs if (codec.name, codec.coding) == (name, coding)]
        if not measured:
            remedy = "measure again: relufit plan --measure"
            raise DataError(f"no costs of {name} {coding}".strip(), where="costs", remedy=remedy)
        return min(measured, key=lambda codec: abs(math.log((codec.sigma or 1) / (sigma or 1))))

    def curves(self) -> list[tuple[str, Curve]]:
        """Return the name of each part that depends on the number of coordinates, and its seconds."""
        coded = [
            (f"{part} {codec.name} {codec.coding} {codec.sigma:g}", getattr(codec, part))
            for codec in self.codecs
            for part in ("encode", "decode")
        ]
        return [("batch", self.batch), ("row", self.row), ("update", self.update), *coded]

    def as_json(self) -> dict[str, Any]:
        """Return JSON-ready values that `of` reads."""
        return {"relufit costs": _VERSION, **asdict(self)}

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Costs:
        """Return the costs that `as_json` has given.

        Raises
        ------
        ValueError, TypeError, KeyError
            If they are damaged or of another version.
        """
        if content["relufit costs"] != _VERSION:
            raise ValueError("another version")
        codecs = tuple(
            Codec(
                str(codec["name"]),
                str(codec["coding"]),
                _number(codec["sigma"]),
                _curve(codec["encode"]),
                _curve(codec["decode"]),
            )
            for codec in content["codecs"]
        )
        return cls(
            _curve(content["batch"]),
            _curve(content["row"]),
            _curve(content["update"]),
            _number(content["message"]),
            _number(content["byte"]),
            codecs,
            {str(key): str(value) for key, value in content["machine"].items()},
        )

    def write(self, path: Path) -> None:
        """Write a file that `read` reads."""
        write_text(path, json.dumps(self.as_json(), indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> Costs:
        """Return the costs in a file.

        Raises
        ------
        DataError
            If there is none, or it is damaged or of another version.
        """
        again = "measure them: relufit plan --measure"
        try:
            return cls.of(json.loads(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise DataError(f"no costs ({error.strerror})", where=str(path), remedy=again) from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(f"no costs of this version ({error!r})", where=str(path), remedy=again) from error


def combined(measurements: Sequence[Costs], average: Callable[[list[float]], float]) -> Costs:
    """Return each cost's mean, median or other `average` over costs that were measured in the same way."""
    first = measurements[0]

    def curve(curves: Sequence[Curve]) -> Curve:
        seconds = zip(*(each.seconds for each in curves), strict=True)
        return Curve(curves[0].sizes, tuple(average(list(same)) for same in seconds))

    def codec(codecs: Sequence[Codec]) -> Codec:
        return replace(codecs[0], encode=curve([c.encode for c in codecs]), decode=curve([c.decode for c in codecs]))

    return Costs(
        batch=curve([measurement.batch for measurement in measurements]),
        row=curve([measurement.row for measurement in measurements]),
        update=curve([measurement.update for measurement in measurements]),
        message=average([measurement.message for measurement in measurements]),
        byte=average([measurement.byte for measurement in measurements]),
        codecs=tuple(codec(each) for each in zip(*(measurement.codecs for measurement in measurements), strict=True)),
        machine=first.machine,
    )


def kind(compressor: Compressor) -> str:
    """Return the name of a compressor, with the parameters that are not its defaults, but for levels and coding.

    For example ``qsgd``, ``qsgd-norm=max`` or ``random_fraction-fraction=0.5``.
    """
    defaults = _defaults(type(compressor))
    changed = (
        f"{name}={value}"
        for name, value in compressor.parameters.items()
        if name not in ("levels", "coding") and value != defaults[name]
    )
    return "-".join([compressor.name, *changed])


@cache
def _defaults(kind_of_compressor: type[Compressor]) -> dict[str, Any]:
    return {name: parameter.default for name, parameter in signature(kind_of_compressor).parameters.items()}


def label(compressor: Compressor) -> str:
    """Return a compressor in a word: ``fp32``, ``qsgd-s16-rans``, ``natural-rans``; `named` reads it."""
    parameters = compressor.parameters
    levels = f"s{parameters['levels']}" if "levels" in parameters else ""
    return "-".join(part for part in (kind(compressor), levels, parameters.get("coding", "")) if part)


def named(text: str) -> Compressor:
    """Return the compressor that a label names.

    Raises
    ------
    ConfigError
        If it names none.
    """
    name, *rest = _PARTS.split(text)
    parameters: dict[str, Any] = {}
    for part in rest:
        key, equals, value = part.partition("=")
        if equals:
            parameters[key] = _value(value)
        elif part[:1] == "s" and part[1:].isdigit():
            parameters["levels"] = int(part[1:])
        elif "coding" not in parameters and part:
            parameters["coding"] = part
        else:
            raise ConfigError(f"{text!r}", where="compressor", remedy="write it as fp32, natural-rans or qsgd-s16-rans")
    return make_compressor(name, **parameters)


def payload_bytes(compressor: Compressor, size: int) -> float:
    """Return the expected bytes of a payload of a vector of that size."""
    return payload_bits(compressor, size) / 8


def vector_bytes(compressor: Compressor, exchange: Exchange, dimension: int, workers: int) -> float:
    """Return the expected bytes of an encoded vector in an exchange of K ranks, of all parts that it is cut into."""
    return exchange.vector_length(partial(payload_bytes, compressor), dimension, workers)


def _value(text: str) -> Any:  # noqa: ANN401 - a parameter of any type
    """Return a parameter that `kind` has written."""
    try:
        return literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _number(value: Any) -> float:  # noqa: ANN401 - this is the check of its type
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise ValueError(f"{value!r} seconds")
    return float(value)


def _curve(value: Mapping[str, Any]) -> Curve:
    sizes, seconds = tuple(map(int, value["sizes"])), tuple(map(_number, value["seconds"]))
    if len(sizes) != len(seconds) or len(sizes) < 2 or list(sizes) != sorted(set(sizes)):
        raise ValueError(f"seconds of {list(sizes)} coordinates")
    return Curve(sizes, seconds)
