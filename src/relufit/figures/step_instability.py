"""Relative error of QSGD at the step of SGD and at the step that follows omega."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from relufit.figures import style

_TITLES = {"sgd": r"QSGD at the optimal step of SGD", "own": r"QSGD at the step optimal for its $\omega$"}


def draw(tables: list[pd.DataFrame]) -> Figure:
    """Draw the figure from the table of curves."""
    (curves,) = tables
    levels = sorted(curves["levels"].unique())
    figure, panels = style.canvas(1, 2, figsize=(7.0, 3.4), sharex=True, sharey=True)
    for axes, rule in zip(panels, _TITLES, strict=True):
        for level, mark in zip(levels, style.MARKS * len(levels), strict=False):
            curve = curves[(curves["rule"] == rule) & (curves["levels"] == level)]
            style.band(axes, curve["iteration"], curve, style.level_colour(level), f"$s$ = {level:g}", mark=mark)
            style.predicted(axes, curve["iteration"], curve["predicted"])
        axes.set(title=_TITLES[rule], xlabel="iterations", yscale="log")
    panels[0].set_xlim(left=0)
    panels[0].set_ylabel(style.ERROR)
    style.legend_below(figure, *panels, ncols=5)
    return figure
