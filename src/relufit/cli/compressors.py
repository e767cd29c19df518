"""Options that choose a compressor and its parameters, for the subcommands that take one."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from relufit.errors import ConfigError

if TYPE_CHECKING:
    from relufit.compression import Compressor

#: Parameters with an option of their own.
_OPTIONS = ("levels", "coding", "bucket_size", "norm")


def add_compressor(part: argparse.ArgumentParser, default: str | None = None) -> None:
    """Add ``--compressor``, required unless it has a default, and the options of its parameters."""
    names = (
        "fp64, fp32, fp16, qsgd, ternary, natural, eden, scaled_qsgd, sign, one_bit, majority, top_k, top_k_sign, "
        "rand_k, gradiveq, or the name of one that another installed package declares"
    )
    part.add_argument("--compressor", default=default, required=default is None, metavar="NAME", help=names)
    part.add_argument("--levels", type=int, help="quantization levels of qsgd, from 1 to 32767")
    part.add_argument("--coding", help="how levels become bytes: packed, elias, rans, or auto, the shortest expected")
    part.add_argument("--bucket-size", type=int, help="coordinates of qsgd that share a norm; all of them if not given")
    part.add_argument("--norm", help="norm of qsgd: l2, or max, the largest magnitude; l2 if not given")
    part.add_argument(
        "--parameter",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any parameter of the compressor, its value in YAML; may be given several times",
    )


def description_of(chosen: argparse.Namespace, **other: str) -> dict[str, Any]:
    """Return the name and the parameters that were chosen, with `other` parameters in place of those.

    Raises
    ------
    ConfigError
        If a ``--parameter`` is not of the form ``NAME=VALUE``, or a parameter is given twice.
    """
    given = {name: getattr(chosen, name) for name in _OPTIONS}
    parameters = {name: value for name, value in given.items() if value is not None} | other
    for text in chosen.parameter:
        name, value = _parsed(text)
        if name in parameters:
            raise ConfigError(f"{name!r} is given twice", where="--parameter", remedy="leave one out")
        parameters[name] = value
    return {"name": chosen.compressor, **parameters}


def compressor_of(chosen: argparse.Namespace, **other: str) -> Compressor:
    """Return the compressor that was chosen, with `other` parameters in place of those.

    Raises
    ------
    ConfigError
        If there is no such compressor, or a parameter is unknown, missing or impossible.
    """
    from relufit.compression import make_compressor

    return make_compressor(**description_of(chosen, **other))


def _parsed(text: str) -> tuple[str, Any]:
    from relufit.pipeline.config_values import parse_mapping

    name, equals, value = text.partition("=")
    if not (equals and name.isidentifier() and name != "name"):
        raise ConfigError(f"{text!r} is no parameter", where="--parameter", remedy="write NAME=VALUE")
    return name, parse_mapping(f"{name}: {value}", where="--parameter", remedy="write NAME=VALUE")[name]
