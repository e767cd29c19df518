"""Relative error of SGD and QSGD against iterations: all runs, and those that take about as long as SGD."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from relufit.figures import style

_MARKS = style.MARKS + "X"
#: The first iteration on the logarithmic axis; the caption says so.
_FROM = 10
#: The right panel has the runs whose curves end within so many times the iterations of that of SGD.
_NEAR = 2


def draw(tables: list[pd.DataFrame]) -> Figure:
    """Draw the figure from the table of curves."""
    (curves,) = tables
    # fp32 takes the same path as fp64 to the last digits that a figure shows.
    settings = [setting for setting in dict.fromkeys(curves["setting"]) if setting != "sgd-fp32"]
    marks = dict(zip(settings, _MARKS * len(settings), strict=False))
    ends = curves.groupby("setting")["iteration"].max()
    near = [setting for setting in settings if ends[setting] <= _NEAR * ends[settings[0]]]
    figure, (left, right) = style.canvas(1, 2, figsize=(7.4, 3.8), sharey=True)
    # The first iterations would take half of a logarithmic axis.
    _panel(left, curves[curves["iteration"] >= _FROM], settings, marks)
    _panel(right, curves, near, marks)
    left.set(xlabel="iterations", ylabel=style.ERROR, xscale="log", yscale="log", title="all runs, logarithmic axis")
    right.set(xlabel="iterations", title=f"runs of at most {_NEAR} times SGD's iterations")
    right.set_xlim(left=0)
    style.legend_below(figure, left, ncols=4)
    return figure


def _panel(axes: Axes, curves: pd.DataFrame, settings: Iterable[str], marks: dict[str, str]) -> None:
    for nth, setting in enumerate(settings):
        curve = curves[curves["setting"] == setting]
        colour, mark = style.colour_of(setting), marks[setting]
        style.band(axes, curve["iteration"], curve, colour, style.name(setting), mark=mark, nth=nth)
        style.predicted(axes, curve["iteration"], curve["predicted"])
