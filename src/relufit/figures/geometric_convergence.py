"""Relative error against iterations for several numbers of samples, with and without replacement."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from relufit.figures import style

_TITLES = {"with_replacement": "SGD, rows drawn with replacement", "reshuffled": "SGD, reshuffled epochs"}


def draw(tables: list[pd.DataFrame]) -> Figure:
    """Draw the figure from the table of curves."""
    (curves,) = tables
    samplings, ratios = list(dict.fromkeys(curves["sampling"])), sorted(curves["ratio"].unique())
    figure, panels = style.canvas(1, len(samplings), figsize=(3.5 * len(samplings), 3.4), sharey=True, squeeze=False)
    for axes, sampling in zip(panels[0], samplings, strict=True):
        for ratio, mark in zip(ratios, style.MARKS * len(ratios), strict=False):
            curve = curves[(curves["sampling"] == sampling) & (curves["ratio"] == ratio)]
            colour = style.ratio_colour(ratio)
            style.band(axes, curve["iteration"], curve, colour, f"{ratio:g}", mark=mark)
            if sampling == "with_replacement":
                style.predicted(axes, curve["iteration"], curve["predicted"])
        axes.set(title=_TITLES[sampling], xlabel="iterations", yscale="log")
        axes.set_xlim(left=0)
    panels[0][0].set_ylabel(style.ERROR)
    shown = "with_replacement" in samplings
    style.legend_below(figure, panels[0][0], prediction=shown, title="$n / d$, measured", ncols=len(ratios) + 1)
    return figure
