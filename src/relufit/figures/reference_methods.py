"""Iterations of SGD, GLM-tron, Kaczmarz, majority votes and delays, and errors of averages under label noise."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from relufit.figures import style

_NAMES = {"sgd": "SGD", "glm_tron": "GLM-tron", "kaczmarz": "Kaczmarz", "majority": "majority"}
#: Okabe and Ito's colours, with marks that can be told apart without colour.
_LOOKS = {
    "sgd": ("black", "o"),
    "glm_tron": ("#D55E00", "s"),
    "kaczmarz": ("#0072B2", "D"),
    "majority": ("#009E73", "^"),
}
#: Of delayed gradients, whatever they are.
_LATE = ("#CC79A7", "v")
#: Of the weights, and of their mean.
_COLOURS = {"weights": "0.45", "mean": "#0072B2"}
_WORDS = {"weights": "weights", "mean": "their mean"}
_MARGIN = 0.6


def draw(tables: list[pd.DataFrame]) -> Figure:
    """Draw the figure from the tables of methods and of averaged runs."""
    methods, averaging = tables
    figure, (left, right) = style.canvas(1, 2, figsize=(7.2, 4.2), width_ratios=(1, 1.2))
    _methods(left, methods)
    _averaging(right, averaging)
    left.set(xlabel="iterations over the prediction")
    right.set(xscale="log", yscale="log", xlabel="iteration", ylabel="relative error, root mean square")
    style.legend_below(figure, right, ncols=3)
    return figure


def _methods(axes: Axes, methods: pd.DataFrame) -> None:
    """Draw a line of the panel for each cell, the first one at the top, with its mean iterations beside its name."""
    for line, (_, row) in enumerate(methods.iterrows()):
        colour, mark = _LATE if row["delay"] else _LOOKS[row["gradient"]]
        mean, low, high = (
            row[column] / row["iterations_predicted"] for column in ("iterations", "iterations_low", "iterations_high")
        )
        look: dict[str, Any] = {"color": colour, "marker": mark, "markersize": 5, "elinewidth": 1, "capsize": 2}
        axes.errorbar([mean], [line], xerr=[[mean - low], [high - mean]], linestyle="none", **look)
    axes.set_yticks(range(len(methods)), [_label(row) for _, row in methods.iterrows()])
    axes.set_ylim(len(methods) - 1 + _MARGIN, -_MARGIN)
    style.predicted(axes, pd.Series([1.0, 1.0]), pd.Series(axes.get_ylim()))


def _label(row: pd.Series) -> str:
    parts = [_NAMES[row["gradient"]]]
    if row["gradient"] == "majority":
        parts.append(f"$K$ = {row['workers']:g}")
    if row["delay"]:
        parts.append(f"delay {row['delay']:g}")
    if pd.notna(row["levels"]):
        parts.append(f"$s$ = {row['levels']:g}")
    parts.append(f"$m$ = {row['mini_batch']:g}")
    if row["start"] != "moments":
        parts.append(f"from {row['start']}")
    took = f": {row['iterations']:.0f}" if pd.notna(row["iterations"]) else ""
    return ", ".join(parts) + took


def _averaging(axes: Axes, averaging: pd.DataFrame) -> None:
    """Draw both curves of each averaged run, told apart by dashes, and their predictions."""
    later = averaging[averaging["iteration"] > 0]
    for run, dashes in zip(dict.fromkeys(later["run"]), ("-", ":"), strict=False):
        for quantity, words in _WORDS.items():
            shown = later[(later["run"] == run) & (later["quantity"] == quantity)]
            if shown.empty:
                continue
            label = f"{shown['label'].iloc[0].replace('s =', '$s$ =')}: {words}"
            look: dict[str, Any] = {"color": _COLOURS[quantity], "linewidth": 1.8, "linestyle": dashes}
            axes.plot(shown["iteration"], shown["error"], label=label, **look)
            style.predicted(axes, shown["iteration"], shown["predicted"])
