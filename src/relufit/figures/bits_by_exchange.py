"""What is saved against SGD in fp32, in the same exchange and by all-reduce, against the number of levels."""

from __future__ import annotations

from typing import Any, NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from relufit.figures import ratios, style


class _Look(NamedTuple):
    label: str
    colour: str
    mark: str


#: With a relay, and with an all-gather, the saving in the same exchange is that of the gradients alone.
_LOOKS = {
    "uplink": _Look("gradients alone: uplink (measured), relay, all-gather (model)", "#0072B2", "o"),
    "model_broadcast_fp32": _Look("and one broadcast of the weights, fp32 (model)", "#009E73", "^"),
    "model_master_fp32": _Look("and the weights to each rank, fp32 (model)", "#CC79A7", "D"),
    "master_fp64": _Look("and the weights to each rank, fp64 (measured)", "#D55E00", "s"),
}


#: Whole exchanges, held against SGD in fp32 by all-reduce.
_AGAINST_BASELINE = {
    "model_all_gather": _Look("an all-gather (model)", "#0072B2", "v"),
    "model_relay": _Look("a relay (model)", "#56B4E9", "P"),
    **{name: look for name, look in _LOOKS.items() if name != "uplink"},
}
_EQUAL: dict[str, Any] = {"color": "0.55", "linewidth": 0.8, "linestyle": ":"}
_ENDS = ("saving", "low", "high")
_TICKS = [0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20]


def draw(tables: list[pd.DataFrame]) -> Figure:
    """Draw the figure from the tables of exchanges and of predictions."""
    exchanges, predictions = tables
    quantized = exchanges.dropna(subset="levels")
    figure, (left, right) = style.canvas(1, 2, figsize=(7.6, 4.4), sharey=True)
    _panel(left, quantized, predictions, _LOOKS, "")
    _panel(right, quantized, predictions, _AGAINST_BASELINE, "baseline_")
    left.set(title="against fp32 in the same exchange", ylabel="bytes of SGD in fp32\nover those of QSGD")
    right.set(title="against fp32 by all-reduce (model)")
    low, high = left.get_ylim()
    left.set_yticks([tick for tick in _TICKS if low <= tick <= high])
    left.yaxis.set_major_formatter("{x:g}")
    left.yaxis.minorticks_off()
    equal = Line2D([], [], **_EQUAL)
    style.legend_below(figure, left, right, more=[(equal, "as many bytes as SGD in fp32")], ncols=2, columnspacing=1.2)
    return figure


def _panel(axes: Axes, quantized: pd.DataFrame, predictions: pd.DataFrame, looks: dict[str, _Look], kind: str) -> None:
    for exchange, look in looks.items():
        columns = {f"{exchange}_{kind}{end}": "mean" if end == "saving" else end for end in _ENDS}
        rows = quantized[["levels", *columns]].rename(columns=columns)
        # Marks of what was counted and not sent are open; by all-reduce fp32 was.
        face = "white" if kind or exchange.startswith("model_") else look.colour
        ratios.points(
            axes, rows["levels"], rows, color=look.colour, marker=look.mark, markerfacecolor=face, label=look.label
        )
        best = predictions.groupby("levels")[f"{exchange}_{kind}saving"].max()
        style.predicted(axes, best.index.to_series(), best)
    axes.axhline(1, **_EQUAL)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set(xlabel="quantization levels $s$")
    axes.set_xticks(quantized["levels"], [f"{level:g}" for level in quantized["levels"]])
    axes.xaxis.minorticks_off()
