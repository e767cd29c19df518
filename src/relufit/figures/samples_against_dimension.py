"""The samples for each dimension at which half of the trials succeed, against the dimension."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from relufit.figures import style
from relufit.figures.sample_complexity import MARKS, TITLES

_COLOURS = ("#0072B2", "#CC79A7", "#009E73", "#D55E00")


def draw(tables: list[pd.DataFrame]) -> Figure:
    """Draw the figure from the table of crossings."""
    (crossings,) = tables
    methods, dimensions = list(dict.fromkeys(crossings["method"])), sorted(crossings["dimension"].unique())
    figure, axes = plt.subplots(figsize=(3.4, 3.8))
    for k, (method, mark, colour) in enumerate(zip(methods, MARKS, _COLOURS, strict=False)):
        its = crossings[crossings["method"] == method].sort_values("dimension")
        bars = [its["crossing"] - its["low"], its["high"] - its["crossing"]]
        # Side by side, as two methods have nearly the same values.
        beside = its["dimension"] * 1.05 ** (k - (len(methods) - 1) / 2)
        axes.errorbar(
            beside, its["crossing"], bars, fmt=mark, color=colour, markersize=4, capsize=2, label=TITLES[method]
        )
        style.predicted(axes, its["dimension"], its["predicted"])
    # What proportionality to d ln d would look like, through 2 at the least dimension.
    grid = np.geomspace(dimensions[0], dimensions[-1], 50)
    grown = 2 * np.log(grid) / np.log(dimensions[0])
    axes.plot(grid, grown, color="0.6", linewidth=1.0, linestyle=":")
    axes.annotate(r"$n \propto d\,\ln d$", (grid[-1], grown[-1]), (-4, 0), textcoords="offset points", ha="right")
    axes.set(xlabel="dimension $d$", ylabel="$n / d$ where half succeed", xscale="log")
    axes.set_xticks(dimensions, [f"{d:g}" for d in dimensions])
    axes.minorticks_off()
    style.legend(axes, loc="upper center", bbox_to_anchor=(0.45, -0.18))
    return figure
