"""Iterations to the tolerance against the number of ranks, with the mini-batch given and with the batch of a rank."""

from __future__ import annotations

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from relufit.figures import ratios, style

_MARKS = "osD^vP"


def draw(tables: list[pd.DataFrame]) -> Figure:
    """Draw the figure from the table of iterations."""
    (iterations,) = tables
    figure, panels = plt.subplots(2, 2, figsize=(7.0, 3.8), sharex=True, sharey="row", height_ratios=[3, 1])
    for (upper, lower), given in zip(panels.T, ("mini-batch", "rank"), strict=True):
        rows = iterations[iterations["given"] == given]
        upper.set_yscale("log")
        lower.set_xscale("log", base=2)
        _series(upper, lower, rows)
        upper.set_title(_title(rows.iloc[0], given))
        lower.set_xlabel("ranks $K$")
        ratios.label(lower, ratios.reach(iterations))
        lower.set_xticks(rows["workers"].unique(), [f"{workers:g}" for workers in rows["workers"].unique()])
        lower.xaxis.minorticks_off()
    panels[0][0].set_ylabel("iterations to the tolerance")
    panels[1][0].set_ylabel("measured /\npredicted")
    style.legend(panels[0][1], loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _title(row: pd.Series, given: str) -> str:
    if given == "mini-batch":
        return f"mini-batch $m$ = {row['mini_batch']:g}"
    return f"batch of a rank $m / K$ = {row['mini_batch'] / row['workers']:g}"


def _series(upper: Axes, lower: Axes, rows: pd.DataFrame) -> None:
    kinds = sorted(rows["levels"].dropna().unique())
    series = [(f"QSGD, $s$ = {levels:g}", rows[rows["levels"] == levels]) for levels in kinds]
    series.append(("SGD", rows[rows["levels"].isna()]))
    looks = zip([*style.colours(len(kinds)), "black"], _MARKS * len(series), strict=False)
    for (label, its), (colour, mark) in zip(series, looks, strict=True):
        look = {"color": colour, "marker": mark}
        ratios.points(upper, its["workers"], its, **look, label=label)
        style.predicted(upper, its["workers"], its["predicted"])
        ratios.strip(lower, its["workers"], its, **look)
