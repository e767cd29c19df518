"""Iterations to the tolerance against the mini-batch: measured, predicted, and their ratio."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from relufit.figures import ratios, style

_LOOK: dict[str, Any] = {"color": "#0072B2", "marker": "o"}
_GREY = "0.55"
_BESIDE: dict[str, Any] = {"textcoords": "offset points"}
#: Where along the line 1/m its label is.
_LABEL = 0.8


def draw(tables: list[pd.DataFrame]) -> Figure:
    """Draw the figure from the tables of summaries and of predictions."""
    summary, predictions = tables
    measured = summary[summary["quantity"] == "iterations"]
    figure, (upper, lower) = plt.subplots(2, 1, figsize=(3.4, 3.8), sharex=True, height_ratios=[3, 1])
    upper.set(xscale="log", yscale="log", ylabel="iterations to the tolerance")
    upper.plot(predictions["mini_batch"], predictions["inverse"], color=_GREY, linewidth=1.2)
    place = predictions.iloc[int(_LABEL * len(predictions))]
    upper.annotate("$1/m$", (place["mini_batch"], place["inverse"]), (-4, -3), **_BESIDE, ha="right", va="top")
    ratios.points(upper, measured["mini_batch"], measured, **_LOOK, label="measured")
    style.predicted(upper, predictions["mini_batch"], predictions["iterations"])
    _critical(upper, lower, predictions["critical"].iloc[0])
    style.legend(upper, loc="upper right")
    ratios.strip(lower, measured["mini_batch"], measured, **_LOOK)
    ratios.label(lower, ratios.reach(measured))
    lower.set(xlabel="mini-batch $m$", ylabel="measured /\npredicted")
    return figure


def _critical(upper: Axes, lower: Axes, critical: float) -> None:
    upper.axvline(critical, ymax=0.72, color=_GREY, linestyle=":", linewidth=1.2)
    lower.axvline(critical, color=_GREY, linestyle=":", linewidth=1.2)
    place = (critical, 0.72)
    across = upper.get_xaxis_transform()
    upper.annotate("$m = 2d + 3$", place, (-3, 0), xycoords=across, **_BESIDE, rotation=90, ha="right", va="top")
