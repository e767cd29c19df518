"""Relative error of QSGD at the step of SGD and at the step that follows omega."""

from __future__ import annotations

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from relufit.figures import style

_TITLES = {"sgd": "step of SGD", "own": r"step that follows $\omega$"}


def draw(tables: list[pd.DataFrame]) -> Figure:
    """Draw the figure from the table of curves."""
    (curves,) = tables
    levels = sorted(curves["levels"].unique())
    figure, panels = plt.subplots(1, 2, figsize=(7.0, 3.0), sharex=True, sharey=True)
    for axes, rule in zip(panels, _TITLES, strict=True):
        for its, colour in zip(levels, style.colours(len(levels)), strict=True):
            curve = curves[(curves["rule"] == rule) & (curves["levels"] == its)]
            style.band(axes, curve["iteration"], curve, colour, f"$s$ = {its:g}")
            style.predicted(axes, curve["iteration"], curve["predicted"])
        axes.set(title=_TITLES[rule], xlabel="iterations", yscale="log")
    panels[0].set_xlim(0, curves["iteration"].max())
    panels[0].set_ylabel(r"relative error $\|w - w^*\| / \|w^*\|$")
    style.legend(panels[1], loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
