"""What `relufit plan` predicts of an iteration against what it took between hosts."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from relufit.figures import style

#: The network dominates where it is that part of the measured seconds; seconds are to be so near there.
_DOMINATES, _NEAR = 2 / 3, 0.15


def draw(tables: list[pd.DataFrame]) -> Figure:
    """Draw the figure from the table of what was planned: left where the network dominates, right the rest."""
    (points,) = tables
    figure, panels = style.canvas(1, 2, figsize=(6.6, 3.6), sharex=True, sharey=True)
    limited = points["network"] >= _DOMINATES
    ends = (1.0, 1e3) if points.empty else (700 * points["at_least"].min(), 1500 * points["predicted"].max())
    for axes, subset, title in (
        (panels[0], points[limited], "network: 2/3 of the time or above"),
        (panels[1], points[~limited], "network: below 2/3"),
    ):
        _panel(axes, subset, ends)
        if subset.empty:
            style.notice(axes, "no iteration was timed, or none in which the network takes that part")
        axes.set_title(title)
        axes.set_xlabel("predicted, ms an iteration")
    panels[0].set_ylabel("measured, ms an iteration")
    style.legend_below(figure, *panels, prediction=False, ncols=4)
    return figure


def _panel(axes: Axes, points: pd.DataFrame, line: tuple[float, float]) -> None:
    axes.fill_between(
        line,
        [(1 - _NEAR) * x for x in line],
        [(1 + _NEAR) * x for x in line],
        color="0.85",
        linewidth=0,
        label=f"within {100 * _NEAR:g} %",
    )
    axes.plot(line, line, color="0.5", linewidth=0.8)
    keys = ["exchange", "cell", "run", "rate"]
    means = points.groupby(keys)[["seconds", "at_least", "predicted"]].agg(["mean", "min", "max"]) * 1e3
    for exchange, words in style.EXCHANGES.items():
        rows = means[means.index.get_level_values("exchange") == exchange]
        if rows.empty:
            continue
        colour, mark = style.EXCHANGE_LOOKS[exchange]
        y, most, least = rows["seconds"], rows[("predicted", "mean")], rows[("at_least", "mean")]
        axes.errorbar(
            most,
            y["mean"],
            yerr=[y["mean"] - y["min"], y["max"] - y["mean"]],
            # The lower bound may be above the upper one by a hair, where they are the same.
            xerr=[(most - least).clip(lower=0), 0 * most],
            fmt=mark,
            color=colour,
            markersize=4,
            elinewidth=0.7,
            label=words,
        )
    axes.set(xscale="log", yscale="log")
