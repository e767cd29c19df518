"""The variance of quantizers against the number of levels: measured, predicted, and bounded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from relufit.figures import ratios, style

_BUCKETS, _TERNARY, _NATURAL = "#D55E00", "#CC79A7", "#0072B2"
_PUBLISHED: dict[str, Any] = {"linewidth": 1.0, "linestyle": "-"}
_DERIVED: dict[str, Any] = {"linewidth": 1.2, "linestyle": ":"}
#: In the strips, marks at one number of levels stand side by side on a shaded ground, each this many times further
#: right than the one before it.
_APART = 1.16


def draw(tables: list[pd.DataFrame]) -> Figure:
    """Draw the figure from the tables of cells and of predictions."""
    cells, predictions = tables
    figure, panels = style.canvas(
        2, 3, figsize=(7.0, 4.6), sharex="col", sharey="row", height_ratios=[3, 1], width_ratios=[1, 1, 0.55]
    )
    (l2, largest, natural), strips = panels
    _against_levels(l2, strips[0], _kind(cells, "l2"), _kind(predictions, "l2"), _PUBLISHED)
    _buckets(l2, strips[0], _kind(cells, "buckets"), _kind(predictions, "buckets"))
    _against_levels(largest, strips[1], _kind(cells, "max"), _kind(predictions, "max"), _DERIVED)
    _ternary(largest, strips[1], _kind(cells, "ternary"))
    for axes in strips[:2]:
        _ground(axes, cells["levels"].dropna().unique())
    _natural(natural, strips[2], _kind(cells, "natural"))
    l2.set(title=r"QSGD, $\ell_2$ norm", ylabel=r"variance $\omega$", yscale="log")
    largest.set(title="QSGD, max norm")
    strips[0].set_ylabel("measured /\npredicted")
    for axes in strips:
        ratios.label(axes, ratios.reach(cells))
    bounds = [Line2D([], [], color="0.4", **look) for look in (_PUBLISHED, _DERIVED)]
    words = ["predicted, nothing fitted", "published bound, any vector", "bound, derived here"]
    figure.legend([style.prediction_line(), *bounds], words, loc="outside lower center", ncols=3)
    return figure


def _kind(table: pd.DataFrame, kind: str) -> pd.DataFrame:
    return table[table["kind"] == kind]


def _against_levels(
    upper: Axes, lower: Axes, cells: pd.DataFrame, predictions: pd.DataFrame, bound: dict[str, Any]
) -> None:
    dimensions = sorted(cells["dimension"].unique())
    colours = style.colours(len(dimensions))
    for index, (d, mark, colour) in enumerate(zip(dimensions, style.MARKS * len(dimensions), colours, strict=False)):
        rows, curve = cells[cells["dimension"] == d], predictions[predictions["dimension"] == d]
        upper.plot(curve["levels"], curve["bound"], color=colour, **bound)
        style.predicted(upper, curve["levels"], curve["predicted"])
        look = {"color": colour, "marker": mark}
        ratios.points(upper, rows["levels"], rows, **look, label=f"$d = {d}$")
        ratios.strip(lower, rows["levels"] * _APART ** (index - 2), rows, **look)
    upper.set_xscale("log", base=2)
    levels = sorted(cells["levels"].unique())
    lower.set_xticks(levels, [f"{level:g}" for level in levels])
    lower.minorticks_off()
    lower.set(xlabel="quantization levels $s$")


def _buckets(upper: Axes, lower: Axes, cells: pd.DataFrame, predictions: pd.DataFrame) -> None:
    style.predicted(upper, predictions["levels"], predictions["predicted"])
    size, d = cells["bucket_size"].iloc[0], cells["dimension"].iloc[0]
    look = {"color": _BUCKETS, "marker": "h", "mfc": "white"}
    ratios.points(upper, cells["levels"], cells, **look, label=f"{d}, buckets of {size:g}")
    ratios.strip(lower, cells["levels"] * _APART**2, cells, **look)
    upper.legend(loc="lower left")


def _ternary(upper: Axes, lower: Axes, cells: pd.DataFrame) -> None:
    # Rings around what they must coincide with, QSGD of one level.
    look = {"color": _TERNARY, "marker": "o", "mfc": "none"}
    ratios.points(upper, cells["levels"], cells, **look, markersize=8, label="ternary, all $d$")
    apart = _APART ** pd.Series(range(1, 1 + len(cells)), cells.index)
    ratios.strip(lower, cells["levels"] * apart, cells, **look)
    upper.legend(loc="lower left")


def _ground(axes: Axes, levels: Iterable[float]) -> None:
    """Shade where the marks of each number of levels stand."""
    for level in levels:
        axes.axvspan(level * _APART**-3, level * _APART**4, color="0.95", linewidth=0, zorder=0)


def _natural(upper: Axes, lower: Axes, cells: pd.DataFrame) -> None:
    cells = cells.sort_values("dimension")
    upper.plot(cells["dimension"], cells["bound"], color=_NATURAL, **_PUBLISHED)
    style.predicted(upper, cells["dimension"], cells["predicted"])
    for axes, draw_points in ((upper, ratios.points), (lower, ratios.strip)):
        draw_points(axes, cells["dimension"], cells, color=_NATURAL, marker="o")
    upper.set(title="natural compression", xscale="log")
    lower.set_xticks(cells["dimension"], [f"{d:g}" for d in cells["dimension"]])
    lower.minorticks_off()
    lower.set(xlabel="dimension $d$")
    upper.margins(x=0.15)
