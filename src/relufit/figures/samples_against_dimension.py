"""The samples for each dimension at which half of the trials succeed, against the dimension, a panel a method."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from relufit.figures import style
from relufit.figures.sample_complexity import MARKS, TITLES

_COLOURS = ("#0072B2", "#CC79A7", "#009E73", "#D55E00")
_GROWN: dict[str, Any] = {"color": "0.5", "linewidth": 1.0, "linestyle": ":"}


def draw(tables: list[pd.DataFrame]) -> Figure:
    """Draw the figure from the table of crossings."""
    (crossings,) = tables
    methods = list(dict.fromkeys(crossings["method"]))
    size = (1.2 + 1.55 * len(methods), 3.0)
    figure, panels = style.canvas(1, len(methods), figsize=size, sharex=True, sharey=True, squeeze=False)
    for axes, method, mark, colour in zip(panels[0], methods, MARKS, _COLOURS, strict=False):
        _panel(axes, crossings[crossings["method"] == method].sort_values("dimension"), mark, colour)
        axes.set(title=TITLES[method].replace(" m", "\nm").replace(" d", "\nd"), xlabel="dimension $d$")
    panels[0][0].set_ylabel("$n / d$ at which half\nof the trials succeed")
    grown = (Line2D([], [], **_GROWN), r"$n \propto d\,\ln d$, from $n / d = 2$")
    style.legend_below(figure, more=[grown], ncols=2)
    return figure


def _panel(axes: Axes, crossings: pd.DataFrame, mark: str, colour: str) -> None:
    bars = [crossings["crossing"] - crossings["low"], crossings["high"] - crossings["crossing"]]
    axes.errorbar(crossings["dimension"], crossings["crossing"], bars, fmt=mark, color=colour, markersize=4, capsize=2)
    style.predicted(axes, crossings["dimension"], crossings["predicted"])
    # What proportionality to d ln d would look like, through 2 at the least dimension.
    ends = crossings["dimension"].min(), crossings["dimension"].max()
    grid = np.geomspace(*ends, 50)
    axes.plot(grid, 2 * np.log(grid) / np.log(ends[0]), **_GROWN)
    axes.set_xscale("log")
    style.thin_ticks(axes, crossings["dimension"])
    axes.tick_params(axis="x", labelsize="small")
