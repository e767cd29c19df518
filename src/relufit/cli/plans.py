"""How plans are shown: the one that is recommended, the best of each kind, and what speaks against them."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from relufit import theory
from relufit.exchange import EXCHANGES, Links
from relufit.planning import Comparator, Host, Problem, best
from relufit.planning.predictions import Prediction, describe_row

if TYPE_CHECKING:
    import pandas as pd

_HEADS = (
    "K",
    "exchange",
    "compressor",
    "m",
    "iterations",
    "ms each",
    "at least",
    "time",
    "sent",
    "USD",
    "gain",
    "memory",
)
_NUMBERS = (0, 3, 4, 5, 6, 7, 8, 9, 10, 11)
#: So many ranks are connected to every other in no test.
_MANY = 256


def show(
    problem: Problem,
    host: Host,
    table: pd.DataFrame,
    goal: str,
    compared: tuple[Comparator, Prediction],
    *,
    rank_batch: int | None = None,
) -> None:
    """Print a table of the best plans, one of SGD in fp32, and the first plan in words.

    Parameters
    ----------
    problem, host, table, goal
        As `relufit.planning.plan` takes and returns them.
    compared : tuple of Comparator and Prediction
        What gains are stated against, and what it takes on as many ranks as the first plan has.
    rank_batch : int, optional
        Samples of a rank in all plans, where they were given.
    """
    kinds = table.drop_duplicates(["workers", "exchange"])
    plain = table[table["compressor"] == "fp32"]
    at = "at its own best mini-batch" if rank_batch is None else f"with {rank_batch} samples a rank too"
    print(f"Gains in {goal} are stated against {compared[0].words}, on as many ranks, {at}.\n")
    _print([_HEADS, *(_cells(row, host) for _, row in kinds.sort_values(["workers", goal]).iterrows())])
    best_one = ", at its best mini-batch" if rank_batch is None else ""
    print(f"\nSGD in single precision in each exchange{best_one}:")
    _print([_HEADS, *(_cells(row, host) for _, row in plain.sort_values(["workers", goal]).iterrows())])
    print()
    for line in _words(problem, host, table, goal, compared):
        print(line)


def _words(
    problem: Problem, host: Host, table: pd.DataFrame, goal: str, compared: tuple[Comparator, Prediction]
) -> list[str]:
    first = best(table)
    if not math.isfinite(first["seconds"]):
        return [f"No plan reaches a relative error of {problem.tolerance:g}: give more rows a dimension."]
    lines = [
        f"Recommended, for few {goal}: {describe_row(first)}, {first['exchange']}, K = {first['workers']}, "
        f"m = {first['mini_batch']}; {_time(first['seconds'])}.",
        _gains(table, first, goal, compared),
        f"An iteration: compute {_share(first, 'compute')}, encode {_share(first, 'encode')}, "
        f"decode {_share(first, 'decode')}, link {_share(first, 'link')}, latency and messages "
        f"{(first['latency'] + first['messages']) / first['iteration']:.0%}.",
    ]
    rows = theory.row_shipping_bits(problem.rows, problem.dimension) / 8
    lines.append(
        f"Sending the active rows to one host once instead: {_bytes(rows)}, "
        f"{_time(8 * rows / host.network.rate)} at the rate of its link, and least squares there."
    )
    if host.memory is not None and not first["fits"]:
        lines.append(f"It does not fit: a member needs {_bytes(first['vectors'])} of {_bytes(host.memory)}.")
    elif host.memory is not None and not first["shard_fits"]:
        need = math.ceil(4.0 * problem.rows * problem.dimension / max(1.0, host.memory - first["vectors"]))
        lines.append(
            f"A rank's rows, {_bytes(first['shard'])}, do not fit into {_bytes(host.memory)}: they come from disk, "
            f"whose time is not counted, or from about {need} hosts on they fit."
        )
    if EXCHANGES[first["exchange"]].links is Links.MESH and first["workers"] > _MANY:
        lines.append(f"Every rank holds {first['workers'] - 1} connections: more than has been tried.")
    lines.append("Not counted: starting hosts, loading data, TLS, acknowledgements, losses.")
    return lines


def _gains(table: pd.DataFrame, first: pd.Series, goal: str, compared: tuple[Comparator, Prediction]) -> str:
    """Return the gains of the first plan against the comparator, and against fp32 in its own exchange."""
    comparator, prediction = compared
    plain = best(table, compressor="fp32", workers=first["workers"], exchange=first["exchange"])
    own = plain[goal] / first[goal] if first[goal] else math.nan
    return (
        f"Gain in {goal}: {_number(first['gain'])} against {comparator.words} (m = {prediction.mini_batch}, "
        f"{_time(prediction.seconds)}), {_number(own)} against fp32 in the same exchange (m = {plain['mini_batch']}, "
        f"{_time(plain['seconds'])})."
    )


def _cells(row: pd.Series, host: Host) -> tuple[str, ...]:
    fit = "fits" if row["shard_fits"] else "rows on disk" if row["fits"] else "too small"
    return (
        str(row["workers"]),
        row["exchange"],
        describe_row(row),
        str(row["mini_batch"]),
        f"{row['iterations']:.0f}",
        f"{1e3 * row['iteration']:.4g}",
        f"{1e3 * row['at_least']:.4g}",
        _time(row["seconds"]),
        _bytes(row["bytes"]),
        _number(row["dollars"], 4),
        _number(row["gain"]),
        "-" if host.memory is None else fit,
    )


def _number(value: float, digits: int = 3) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}g}"


def _share(row: pd.Series, part: str) -> str:
    return f"{row[part] / row['iteration']:.0%}"


def _time(seconds: float) -> str:
    for unit, size in (("y", 31_557_600.0), ("d", 86_400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{1e3 * seconds:.3g} ms"


def _bytes(count: float) -> str:
    for unit, size in (("EB", 1e18), ("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.3g} B"


def _print(lines: Sequence[Sequence[str]]) -> None:
    if not sys.stdout.isatty():
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        for line in lines:
            cells = (
                f"{cell:>{width}}" if at in _NUMBERS else f"{cell:<{width}}"
                for at, (cell, width) in enumerate(zip(line, widths, strict=True))
            )
            print("  ".join(cells).rstrip())
        return
    from rich.console import Console
    from rich.table import Table

    shown = Table()
    for at, head in enumerate(lines[0]):
        shown.add_column(head, justify="right" if at in _NUMBERS else "left")
    for line in lines[1:]:
        shown.add_row(*line)
    Console().print(shown)
