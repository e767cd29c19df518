"""Iterations of gradient descent to the tolerance from different starts."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from relufit.figures import style

_MARKS = ("o", "s", "^", "D")
_SPREAD, _HALF = 0.28, 0.42


def draw(tables: list[pd.DataFrame]) -> Figure:
    """Draw the figure from the tables of trials and of starts."""
    trials, summary = tables
    starts, ratios = list(dict.fromkeys(summary["start"])), sorted(summary["ratio"].unique())
    figure, axes = style.canvas(figsize=(7.0, 4.0))
    for ratio, mark in zip(ratios, _MARKS * len(ratios), strict=False):
        rows = trials[(trials["ratio"] == ratio) & trials["reached"]]
        # Trials lie side by side in the order of their numbers, so that marks do not hide each other.
        places = rows["start"].map(starts.index) + _SPREAD * (2 * rows["trial"] / max(1, trials["trial"].max()) - 1)
        axes.plot(
            places,
            rows["iterations"],
            mark,
            color=style.ratio_colour(ratio),
            markersize=2,
            alpha=0.7,
            label=f"{ratio:g}",
        )
        due = summary[(summary["ratio"] == ratio) & summary["predicted"].notna()]
        for start, iterations in zip(due["start"], due["predicted"], strict=True):
            ends = starts.index(start) + np.array([-_HALF, _HALF])
            style.predicted(axes, pd.Series(ends), pd.Series([iterations] * 2))
    axes.set(ylabel="iterations to the tolerance", yscale="log", xlim=(-0.6, len(starts) - 0.4))
    low, high = axes.get_ylim()
    for start in starts:
        stuck = summary.loc[summary["start"] == start, "share"]
        if (stuck == 0).all():
            axes.annotate("never reached", (starts.index(start), np.sqrt(low * high)), ha="center", rotation=90)
    axes.set_xticks(range(len(starts)), [_label(start) for start in starts], rotation=35, ha="right")
    axes.set_xlabel("start")
    style.legend_below(figure, axes, title="$n / d$, a mark a data set", ncols=len(ratios) + 1, markerscale=2)
    return figure


def _label(start: str) -> str:
    return start.replace("w*", "$w^*$").replace(" x ", " × ").replace("- ", "−")
