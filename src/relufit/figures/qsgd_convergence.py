"""Relative error of SGD and QSGD against iterations."""

from __future__ import annotations

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from relufit.figures import style


def draw(tables: list[pd.DataFrame]) -> Figure:
    """Draw the figure from the table of curves."""
    (curves,) = tables
    # fp32 takes the same path as fp64 to the last digits that a figure shows.
    settings = [setting for setting in dict.fromkeys(curves["setting"]) if setting != "sgd-fp32"]
    figure, axes = plt.subplots(figsize=(5.2, 3.4))
    for setting, colour in zip(settings, ["black", *style.colours(len(settings) - 1)], strict=True):
        curve = curves[curves["setting"] == setting]
        style.band(axes, curve["iteration"], curve, colour, style.name(setting))
        style.predicted(axes, curve["iteration"], curve["predicted"])
    axes.set(xlabel="iterations", ylabel=r"relative error $\|w - w^*\| / \|w^*\|$", xscale="log", yscale="log")
    axes.set_xlim(left=max(10, curves["iteration"][curves["iteration"] > 0].min()))
    style.legend(axes, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
