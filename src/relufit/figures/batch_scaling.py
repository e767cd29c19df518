"""Iterations to the tolerance against the mini-batch: measured, predicted, and their ratio."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from relufit.figures import ratios, style

_LOOK: dict[str, Any] = {"color": "#0072B2", "marker": "o"}
_GREY = "0.55"
_BESIDE: dict[str, Any] = {"textcoords": "offset points"}


def draw(tables: list[pd.DataFrame]) -> Figure:
    """Draw the figure from the tables of summaries and of predictions."""
    summary, predictions = tables
    measured = summary[summary["quantity"] == "iterations"]
    figure, (upper, lower) = style.canvas(2, 1, figsize=(4.2, 4.0), sharex=True, height_ratios=[3, 1])
    upper.set(xscale="log", yscale="log", ylabel="iterations to the tolerance")
    upper.plot(predictions["mini_batch"], predictions["inverse"], color=_GREY, linewidth=1.2)
    last = predictions.iloc[-1]
    upper.annotate("$1/m$", (last["mini_batch"], last["inverse"]), (-10, 0), **_BESIDE, ha="right", va="center")
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
