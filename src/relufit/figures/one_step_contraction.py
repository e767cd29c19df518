"""What one step takes off the squared error, against the step: measured, predicted, and their ratio."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from relufit.figures import ratios, style

#: By the kind of a cell, and whether the sum of the gradients is encoded again.
_TITLES = {("sgd", False): "SGD", ("qsgd", False): "QSGD", ("qsgd", True): "QSGD, sum encoded again"}
_MARKS = "osD^vPXdph*"
#: Room for labels to the right of the last curve.
_ROOM = 12
#: Labels are at least this factor on the share apart.
_APART = 1.5


def draw(tables: list[pd.DataFrame]) -> Figure:
    """Draw the figure from the tables of points and of predictions."""
    measured, predictions = (table.assign(again=table["cell"].map(_is_encoded_again)) for table in tables)
    kinds = [kind for kind in _TITLES if len(_of(measured, kind))]
    figure, panels = style.canvas(
        2, len(kinds), figsize=(3.5 * len(kinds), 4.4), sharex="col", sharey="row", squeeze=False, height_ratios=[3, 1]
    )
    for (upper, lower), kind in zip(panels.T, kinds, strict=True):
        rows, curves = _of(measured, kind), _of(predictions, kind)
        _panel(upper, lower, rows, curves)
        names = max((_names(cell) for cell in rows["cell"]), key=len)
        upper.set(title=f"{_TITLES[kind]}\nlabelled ${names}$", xscale="log", yscale="log")
        upper.set_xlim(right=_ROOM * curves["step"].max())
        lower.set(xlabel=r"step size $\eta$")
        ratios.label(lower, ratios.reach(measured))
    panels[0][0].set_ylabel("share of the squared error\nthat a step takes off")
    panels[1][0].set_ylabel("measured /\npredicted")
    figure.legend([style.prediction_line()], ["predicted, nothing fitted"], loc="outside lower center")
    return figure


def _of(table: pd.DataFrame, kind: tuple[str, bool]) -> pd.DataFrame:
    return table[(table["kind"] == kind[0]) & (table["again"] == kind[1])]


def _is_encoded_again(cell: str) -> bool:
    """Tell whether the words of a cell end with an exchange."""
    return " = " not in cell.rsplit(", ", maxsplit=1)[-1]


def _panel(upper: Axes, lower: Axes, measured: pd.DataFrame, predictions: pd.DataFrame) -> None:
    # In the order of their best steps, so that colours and marks follow the axis.
    order = predictions.groupby("cell")["step"].max().sort_values().index
    for cell, mark, colour in zip(order, _MARKS * len(order), style.colours(len(order)), strict=False):
        curve, rows = predictions[predictions["cell"] == cell], measured[measured["cell"] == cell]
        look = {"color": colour, "marker": mark}
        style.predicted(upper, curve["step"], curve["predicted"])
        ratios.points(upper, rows["step"], rows, **look)
        ratios.strip(lower, rows["step"], rows, **look)
    height = math.inf
    for cell, foot in predictions.groupby("cell").last().sort_values("predicted", ascending=False).iterrows():
        height = min(foot["predicted"], height / _APART)
        upper.annotate(_values(str(cell)), (foot["step"], height), (3, -1), textcoords="offset points", size="small")


def _names(cell: str) -> str:
    """Return ``d, m`` of ``d = 100, m = 20``."""
    return ", ".join(part.split(" = ")[0] for part in cell.split(", ") if " = " in part)


def _values(cell: str) -> str:
    """Return ``100, 20`` of ``d = 100, m = 20``; an exchange after them stays a word."""
    values = [part.split(" = ")[-1] for part in cell.split(", ")]
    # The title has it that the sum is encoded again.
    return ", ".join(style.EXCHANGES.get(value, value).partition(",")[0] for value in values)
