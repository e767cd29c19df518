"""The way to exchange and encode that is planned to take the fewest seconds, by ranks and by the rate of the links."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from relufit.figures import style

#: From 1 on, ratios up to this one are shaded, so far that black can be read on it.
_DARKEST, _SHADE = 30.0, 0.5
#: Where the mark of a cell is, beside its number, from the centre, in cells.
_MARK = (-0.38, 0.28)
#: Around cells in which ways were timed.
_FRAME: dict[str, Any] = {"fill": False, "edgecolor": "black", "linewidth": 1.1, "zorder": 3}


def draw(tables: list[pd.DataFrame]) -> Figure:
    """Draw the figure from the table of best ways: a row of panels a dimension, a column a kind of mini-batch."""
    (ways,) = tables
    dimensions, batches = sorted(ways["dimension"].unique()), list(dict.fromkeys(ways["batch"]))
    counts, rates = sorted(ways["workers"].unique()), sorted(ways["rate"].unique())
    size = (0.9 + 0.85 * len(rates) * len(batches), 1.2 + len(dimensions) * (0.3 + 0.48 * len(counts)))
    figure, panels = style.canvas(len(dimensions), len(batches), figsize=size, sharex=True, sharey=True, squeeze=False)
    for row, dimension in zip(panels, dimensions, strict=True):
        for axes, batch in zip(row, batches, strict=True):
            chosen = ways[(ways["dimension"] == dimension) & (ways["batch"] == batch)]
            _panel(axes, chosen.set_index(["workers", "rate"]), counts, rates)
            axes.set_title(f"$d$ = {style.thousands(dimension)}, mini-batch: {batch}")
        row[0].set_ylabel("ranks $K$")
    for axes in panels[-1]:
        axes.set_xlabel("rate of a link, bit/s")
    exchanges = [name for name in style.EXCHANGES if (ways["exchange"] == name).any()]
    handles = [_mark(name, label=style.EXCHANGES[name]) for name in exchanges]
    title = "number: seconds of SGD, fp32, by all-reduce over those of the way in the cell"
    if (ways["timed_gain"] > 0).any():
        title += "\nframed: the same of the best way that was timed, between emulated hosts"
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), title=title)
    return figure


def _panel(axes: Axes, ways: pd.DataFrame, counts: list[int], rates: list[float]) -> None:
    ratios = ways["gain"].unstack().reindex(index=counts, columns=rates)
    shades = ListedColormap(mpl.colormaps["Blues"](np.linspace(0, _SHADE, 128)))
    at: dict[Any, dict[Any, Any]] = ways.to_dict("index")
    axes.imshow(ratios, cmap=shades, norm=LogNorm(1, _DARKEST, clip=True), aspect="auto", origin="lower")
    for y, count in enumerate(counts):
        for x, rate in enumerate(rates):
            way = at[count, rate]
            axes.add_line(_mark(way["exchange"], x=x + _MARK[0], y=y + _MARK[1]))
            words = f"{_number(way['gain'])}\n{_words(way)}"
            if way["timed_gain"] > 0:
                words += f"\ntimed: {_number(way['timed_gain'])}"
                axes.add_patch(Rectangle((x - 0.47, y - 0.46), 0.94, 0.92, **_FRAME))
            axes.text(x, y, words, ha="center", va="center", fontsize=7, linespacing=1.1)
    axes.set_xticks(range(len(rates)), [style.rate(rate) for rate in rates])
    axes.set_yticks(range(len(counts)), [str(count) for count in counts])
    axes.tick_params(length=0)
    for edge in range(1, len(rates)):
        axes.axvline(edge - 0.5, color="white", linewidth=1.5)
    for edge in range(1, len(counts)):
        axes.axhline(edge - 0.5, color="white", linewidth=1.5)


def _mark(exchange: str, *, x: float | None = None, y: float | None = None, label: str = "") -> Line2D:
    colour, mark = style.EXCHANGE_LOOKS[exchange]
    look: dict[str, Any] = {"color": colour, "marker": mark, "linestyle": "none", "markersize": 4.5, "label": label}
    return Line2D([] if x is None else [x], [] if y is None else [y], **look)


def _number(ratio: float) -> str:
    return f"{ratio:.0f}" if ratio >= 9.95 else f"{ratio:.2f}" if ratio < 1.95 else f"{ratio:.1f}"


def _words(way: dict[Any, Any]) -> str:
    return style.way(way["compressor"], way["coding"])
