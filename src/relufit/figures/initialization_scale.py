"""Share of successes against n/d from starts of growing norm, one panel a method."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from relufit.figures import style

TITLES = {"gradient_descent": "gradient descent", "sgd": "SGD", "qsgd": "QSGD"}
LABELS = {
    "moments": "moment estimate $w_0$",
    "random": r"random, $\Vert w^* \Vert$",
    "random x 10": r"random, $10 \, \Vert w^* \Vert$",
    "random x 100": r"random, $100 \, \Vert w^* \Vert$",
}
_MARKS = "osD^"
#: Starts lie side by side, at n/d times this.
_BESIDE = 1.008


def draw(tables: list[pd.DataFrame]) -> Figure:
    """Draw the figure from the tables of cells and of the probability of d active rows."""
    cells, probabilities = tables
    methods = list(dict.fromkeys(cells["method"]))
    width = 2.0 + 1.9 * len(methods)
    figure, panels = style.canvas(1, len(methods), figsize=(width, 2.9), sharex=True, sharey=True, squeeze=False)
    ratios = sorted(cells["ratio"].unique())
    for axes, method in zip(panels[0], methods, strict=True):
        rows = cells[cells["method"] == method]
        _series(axes, rows)
        shown = probabilities[probabilities["ratio"].between(rows["ratio"].min(), rows["ratio"].max())]
        style.predicted(axes, shown["ratio"], shown["probability"])
        axes.set(title=TITLES[method], xscale="log", ylim=(-0.05, 1.05), xlabel="$n / d$")
        axes.set_xticks(ratios, [f"{ratio:.3g}" for ratio in ratios])
        axes.xaxis.set_minor_locator(NullLocator())
    panels[0][0].set_ylabel("share that reaches $w^*$")
    handles, labels = panels[0][-1].get_legend_handles_labels()
    handles, labels = [*handles, style.prediction_line()], [*labels, "$d$ rows are active"]
    panels[0][-1].legend(handles, labels, title="start", loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _series(axes: Axes, rows: pd.DataFrame) -> None:
    starts = list(dict.fromkeys(rows["start"]))
    for k, (start, colour, mark) in enumerate(zip(starts, style.colours(len(starts)), _MARKS, strict=False)):
        curve = rows[rows["start"] == start].sort_values("ratio")
        axes.errorbar(
            curve["ratio"] * _BESIDE ** (k - (len(starts) - 1) / 2),
            curve["share"],
            [curve["share"] - curve["low"], curve["high"] - curve["share"]],
            marker=mark,
            color=colour,
            markersize=3.5,
            linewidth=0.8,
            elinewidth=0.8,
            capsize=1.5,
            label=LABELS[start],
        )
