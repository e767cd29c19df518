"""Squared error of the initial weights against the number of samples."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from relufit.figures import ratios, style


def draw(tables: list[pd.DataFrame]) -> Figure:
    """Draw the figure from the tables of cells and of predictions."""
    cells, predictions = (table.assign(ratio=table["samples"] / table["dimension"]) for table in tables)
    dimensions = sorted(cells["dimension"].unique())
    figure, (upper, lower) = style.canvas(2, 1, figsize=(4.6, 4.0), sharex=True, height_ratios=[3, 1])
    for d, mark, colour in zip(dimensions, style.MARKS * len(dimensions), style.colours(len(dimensions)), strict=False):
        curve = predictions[predictions["dimension"] == d]
        style.predicted(upper, curve["ratio"], curve["predicted"])
        for shared, rows in cells[cells["dimension"] == d].groupby(cells["workers"] > 1):
            # Moments that were summed over several ranks are hollow.
            look = {
                "color": colour,
                "marker": mark,
                "mfc": "none" if shared else colour,
                "markersize": 7 if shared else 4,
            }
            ratios.points(upper, rows["ratio"], rows, **look, label=_label(d, rows, several=bool(shared)))
            ratios.strip(lower, rows["ratio"], rows, **look)
    upper.set(ylabel=r"$\|w_0 - w^*\|^2 / \|w^*\|^2$", xscale="log", yscale="log")
    lower.set(xlabel=r"samples a dimension $n / d$", ylabel="measured /\npredicted")
    ratios.label(lower, ratios.reach(cells))
    style.legend(upper, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _label(d: int, rows: pd.DataFrame, *, several: bool) -> str:
    return f"$d = {d}$" + (f", $K = {', '.join(map(str, sorted(set(rows['workers']))))}$" if several else "")
