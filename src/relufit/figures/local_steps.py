"""Exchanges, and bytes that a rank sends, against the local steps of an exchange, and for larger mini-batches."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from relufit.figures import style

#: Marks at one number of local steps stand side by side, each this many times further right.
_APART = 1.09
_CROSS: dict[str, Any] = {"markersize": 9, "markeredgewidth": 0.8}


def draw(tables: list[pd.DataFrame]) -> Figure:
    """Draw the figure from the table of cells."""
    (cells,) = tables
    figure, panels = style.canvas(1, 2, figsize=(7.0, 3.2))
    least = cells["mini_batch"].min()
    larger = cells["mini_batch"] > least
    batches = cells[larger].assign(local_steps=cells["mini_batch"] / least)
    series: list[tuple[str, pd.DataFrame, dict[str, Any]]] = [
        (
            "SGD, fp32, local steps",
            cells[cells["levels"].isna() & ~larger],
            {"color": style.PLAIN["fp32"], "marker": "o"},
        ),
        *(
            (f"QSGD, $s$ = {levels:g}, local steps", rows, {"color": style.level_colour(levels), "marker": "s"})
            for levels, rows in (
                (levels, cells[cells["levels"] == levels]) for levels in cells["levels"].dropna().unique()
            )
        ),
        ("SGD, fp32, mini-batch $H m$", batches, {"color": "#D55E00", "marker": "D", "markerfacecolor": "white"}),
    ]
    for axes, quantity, unit in zip(panels, ("exchanges", "sent"), (1, 1000), strict=True):
        axes.set(xscale="log", yscale="log")
        for nth, (label, rows, look) in enumerate(series):
            shifted = rows["local_steps"] * _APART ** (nth - (len(series) - 1) / 2)
            _points(axes, shifted, rows, quantity, unit, label=label, **look)
        axes.plot([], [], "+", color="black", label="predicted, nothing fitted", **_CROSS)
        style.thin_ticks(axes, cells["local_steps"].unique())
        style.plain_ticks(axes)
        axes.set_xlabel("local steps $H$ between two exchanges")
    panels[0].set_ylabel("exchanges to the tolerance")
    panels[1].set_ylabel("kilobytes that a rank sends")
    style.legend_below(figure, panels[0], prediction=False, ncols=2)
    return figure


def _points(axes: Axes, x: pd.Series, rows: pd.DataFrame, quantity: str, unit: float, **look: Any) -> None:  # noqa: ANN401
    """Draw means with their intervals, and predictions as crosses over them."""
    y = rows[quantity] / unit
    bars = [y - rows[f"{quantity}_low"] / unit, rows[f"{quantity}_high"] / unit - y]
    axes.errorbar(x, y, bars, linestyle="none", markersize=5, elinewidth=1, capsize=2, **look)
    axes.plot(x, rows[f"{quantity}_predicted"] / unit, "+", color="black", **_CROSS)
