"""Relative error against iterations for several numbers of samples, with and without replacement."""

from __future__ import annotations

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from relufit.figures import style

_TITLES = {"with_replacement": "drawn with replacement", "reshuffled": "reshuffled epochs"}


def draw(tables: list[pd.DataFrame]) -> Figure:
    """Draw the figure from the table of curves."""
    (curves,) = tables
    samplings, ratios = list(dict.fromkeys(curves["sampling"])), sorted(curves["ratio"].unique())
    figure, panels = plt.subplots(1, len(samplings), figsize=(3.6 * len(samplings), 3.2), sharey=True, squeeze=False)
    for axes, sampling in zip(panels[0], samplings, strict=True):
        for ratio, colour in zip(ratios, style.colours(len(ratios)), strict=True):
            curve = curves[(curves["sampling"] == sampling) & (curves["ratio"] == ratio)]
            style.band(axes, curve["iteration"], curve, colour, f"{ratio:g}")
            if sampling == "with_replacement":
                style.predicted(axes, curve["iteration"], curve["predicted"])
        axes.set(title=_TITLES[sampling], xlabel="iterations", yscale="log")
        axes.set_xlim(left=0)
    panels[0][0].set_ylabel(r"relative error $\|w - w^*\| / \|w^*\|$")
    place, shown = (1.0, 0.5), "with_replacement" in samplings
    style.legend(panels[0][-1], title=r"$n / d$", prediction=shown, loc="center left", bbox_to_anchor=place)
    return figure
