"""Speed-up of QSGD over SGD in fp32 against the rate of the links: planned, and measured where hosts were emulated."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from relufit.figures import style

#: What is not a line: its source, mark and size, and its words.
_MARKED = (
    ("measured", "o", 4, "measured, emulated hosts"),
    ("shared", "_", 9, "planned, hosts that share this machine"),
)


def draw(tables: list[pd.DataFrame]) -> Figure:
    """Draw the figure from the table of what was planned: a row of panels a dimension, a column an exchange."""
    (points,) = tables
    counts = sorted(points["workers"].unique())
    colours = dict(zip(counts, style.colours(len(counts)), strict=True))
    dimensions = sorted(points["dimension"].unique())
    exchanges = list(dict.fromkeys(points["exchange"]))
    size = (0.9 + 2.1 * len(exchanges), 0.9 + 2.1 * len(dimensions))
    figure, axes = style.canvas(len(dimensions), len(exchanges), figsize=size, sharex=True, sharey=True, squeeze=False)
    for row, dimension in zip(axes, dimensions, strict=True):
        for panel, exchange in zip(row, exchanges, strict=True):
            _panel(panel, points[(points["dimension"] == dimension) & (points["exchange"] == exchange)], colours)
        row[0].set_ylabel(f"seconds of SGD, fp32, over\nthose of QSGD, $d = {_power(dimension)}$")
    for panel, exchange in zip(axes[0], exchanges, strict=True):
        panel.set_title(style.EXCHANGES[exchange])
    for panel in axes[-1]:
        panel.set_xlabel("rate of a link, bit/s")
    handles = [Line2D([], [], color=colour, linewidth=1.4, label=f"K = {count}") for count, colour in colours.items()]
    for source, mark, length, label in _MARKED:
        if (points["source"] == source).any():
            look: dict[str, Any] = {"marker": mark, "markersize": length, "linestyle": "none"}
            handles.append(Line2D([], [], color="0.3", label=label, **look))
    figure.legend(handles=handles, loc="outside lower center", ncols=4, title="lines: planned, hosts of their own")
    return figure


def _panel(axes: Axes, points: pd.DataFrame, colours: dict[int, tuple[float, float, float]]) -> None:
    for count, colour in colours.items():
        rows = points[points["workers"] == count]
        planned, measured, shared = (rows[rows["source"] == source] for source in ("planned", "measured", "shared"))
        axes.plot(planned["rate"], planned["speed_up"], color=colour, linewidth=1.4)
        axes.plot(
            shared["rate"],
            shared["speed_up"],
            marker="_",
            color=colour,
            markersize=9,
            markeredgewidth=1.4,
            linestyle="none",
            zorder=4,
        )
        error = [measured["speed_up"] - measured["low"], measured["high"] - measured["speed_up"]]
        axes.errorbar(
            measured["rate"], measured["speed_up"], error, fmt="o", color=colour, markersize=4, elinewidth=0.7, zorder=3
        )
    axes.axhline(1, color="0.55", linewidth=0.8, linestyle=":")
    axes.set(xscale="log", yscale="log")
    low, high = points["rate"].min(), points["rate"].max()
    ticks = [rate for rate in (1e7, 1e8, 1e9, 1e10, 1e11) if low <= rate <= high]
    axes.set_xticks(ticks, [style.rate(rate) for rate in ticks])
    axes.set_yticks([0.5, 1, 2, 5, 10, 20], ["0.5", "1", "2", "5", "10", "20"])
    axes.minorticks_off()


def _power(number: int) -> str:
    mantissa, exponent = f"{number:.0e}".split("e")
    power = f"10^{{{int(exponent)}}}"
    return power if mantissa == "1" else rf"{mantissa} \times {power}"
