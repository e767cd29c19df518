"""Share of successes against the samples for each dimension, one panel a method."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from relufit.figures import style

TITLES = {
    "least_squares": "least squares",
    "alternating_minimisation": "alternating minimisation",
    "gradient_descent": "gradient descent",
    "sgd": "SGD",
}
MARKS = ("o", "s", "^", "D", "v", "P")
#: Marks of one n/d lie side by side, in the order of the dimensions, apart by this part of the axis, which says so.
_BESIDE, _ACROSS = 0.011, 2


def draw(tables: list[pd.DataFrame]) -> Figure:
    """Draw the figure from the tables of cells, of crossings, and of probabilities."""
    cells, crossings, probabilities = tables
    methods, dimensions = list(dict.fromkeys(cells["method"])), sorted(cells["dimension"].unique())
    across, down = min(len(methods), _ACROSS), -(-len(methods) // _ACROSS)
    figure, panels = style.canvas(down, across, figsize=(3.5 * across, 0.8 + 2.3 * down), sharey=True, squeeze=False)
    for axes, method in zip(panels.flat, methods, strict=False):
        subset = until_all_succeed(cells[cells["method"] == method])
        apart = float(f"{_BESIDE * (subset['ratio'].max() - subset['ratio'].min()):.1g}")
        exact = bool(subset["predicted"].notna().all())
        for k, (d, mark) in enumerate(zip(dimensions, MARKS, strict=False)):
            rows, colour = subset[subset["dimension"] == d], style.colours(len(dimensions))[k]
            _points(axes, rows, apart * (k - (len(dimensions) - 1) / 2), mark, colour, f"{d:g}", joined=not exact)
            curve = probabilities[(probabilities["dimension"] == d) & (probabilities["ratio"] <= subset["ratio"].max())]
            if exact:
                style.predicted(axes, curve["ratio"], curve["probability"])
        if not exact:
            due = crossings.loc[crossings["method"] == method, "predicted"]
            style.predicted(axes, pd.Series([due.mean()] * 2), pd.Series([0.0, 1.0]))
        axes.set(title=TITLES[method], ylim=(-0.05, 1.05), xlabel=f"$n / d$, marks set apart by {apart:g}")
    for axes in panels.flat[len(methods) :]:
        axes.set_visible(False)
    for axes in panels[:, 0]:
        axes.set_ylabel("share of successes")
    style.legend_below(figure, *panels.flat, title="dimension $d$", ncols=len(dimensions) + 1)
    return figure


def until_all_succeed(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the cells up to the first n/d from which on every trial succeeds."""
    failing = cells.loc[cells["share"] < 1, "ratio"]
    beyond = cells.loc[cells["ratio"] > failing.max(), "ratio"]
    return cells[cells["ratio"] <= beyond.min()] if len(beyond) and len(failing) else cells


def _points(
    axes: Axes, rows: pd.DataFrame, shift: float, mark: str, colour: object, label: str, *, joined: bool
) -> None:
    axes.errorbar(
        rows["ratio"] + shift,
        rows["share"],
        [rows["share"] - rows["low"], rows["high"] - rows["share"]],
        marker=mark,
        linestyle="-" if joined else "",
        color=colour,
        markersize=3.5,
        linewidth=0.7,
        elinewidth=0.8,
        capsize=1.5,
        label=label,
    )
