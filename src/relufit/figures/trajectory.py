"""Relative error from w0 on, a panel for each run, and below it how far ln error^2 is from the prediction."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
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
    columns = min(_COLUMNS, len(settings))
    rows = -(-len(settings) // columns)
    size = (0.6 + 2.2 * columns, 0.6 + 2.6 * rows)
    figure, panels = style.canvas(2 * rows, columns, figsize=size, squeeze=False, height_ratios=[2, 1] * rows)
    uppers, lowers = panels[::2].ravel(), panels[1::2].ravel()
    for upper, lower, setting in zip(uppers, lowers, settings, strict=False):
        curve = curves[curves["setting"] == setting]
        lower.sharex(upper)
        upper.sharey(uppers[0])
        lower.sharey(lowers[0])
        _panel(upper, lower, curve)
        first = upper in panels[:, 0]
        upper.tick_params(labelbottom=False, labelleft=first)
        lower.tick_params(labelleft=first)
        lower.set_xlabel("iterations")
    for axes in (*uppers[len(settings) :], *lowers[len(settings) :]):
        axes.set_visible(False)
    for axes in panels[::2, 0]:
        axes.set_ylabel("relative error\n$\\|w - w^*\\| / \\|w^*\\|$")
    for axes in panels[1::2, 0]:
        axes.set_ylabel("residual of\n$\\ln$ error$^2$")
    handles = [Line2D([], [], color=_BLUE, linewidth=1.6), style.prediction_line()]
    figure.legend(
        handles, ["measured, 90 % interval", "predicted, nothing fitted"], loc="outside lower center", ncols=2
    )
    return figure


def _panel(upper: Axes, lower: Axes, curve: pd.DataFrame) -> None:
    style.band(upper, curve["iteration"], curve, _BLUE, "measured")
    style.predicted(upper, curve["iteration"], curve["predicted"])
    upper.set(yscale="log", title="\n".join(curve["label"].iloc[0].rsplit(", ", 1)))
    upper.set_xlim(left=0)
    upper.yaxis.set_major_locator(LogLocator(subs=_TICKS))
    upper.yaxis.set_major_formatter("{x:g}")
    upper.yaxis.minorticks_off()
    ratio = curve[["relative_error", "low", "high"]].div(curve["predicted"], axis=0)
    residual = ratio.apply(lambda column: 2 * np.log(column))
    style.band(lower, curve["iteration"], residual, _BLUE, "")
    style.predicted(lower, curve["iteration"], 0 * curve["predicted"])
