"""What a machine takes for each part of an iteration, as measured once and kept in a file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from relufit.compression import Compressor
from relufit.compression.base import HEADER_BYTES
from relufit.compression.choice import AUTO, shortest
from relufit.compression.natural import Natural
from relufit.compression.qsgd import QSGD, Ternary
from relufit.errors import ConfigError, DataError
from relufit.files import write_text

_VERSION = 1


@dataclass(frozen=True)
class Line:
    """Seconds that are linear in the number of coordinates.

    Parameters
    ----------
    start, each : float
        Seconds whatever the number is, and for each.
    """

    start: float
    each: float

    def __call__(self, count: float) -> float:
        """Return the seconds of so many."""
        return self.start + self.each * count


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
    encode, decode : Line
        Seconds by coordinates.
    """

    name: str
    coding: str
    sigma: float
    encode: Line
    decode: Line


@dataclass(frozen=True)
class Costs:
    """Seconds of the parts of an iteration on one machine.

    Parameters
    ----------
    batch, row : Line
        A mini-batch whatever its rows, and each of its rows, by coordinates.
    update : Line
        One update of the weights, and their error, by coordinates.
    message : float
        Half a round trip of an empty frame over loopback.
    byte : float
        What each byte adds to that.
    codecs : tuple of Codec
    machine : dict
        Where and by what they were measured.
    """

    batch: Line
    row: Line
    update: Line
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

    def write(self, path: Path) -> None:
        """Write a file that `read` reads."""
        write_text(path, json.dumps({"relufit costs": _VERSION, **asdict(self)}, indent=1) + "\n")

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
            content = json.loads(path.read_text(encoding="utf-8"))
            if content.pop("relufit costs") != _VERSION:
                raise ValueError("another version")
            codecs = tuple(
                Codec(
                    str(codec["name"]),
                    str(codec["coding"]),
                    _number(codec["sigma"]),
                    _line(codec["encode"]),
                    _line(codec["decode"]),
                )
                for codec in content["codecs"]
            )
            return cls(
                _line(content["batch"]),
                _line(content["row"]),
                _line(content["update"]),
                _number(content["message"]),
                _number(content["byte"]),
                codecs,
                {str(key): str(value) for key, value in content["machine"].items()},
            )
        except OSError as error:
            raise DataError(f"no costs ({error.strerror})", where=str(path), remedy=again) from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(f"no costs of this version ({error!r})", where=str(path), remedy=again) from error


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


def _line(value: Mapping[str, Any]) -> Line:
    return Line(*(_number(value[field.name]) for field in fields(Line)))
