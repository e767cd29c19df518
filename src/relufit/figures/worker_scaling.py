"""Iterations to the tolerance against the number of ranks, with the mini-batch given and with the batch of a rank."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from relufit.figures import ratios, style

#: In the strips marks at one number of ranks stand side by side, each this many times further right.
_APART = 1.16


def draw(tables: list[pd.DataFrame]) -> Figure:
    """Draw the figure from the table of iterations."""
    (iterations,) = tables
    figure, panels = style.canvas(2, 2, figsize=(7.0, 4.2), sharex=True, sharey="row", height_ratios=[3, 1])
    for (upper, lower), given in zip(panels.T, ("mini-batch", "rank"), strict=True):
        rows = iterations[iterations["given"] == given]
        if rows.empty:
            style.notice(upper, f"no run with the batch of the {given} given")
            continue
        upper.set_yscale("log")
        lower.set_xscale("log", base=2)
        _series(upper, lower, rows)
        style.plain_ticks(upper)
        upper.set_title(_title(rows.iloc[0], given))
        lower.set_xlabel("ranks $K$; below, marks side by side")
        ratios.label(lower, ratios.reach(iterations))
        style.thin_ticks(lower, rows["workers"].unique())
    panels[0][0].set_ylabel("iterations to the tolerance")
    panels[1][0].set_ylabel("measured /\npredicted")
    style.legend_below(figure, *panels[0], ncols=4)
    return figure


def _title(row: pd.Series, given: str) -> str:
    if given == "mini-batch":
        return f"mini-batch $m$ = {row['mini_batch']:g}"
    return f"batch of a rank $m / K$ = {row['mini_batch'] / row['workers']:g}"


def _series(upper: Axes, lower: Axes, rows: pd.DataFrame) -> None:
    kinds = sorted(rows["levels"].dropna().unique())
    series = [(f"QSGD, $s$ = {levels:g}", rows[rows["levels"] == levels]) for levels in kinds]
    series.append(("SGD", rows[rows["levels"].isna()]))
    colours = [*(style.level_colour(levels) for levels in kinds), style.PLAIN["fp64"]]
    looks = zip(colours, style.MARKS * len(series), strict=False)
    for k, ((label, subset), (colour, mark)) in enumerate(zip(series, looks, strict=True)):
        look = {"color": colour, "marker": mark}
        ratios.points(upper, subset["workers"], subset, **look, label=label)
        style.predicted(upper, subset["workers"], subset["predicted"])
        ratios.strip(lower, subset["workers"] * _APART ** (k - (len(series) - 1) / 2), subset, **look)
