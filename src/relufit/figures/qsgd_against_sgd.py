"""What quantization costs in iterations and saves in bytes, against the number of levels."""

from __future__ import annotations

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from relufit.figures import style

_BLUE = "#0072B2"


def draw(tables: list[pd.DataFrame]) -> Figure:
    """Draw the figure from the tables of summaries and of predictions."""
    summary, predictions = tables
    # The coding that the experiment runs with comes first.
    predictions = predictions[predictions["coding"] == predictions["coding"].iloc[0]]
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.0, 3.0))
    iterations = _quantity(summary, "iterations")
    base = summary[(summary["setting"] == "sgd-fp64") & (summary["quantity"] == "iterations")].iloc[0]
    _points(left, iterations, _BLUE, "QSGD, measured")
    style.predicted(left, predictions["levels"], predictions["iterations"])
    left.axhline(base["mean"], color="0.55", linewidth=1.2)
    left.annotate("SGD", (iterations["levels"].min(), base["mean"]), (0, 3), textcoords="offset points")
    left.set(ylabel="iterations to the tolerance")
    style.legend(left, loc="upper right")
    saving = _quantity(summary, "saving")
    _points(right, saving, _BLUE, "QSGD, measured")
    right.axhline(1, color="0.55", linewidth=1.2)
    right.annotate("SGD, fp32", (saving["levels"].max(), 1), (0, 3), textcoords="offset points", ha="right")
    style.predicted(right, predictions["levels"], predictions["saving"])
    right.set(ylabel="uplink bytes of SGD in fp32\nover those of QSGD", ylim=(0, None))
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set(xlabel="quantization levels $s$")
        axes.set_xticks(saving["levels"], [f"{level:g}" for level in saving["levels"]])
        axes.minorticks_off()
    left.set_yscale("log")
    return figure


def _quantity(summary: pd.DataFrame, name: str) -> pd.DataFrame:
    return summary[(summary["quantity"] == name) & summary["levels"].notna()].sort_values("levels")


def _points(axes: Axes, rows: pd.DataFrame, colour: str, label: str) -> None:
    bars = [rows["mean"] - rows["low"], rows["high"] - rows["mean"]]
    axes.errorbar(rows["levels"], rows["mean"], bars, fmt="o", color=colour, markersize=4, capsize=3, label=label)
