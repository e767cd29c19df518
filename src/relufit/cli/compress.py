"""``relufit compress``: look at a compressor by hand."""

from __future__ import annotations

import argparse
import math
import os
import platform
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import TYPE_CHECKING, Any

import numpy as np

from relufit.cli.compressors import add_compressor, compressor_of
from relufit.cli.options import subcommand
from relufit.errors import ConfigError, DataError, PayloadError
from relufit.files.outputs import check_outputs
from relufit.files.paths import absolute

if TYPE_CHECKING:
    from relufit.cli.payloads import Measured
    from relufit.compression import Compressor


def add(parts: Any) -> None:  # noqa: ANN401
    """Add the subcommand."""
    part = subcommand(
        parts,
        "compress",
        "look at a compressor by hand",
        "Encode a vector and print what comes of it: the bytes and what they consist of, the entropy of the levels, "
        "omega = E ||Q(v) - v||^2 / ||v||^2 as measured, as predicted and its published bound, and the speed on this "
        "machine. Or decode a payload that --output wrote.",
    )
    source = part.add_mutually_exclusive_group(required=True)
    source.add_argument("vector", nargs="?", type=absolute, help=".npy file of a vector, (d,) float32 or float64")
    source.add_argument("--gaussian", type=int, metavar="D", help="draw a standard normal vector of D coordinates")
    source.add_argument("--decode", type=absolute, metavar="PAYLOAD", help="decode this file to the vector --output")
    part.add_argument("--seed", type=int, default=0, help="seed of the vector of --gaussian")
    add_compressor(part)
    part.add_argument("--key", type=int, default=0, metavar="SEED", help="seed of the roundings")
    part.add_argument("--trials", type=int, default=20, help="how often to encode, each time with other roundings")
    part.add_argument("--compare", action="store_true", help="a line for each coding, and for auto")
    part.add_argument("--size", type=int, metavar="D", help="with --decode: the number of coordinates")
    part.add_argument(
        "--output", "-o", type=absolute, help="file for the payload; with --decode for the vector, .npy in float64"
    )
    part.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Run the subcommand."""
    _check(chosen)
    check_outputs({"--output": chosen.output}, {"the vector": chosen.vector, "--decode": chosen.decode})
    with _enough_memory():
        if chosen.decode:
            _decode(chosen)
        elif chosen.compare:
            _compare(chosen)
        else:
            _encode(chosen)


def _check(chosen: argparse.Namespace) -> None:
    """Refuse options that contradict each other, and sizes that no vector has."""
    if chosen.decode and chosen.compare:
        raise ConfigError("there is nothing to compare in a payload", where="--compare", remedy="give a vector")
    if chosen.decode and (chosen.size is None or not chosen.output):
        raise ConfigError("needs --size and --output", where="--decode", remedy="give both")
    if chosen.size is not None and not chosen.decode:
        raise ConfigError("a vector has its own size", where="--size", remedy="leave it out, or give --decode")
    if chosen.compare and (chosen.coding or chosen.output):
        extra = "--coding" if chosen.coding else "--output"
        raise ConfigError("--compare goes through all codings", where=extra, remedy="leave one of the two out")
    for option in ("gaussian", "size"):
        size = getattr(chosen, option)
        if size is not None and not 0 < size < 2**32:
            raise ConfigError(f"{size} coordinates", where=f"--{option}", remedy="give 1 to 2^32 - 1")
    if chosen.trials < 1:
        raise ConfigError(f"{chosen.trials} trials", where="--trials", remedy="give at least 1")


@contextmanager
def _enough_memory() -> Iterator[None]:
    try:
        yield
    except MemoryError as error:
        raise ConfigError("the vector does not fit into memory", remedy="take a part of it") from error


def _encode(chosen: argparse.Namespace) -> None:
    from relufit.files.atomic import replacing

    compressor, vector = compressor_of(chosen), _vector(chosen)
    measured = _measure(chosen, compressor, vector)
    if chosen.output:
        with replacing(chosen.output) as path:
            path.write_bytes(measured.payload)
    _print_aligned(_rows(chosen, compressor, vector.size, measured), "<<")


def _decode(chosen: argparse.Namespace) -> None:
    from relufit.files.atomic import replacing

    compressor = compressor_of(chosen)
    try:
        vector = compressor.decode(chosen.decode.read_bytes(), chosen.size)
    except PayloadError as error:
        remedy = "give the size, the compressor and the parameters that it was written with"
        raise PayloadError(error.what, where=str(chosen.decode), remedy=remedy) from error
    with replacing(chosen.output) as path, path.open("wb") as file:
        np.save(file, vector)
    print(f"{vector.size} coordinates from {vector.min():.6g} to {vector.max():.6g}")


def _compare(chosen: argparse.Namespace) -> None:
    from relufit.compression.choice import AUTO
    from relufit.compression.coding import CODINGS

    vector = _vector(chosen)
    lines = [("coding", "bytes", "body", "bits", "expected", "above entropy", "to fp32", "encode", "decode")]
    for name in (*CODINGS, AUTO):
        compressor = compressor_of(chosen, coding=name)
        measured = _measure(chosen, compressor, vector)
        length, made = len(measured.payload), measured.parts
        lines.append(
            (
                f"{name} ({made.coding})" if made and name != made.coding else name,
                str(length),
                str(length - made.start) if made else "-",
                f"{8 * length / vector.size:.4f}",
                _expected(compressor, vector.size),
                _above(measured),
                f"{4 * vector.size / length:.2f}",
                f"{measured.encode:.1f}",
                f"{measured.decode:.1f}",
            )
        )
    about = _rows(chosen, compressor, vector.size, measured)
    kept = ("compressor", "coordinates", "entropy of levels", "omega, measured", "omega, predicted", "omega, at most")
    _print_aligned([row for row in about if row[0] in kept], "<<")
    print()
    _print_aligned(lines, "<" + ">" * 8)
    print(f"\nbits: a coordinate; encode, decode: million coordinates a second {_where(chosen)}")


def _vector(chosen: argparse.Namespace) -> np.ndarray:
    """Return the vector, of memory or mapped."""
    from relufit import streams

    path = chosen.vector
    if path is None:
        size: int = chosen.gaussian
        return streams.generator(streams.key(chosen.seed, purpose="vector")).standard_normal(size)
    try:
        # Copied on writing: the compiled loops take a read-only array for another type.
        vector = np.lib.format.open_memmap(path, mode="c")
    except (ValueError, OverflowError, SyntaxError, TokenError) as error:
        raise _unfit(path, "is no .npy file of numbers") from error
    if vector.ndim != 1 or not 0 < vector.size < 2**32:
        raise _unfit(path, f"holds an array of shape {vector.shape}, which is no vector of 1 to 2^32 - 1 numbers")
    if vector.dtype not in (np.float32, np.float64):
        raise _unfit(path, f"holds {vector.dtype.str}, which is neither float32 nor float64 of this machine")
    return vector


def _unfit(path: Path, what: str) -> DataError:
    return DataError(what, where=str(path), remedy="write it by numpy.save(path, vector.astype(numpy.float64))")


def _measure(chosen: argparse.Namespace, compressor: Compressor, vector: np.ndarray) -> Measured:
    from relufit.cli.payloads import measure

    try:
        return measure(compressor, vector, chosen.key, chosen.trials)
    except PayloadError as error:
        remedy = error.remedy or "give a vector that it can send, or another compressor"
        raise PayloadError(error.what, where=str(chosen.vector or "--gaussian"), remedy=remedy) from error


def _rows(chosen: argparse.Namespace, compressor: Compressor, size: int, measured: Measured) -> list[tuple[str, str]]:
    """Return what is to be said of the trials, as names and values."""
    length, made = len(measured.payload), measured.parts
    rows = [("compressor", _parameters(compressor)), ("coordinates", str(size))]
    rows.append(("payload", f"{length} bytes"))
    if made:
        rows.append(("header, norms", f"{made.start} bytes"))
        rows.append(("body", f"{length - made.start} bytes in the coding {made.coding}"))
    rows.append(("bits a coordinate", f"{8 * length / size:.4f}"))
    if compressor.expected_bits(size) is not None:
        rows.append(("bits expected", _expected(compressor, size)))
    rows.append(("ratio to float32", f"{4 * size / length:.2f}"))
    if made:
        rows.append(("entropy of levels", f"{made.entropy:.4f} bits a coordinate"))
        rows.append(("body above entropy", _above(measured)))
    rows.append(("omega, measured", _mean(measured.errors)))
    rows.append(("omega, predicted", _number(compressor.variance(size))))
    rows.append(("omega, at most", _number(compressor.variance_bound(size))))
    for name, speed in (("encode", measured.encode), ("decode", measured.decode)):
        rows.append((name, f"{speed:.1f} million coordinates a second {_where(chosen)}"))
    return rows


def _parameters(compressor: Compressor) -> str:
    return " ".join([compressor.name, *(f"{name}={value}" for name, value in compressor.parameters.items())])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}" if value else "0, nothing is drawn"


def _mean(errors: np.ndarray) -> str:
    """Return the mean, and its standard error where there are two errors at least."""
    if math.isnan(errors[0]):
        return "-"
    trials = errors.size
    spread = f" +- {errors.std(ddof=1) / math.sqrt(trials):.2g}" if trials > 1 else ""
    return f"{errors.mean():.6g}{spread} in {trials} trials"


def _expected(compressor: Compressor, size: int) -> str:
    expected = compressor.expected_bits(size)
    return "-" if expected is None else f"{expected / size:.4f}"


def _above(measured: Measured) -> str:
    """Return by how many percent the body is longer than the entropy of its levels."""
    made = measured.parts
    if not made or not made.entropy:
        return "-"
    return f"{100 * (8 * (len(measured.payload) - made.start) / (made.entropy * made.size) - 1):.2f} %"


def _where(chosen: argparse.Namespace) -> str:
    return f"on this machine ({platform.machine()}, {os.cpu_count()} cores), median of {chosen.trials}"


def _print_aligned(lines: Iterable[Sequence[str]], aligned: str) -> None:
    """Print lines in columns, each to the left (<) or to the right (>)."""
    lines = list(lines)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (f"{cell:{to}{width}}" for cell, to, width in zip(line, aligned, widths, strict=True))
        print("  ".join(cells).rstrip())
