"""How long a payload is in each coding, and what that saves on the way to the tolerance."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from relufit.figures import style


def draw(tables: list[pd.DataFrame]) -> Figure:
    """Draw the figure from the tables of codings and of predictions."""
    codings, predictions = tables
    figure, (left, right) = style.canvas(1, 2, figsize=(7.0, 3.8))
    names = list(dict.fromkeys(codings["coding"]))
    levels = sorted(codings["levels"].unique())
    for coding in names:
        colour, mark = style.CODINGS[coding]
        rows = codings[codings["coding"] == coding].sort_values("levels")
        left.plot(rows["levels"], rows["bits"], mark, color=colour, markersize=4, label=coding)
        bars = [rows["saving"] - rows["low"], rows["high"] - rows["saving"]]
        right.errorbar(rows["levels"], rows["saving"], bars, fmt=mark, color=colour, markersize=4, capsize=3)
        expected = predictions[predictions["coding"] == coding]
        style.predicted(left, expected["levels"], expected["bits"])
        style.predicted(right, expected["levels"], expected["uplink_saving"])
    entropy = codings.drop_duplicates("levels").sort_values("levels")
    left.plot(entropy["levels"], entropy["entropy"], "-", color="0.55", linewidth=1.2, label="entropy of the levels")
    _line(left, levels, 32, "fp32")
    _line(left, levels, 16, "fp16")
    left.set(title="length of a payload", ylabel="payload in bits a coordinate", yscale="log")
    left.set_yticks([0.25, 0.5, 1, 2, 4, 8, 16, 32], ["1/4", "1/2", "1", "2", "4", "8", "16", "32"])
    _line(right, levels, 1, "SGD, fp32")
    # In an all-gather every saving is the same multiple of that against the baseline.
    even = float((codings["saving"] / codings["baseline_saving"]).mean())
    if math.isfinite(even):
        label = "as few as fp32 by all-reduce, in an all-gather (model)"
        right.axhline(even, color="0.35", linewidth=1.2, linestyle="-.", label=label)
    ylabel = "uplink bytes of SGD in fp32\nover those of QSGD, same exchange"
    right.set(title="bytes to the same error", ylabel=ylabel, ylim=(0, None))
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set(xlabel="quantization levels $s$")
        axes.set_xticks(levels, [f"{level:g}" for level in levels])
        axes.minorticks_off()
    style.legend_below(figure, left, right, ncols=3, columnspacing=1.2)
    return figure


def _line(axes: Axes, levels: list[float], height: float, label: str) -> None:
    axes.axhline(height, color="0.55", linewidth=0.8, linestyle=":")
    axes.annotate(label, (max(levels), height), (0, 2), textcoords="offset points", ha="right", color="0.35")
