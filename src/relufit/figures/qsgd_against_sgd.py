"""What quantization costs in iterations and saves in bytes, against the number of levels."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from relufit.figures import ratios, style

_LOOK = {"marker": "o", "color": "#0072B2", "label": "QSGD, measured"}


def draw(tables: list[pd.DataFrame]) -> Figure:
    """Draw the figure from the summary and predictions of iterations, and from the exchanges and predictions of bytes.

    Bytes are those of the uplink, at each number of levels in the coding that is cheapest there.
    """
    summary, due, exchanges, saved = tables
    figure, (left, right) = style.canvas(1, 2, figsize=(7.0, 3.0))
    iterations = summary[summary["quantity"] == "iterations"]
    sgd, quantized = iterations[iterations["levels"].isna()].iloc[0], iterations.dropna(subset="levels")
    ratios.points(left, quantized["levels"], quantized, **_LOOK)
    style.predicted(left, due["levels"], due["iterations"])
    _line(left, quantized["levels"].min(), sgd["mean"], "SGD", "left")
    left.set(ylabel="iterations to the tolerance", yscale="log", title="iterations")
    style.plain_ticks(left)
    style.legend(left, loc="upper right")
    saving = exchanges.dropna(subset="levels").rename(
        columns={"uplink_saving": "mean", "uplink_low": "low", "uplink_high": "high"}
    )
    ratios.points(right, saving["levels"], saving, **_LOOK)
    best = saved.groupby("levels")["uplink_saving"].max()
    style.predicted(right, best.index.to_series(), best)
    _line(right, saving["levels"].max(), 1, "SGD, fp32", "right")
    right.set(ylabel="uplink bytes of SGD in fp32\nover QSGD's, same exchange", ylim=(0, None), title="uplink bytes")
    for axes, rows in ((left, quantized), (right, saving)):
        axes.set_xscale("log", base=2)
        axes.set(xlabel="quantization levels $s$")
        axes.set_xticks(rows["levels"], [f"{level:g}" for level in rows["levels"]])
        axes.xaxis.minorticks_off()
    return figure


def _line(axes: Axes, place: float, height: float, label: str, align: str) -> None:
    axes.axhline(height, color="0.55", linewidth=1.2)
    axes.annotate(label, (place, height), (0, 3), textcoords="offset points", ha=align, color="0.35")
