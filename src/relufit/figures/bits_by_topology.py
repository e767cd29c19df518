"""What is saved against SGD in fp32 over each topology, against the number of levels."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from relufit.figures import ratios, style


class _Look(NamedTuple):
    label: str
    colour: str
    mark: str


#: With a relay, and all to all, the saving is that of the gradients alone.
_LOOKS = {
    "uplink": _Look("gradients alone: the uplink; a relay or all to all (model)", "#0072B2", "o"),
    "model_broadcast_fp32": _Look("and one broadcast of the weights, fp32 (model)", "#009E73", "^"),
    "model_master_fp32": _Look("and the weights to each rank, fp32 (model)", "#CC79A7", "D"),
    "master_fp64": _Look("and the weights to each rank, fp64 (measured)", "#D55E00", "s"),
}


def draw(tables: list[pd.DataFrame]) -> Figure:
    """Draw the figure from the tables of topologies and of predictions."""
    topologies, predictions = tables
    quantized = topologies.dropna(subset="levels")
    figure, axes = plt.subplots(figsize=(5.0, 4.2))
    for topology, its in _LOOKS.items():
        columns = {f"{topology}_{end}": column for end, column in _COLUMNS.items()}
        rows = quantized[["levels", *columns]].rename(columns=columns)
        # Marks of what was counted and not sent are open.
        face = "white" if topology.startswith("model_") else its.colour
        ratios.points(
            axes, rows["levels"], rows, color=its.colour, marker=its.mark, markerfacecolor=face, label=its.label
        )
        best = predictions.groupby("levels")[f"{topology}_saving"].max()
        style.predicted(axes, best.index.to_series(), best)
    axes.axhline(1, color="0.55", linewidth=0.8, linestyle=":")
    axes.annotate("SGD, fp32", (quantized["levels"].min(), 1), (0, 2), textcoords="offset points", color="0.35")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set(xlabel="quantization levels $s$", ylabel="bytes of SGD in fp32\nover those of QSGD")
    axes.set_xticks(quantized["levels"], [f"{level:g}" for level in quantized["levels"]])
    axes.xaxis.minorticks_off()
    ticks = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20]
    low, high = axes.get_ylim()
    axes.set_yticks([tick for tick in ticks if low <= tick <= high])
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.minorticks_off()
    style.legend(axes, loc="upper center", bbox_to_anchor=(0.5, -0.16))
    return figure


_COLUMNS = {"saving": "mean", "low": "low", "high": "high"}
