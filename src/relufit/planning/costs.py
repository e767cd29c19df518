"""What a machine takes for each part of an iteration, as measured once and kept in a file."""

from __future__ import annotations

import bisect
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import Any

from relufit.compression import Compressor
from relufit.compression.base import HEADER_BYTES
from relufit.compression.choice import AUTO, shortest
from relufit.compression.natural import Natural
from relufit.compression.qsgd import QSGD, Ternary
from relufit.errors import ConfigError, DataError
from relufit.files import write_text

_VERSION = 2


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
        place = min(max(bisect.bisect_left(self.sizes, count), 1), len(self.sizes) - 1)
        (few, many), (less, more) = self.sizes[place - 1 : place + 1], self.seconds[place - 1 : place + 1]
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
        name, coding, sigma = described(compressor, size)
        found = [codec for codec in self.codecs if (codec.name, codec.coding) == (name, coding)]
        if not found:
            raise DataError(f"no costs of {name} {coding}".strip(), where="costs", remedy="measure again")
        return min(found, key=lambda codec: abs(math.log((codec.sigma or 1) / (sigma or 1))))

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


def mean(found: Sequence[Costs]) -> Costs:
    """Return the means of costs that were measured in the same way."""
    first = found[0]

    def curve(curves: Sequence[Curve]) -> Curve:
        return Curve(curves[0].sizes, tuple(map(fmean, zip(*(its.seconds for its in curves), strict=True))))

    def codec(codecs: Sequence[Codec]) -> Codec:
        return replace(
            codecs[0], encode=curve([its.encode for its in codecs]), decode=curve([its.decode for its in codecs])
        )

    return Costs(
        batch=curve([its.batch for its in found]),
        row=curve([its.row for its in found]),
        update=curve([its.update for its in found]),
        message=fmean(its.message for its in found),
        byte=fmean(its.byte for its in found),
        codecs=tuple(codec(each) for each in zip(*(its.codecs for its in found), strict=True)),
        machine=first.machine,
    )


def described(compressor: Compressor, size: int) -> tuple[str, str, float]:
    """Return the name of a compressor, its coding, and its levels over the root of the size."""
    from relufit.compression import COMPRESSORS

    name = next(name for name, kind in COMPRESSORS.items() if kind is type(compressor))
    coding = getattr(compressor, "coding", "")
    if coding == AUTO:
        coding = shortest(compressor._laws(size), compressor.levels) if isinstance(compressor, QSGD) else "rans"
    has_levels = isinstance(compressor, QSGD) and not isinstance(compressor, Ternary)
    return name, coding, compressor.levels / math.sqrt(size) if has_levels else 0.0  # type: ignore[attr-defined]


def label(compressor: Compressor) -> str:
    """Return a compressor in a word: ``fp32``, ``qsgd-s16-rans``, ``natural-rans``; `named` reads it."""
    name, coding, _ = described(compressor, 1)
    levels = f"s{compressor.levels}" if isinstance(compressor, QSGD) and name == "qsgd" else ""
    return "-".join(part for part in (name, levels, getattr(compressor, "coding", "") or coding) if part)


def named(text: str) -> Compressor:
    """Return the compressor that a label names.

    Raises
    ------
    ConfigError
        If it names none.
    """
    from relufit.compression import make_compressor

    name, *rest = text.split("-")
    parameters: dict[str, Any] = {}
    for part in rest:
        if part[:1] == "s" and part[1:].isdigit():
            parameters["levels"] = int(part[1:])
        elif "coding" not in parameters and part:
            parameters["coding"] = part
        else:
            raise ConfigError(f"{text!r}", where="compressor", remedy="write it as fp32, natural-rans or qsgd-s16-rans")
    return make_compressor(name, **parameters)


def payload_bytes(compressor: Compressor, size: int) -> float:
    """Return the expected bytes of a payload of a vector of that size."""
    its: Any = compressor
    return _known(its, size)[0]


def variance(compressor: Compressor, size: int) -> float:
    """Return the compressor's omega; 0 where nothing is drawn."""
    its: Any = compressor
    return _known(its, size)[1]


@lru_cache(maxsize=10_000)
def _known(compressor: Any, size: int) -> tuple[float, float]:  # noqa: ANN401 - a compressor, hashable
    if isinstance(compressor, (QSGD, Natural)):
        length = compressor.expected_bits(size) / 8
    else:
        # A floating-point format: a header, and the numbers.
        length = float(HEADER_BYTES + compressor.dtype.itemsize * size)
    return length, float(compressor.variance(size) or 0.0)


def _number(value: Any) -> float:  # noqa: ANN401 - this is the check of its type
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise ValueError(f"{value!r} seconds")
    return float(value)


def _curve(value: Mapping[str, Any]) -> Curve:
    sizes, seconds = tuple(map(int, value["sizes"])), tuple(map(_number, value["seconds"]))
    if len(sizes) != len(seconds) or len(sizes) < 2 or list(sizes) != sorted(set(sizes)):
        raise ValueError(f"seconds of {list(sizes)} coordinates")
    return Curve(sizes, seconds)
