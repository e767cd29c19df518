"""What `relufit plan` predicts of an iteration against what it took between hosts."""

from __future__ import annotations

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

_EXCHANGES = {"all_to_all": "all to all", "relay": "relay", "master": "master, fp64 back"}
#: Okabe and Ito's.
_COLOURS = {"all_to_all": "#0072B2", "relay": "#D55E00", "master": "#000000"}
_MARKS = {"all_to_all": "o", "relay": "^", "master": "s"}
#: The network dominates where it is that part of the measured seconds; seconds are to be so near there.
_DOMINATES, _NEAR = 2 / 3, 0.15


def draw(tables: list[pd.DataFrame]) -> Figure:
    """Draw the figure from the table of what was planned: left where the network dominates, right the rest."""
    (points,) = tables
    figure, panels = plt.subplots(1, 2, figsize=(6.6, 3.6), sharex=True, sharey=True)
    limited = points["network"] >= _DOMINATES
    ends = (1.0, 1e3) if points.empty else (700 * points["at_least"].min(), 1500 * points["predicted"].max())
    for axes, its, title in (
        (panels[0], points[limited], "where the network dominates"),
        (panels[1], points[~limited], "where it does not"),
    ):
        _panel(axes, its, ends)
        axes.set_title(title)
        axes.set_xlabel("predicted, ms an iteration")
    panels[0].set_ylabel("measured, ms an iteration")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
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
    for exchange, words in _EXCHANGES.items():
        its = means[means.index.get_level_values("exchange") == exchange]
        y, most, least = its["seconds"], its[("predicted", "mean")], its[("at_least", "mean")]
        axes.errorbar(
            most,
            y["mean"],
            yerr=[y["mean"] - y["min"], y["max"] - y["mean"]],
            # The lower bound may be above the upper one by a hair, where they are the same.
            xerr=[(most - least).clip(lower=0), 0 * most],
            fmt=_MARKS[exchange],
            color=_COLOURS[exchange],
            markersize=4,
            elinewidth=0.7,
            label=words,
        )
    axes.set(xscale="log", yscale="log")
