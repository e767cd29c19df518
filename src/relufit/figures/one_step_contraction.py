"""What one step takes off the squared error, against the step: measured, predicted, and their ratio."""

from __future__ import annotations

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from relufit.figures import ratios, style

_TITLES = {"sgd": "SGD", "qsgd": "QSGD"}
_MARKS = "osD^vPXdph*"
#: Room for labels to the right of the last curve.
_ROOM = 12


def draw(tables: list[pd.DataFrame]) -> Figure:
    """Draw the figure from the tables of points and of predictions."""
    measured, predictions = tables
    kinds = [kind for kind in _TITLES if (measured["kind"] == kind).any()]
    figure, panels = plt.subplots(
        2, len(kinds), figsize=(3.5 * len(kinds), 4.4), sharex="col", sharey="row", squeeze=False, height_ratios=[3, 1]
    )
    for (upper, lower), kind in zip(panels.T, kinds, strict=True):
        rows, curves = measured[measured["kind"] == kind], predictions[predictions["kind"] == kind]
        _panel(upper, lower, rows, curves)
        names = max((_sizes(cell, 0) for cell in rows["cell"]), key=len)
        upper.set(title=f"{_TITLES[kind]}, labelled ${names}$", xscale="log", yscale="log")
        upper.set_xlim(right=_ROOM * curves["step"].max())
        lower.set(xlabel=r"step size $\eta$")
        ratios.label(lower, ratios.reach(measured))
    panels[0][0].set_ylabel("share of the squared error\nthat a step takes off")
    panels[1][0].set_ylabel("measured /\npredicted")
    figure.legend([style.prediction_line()], ["predicted, nothing fitted"], loc="outside lower center")
    return figure


def _panel(upper: Axes, lower: Axes, measured: pd.DataFrame, predictions: pd.DataFrame) -> None:
    # In the order of their best steps, so that colours and marks follow the axis.
    order = predictions.groupby("cell")["step"].max().sort_values().index
    for cell, mark, colour in zip(order, _MARKS * len(order), style.colours(len(order)), strict=False):
        curve, rows = predictions[predictions["cell"] == cell], measured[measured["cell"] == cell]
        look = {"color": colour, "marker": mark}
        style.predicted(upper, curve["step"], curve["predicted"])
        ratios.points(upper, rows["step"], rows, **look)
        ratios.strip(lower, rows["step"], rows, **look)
        foot = curve.iloc[-1]
        upper.annotate(
            _sizes(cell, 1), (foot["step"], foot["predicted"]), (3, -1), textcoords="offset points", size="small"
        )


def _sizes(cell: str, part: int) -> str:
    """Return the names (part 0) or the values (part 1) in ``d = 100, m = 20``."""
    return ", ".join(size.split(" = ")[part] for size in cell.split(", "))
