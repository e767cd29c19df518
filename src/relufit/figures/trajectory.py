"""Relative error from w0 on, a panel for each run."""

from __future__ import annotations

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator

from relufit.figures import style

_BLUE, _COLUMNS = "#0072B2", 3
#: Labels of an axis that is shorter than a decade or two.
_TICKS = (1, 2, 3, 5)


def draw(tables: list[pd.DataFrame]) -> Figure:
    """Draw the figure from the table of curves."""
    (curves,) = tables
    settings = list(dict.fromkeys(curves["setting"]))
    rows = -(-len(settings) // _COLUMNS)
    figure, panels = plt.subplots(rows, _COLUMNS, figsize=(7.0, 0.5 + 1.9 * rows), sharey=True, squeeze=False)
    for axes, setting in zip(panels.flat, settings, strict=False):
        curve = curves[curves["setting"] == setting]
        style.band(axes, curve["iteration"], curve, _BLUE, "measured")
        style.predicted(axes, curve["iteration"], curve["predicted"])
        axes.set(yscale="log", title="\n".join(curve["label"].iloc[0].rsplit(", ", 1)))
        axes.set_xlim(left=0)
        axes.yaxis.set_major_locator(LogLocator(subs=_TICKS))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.minorticks_off()
    for axes in panels.flat[len(settings) :]:
        axes.set_visible(False)
    for axes in panels[-1]:
        axes.set_xlabel("iterations")
    figure.supylabel(r"relative error $\|w - w^*\| / \|w^*\|$", fontsize="small")
    handles = [Line2D([], [], color=_BLUE, linewidth=1.6), style.prediction_line()]
    figure.legend(handles, ["measured", "predicted, nothing fitted"], loc="outside lower center", ncols=2)
    return figure
