"""The page on where compression pays: the map of the best ways as tables, with what was timed beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from relufit.errors import DataError
from relufit.figures import style
from relufit.report.page import templates

#: The tables that the page is made from.
TABLES = ("link_speed.timing-map", "link_speed.timing-gains")
_EXPERIMENT = "link_speed"
#: A way that was timed is compared with what is planned where the network has at least this part of its seconds.
_DOMINATES = 2 / 3


class Panel(NamedTuple):
    """The map for a dimension: its rates, and a row for each number of ranks, whose first item is that number."""

    dimension: str
    rates: list[str]
    rows: list[list[str]]


def render(folder: Path, config: Mapping[str, Any]) -> str:
    """Return the page as Markdown, from a run's folder and its configuration.

    Raises
    ------
    DataError
        If a table is missing, or the run has none of the experiment.
    """
    if _EXPERIMENT not in config["experiments"]:
        raise DataError(
            f"the run has no {_EXPERIMENT}", where=str(folder), remedy="take a run whose `experiments` have it"
        )
    ways, gains = (style.read(folder / "tables" / f"{name}.csv") for name in TABLES)
    section = config[_EXPERIMENT]
    given = ways["rank_batch"].notna()
    trials = sorted({cell.get("trials", section["trials"]) for cell in section["cells"]})
    timed = [_timed(row) for row in gains.to_dict("records") if row["rank_batch"] == section["rank_batch"]]
    return (
        templates(autoescape=False)
        .get_template("does-compression-pay.md.j2")
        .render(
            given=_panels(ways[given]),
            best=_panels(ways[~given]),
            timed=timed,
            samples=section["rank_batch"],
            round_trip=1e3 * section["round_trip"],
            trials=" to ".join(str(count) for count in dict.fromkeys((trials[0], trials[-1]))),
        )
    )


def _panels(ways: pd.DataFrame) -> list[Panel]:
    panels = []
    for dimension, rows in ways.groupby("dimension"):
        cells = rows.set_index(["workers", "rate"])
        rates = sorted(rows["rate"].unique())
        lines = [
            [str(count), *(_cell(cells.loc[(count, rate)]) for rate in rates)]
            for count in sorted(rows["workers"].unique())
        ]
        panels.append(Panel(f"{dimension:,}".replace(",", " "), [_rate(rate) for rate in rates], lines))
    return panels


def _cell(way: pd.Series) -> str:
    name = style.way(way["compressor"], way["coding"])
    words = f"**{_number(way['gain'])}** {name}, {style.EXCHANGES[way['exchange']]}"
    return words if math.isnan(way["timed_gain"]) else f"{words}; timed: {_number(way['timed_gain'])}"


def _timed(row: Mapping[Any, Any]) -> list[str]:
    judged = row["network"] >= _DOMINATES
    return [
        f"{row['dimension']:,}".replace(",", " "),
        str(row["workers"]),
        _rate(row["rate"]),
        style.name(row["run"]),
        f"{_number(row['gain'])} ({_number(row['low'])} to {_number(row['high'])})",
        _number(row["planned"]),
        f"{row['gain'] / row['planned'] - 1:+.0%}" if judged else "",
    ]


def _rate(bits: float) -> str:
    short = style.rate(bits)
    return f"{short[:-1]} {short[-1]}bit/s"


def _number(ratio: float) -> str:
    if ratio < 0.0995:
        return f"{ratio:.2g}"
    return f"{ratio:.0f}" if ratio >= 9.95 else f"{ratio:.1f}" if ratio >= 1.95 else f"{ratio:.2f}"
