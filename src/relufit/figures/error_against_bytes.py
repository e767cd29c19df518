"""Relative error against the bytes that the ranks send: levels, other compressors, larger batches, rows sent once."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from relufit.figures import style

_SINGLE = "sgd-fp32"
#: Okabe and Ito's colours of other compressors and of larger batches.
_OTHERS = {"sgd-fp16": style.PLAIN["fp16"], "sgd-natural": "#D55E00", "sgd-ternary": "#CC79A7"}
_BATCHES = ("#56B4E9", "#0072B2")
_ROWS, _ROW_MARKS = "#009E73", "Ds"
_MARKS = style.MARKS + "X*"


def draw(tables: list[pd.DataFrame]) -> Figure:
    """Draw the figure from the tables of curves and of summaries."""
    curves, summary = tables
    names = list(dict.fromkeys(curves["setting"]))
    batches = [name for name in names if name.startswith(f"{_SINGLE}-m")]
    quantized = [name for name in names if name.startswith("qsgd")]
    others = [name for name in names if name not in (_SINGLE, *batches, *quantized)]
    best = [min(quantized, key=lambda name: _last(curves, name))] if quantized else []
    figure, panels = style.canvas(1, 3, figsize=(8.0, 4.4), sharex=True, sharey=True)
    shown = (
        ("QSGD, by levels", [_SINGLE, *quantized]),
        ("other compressors", [_SINGLE, *best, *others]),
        ("larger batches, rows sent once", [_SINGLE, *best, *batches]),
    )
    for axes, (title, settings) in zip(panels, shown, strict=True):
        for nth, (name, mark) in enumerate(zip(settings, _MARKS * len(settings), strict=False)):
            curve = curves[curves["setting"] == name]
            colour = _BATCHES[batches.index(name) % len(_BATCHES)] if name in batches else _colour(name)
            style.band(axes, curve["uplink_bytes"] / 1e6, curve, colour, _label(name), mark=mark, nth=nth)
            style.predicted(axes, curve["predicted_bytes"] / 1e6, curve["predicted"])
        single = curves[curves["setting"] == _SINGLE]
        axes.plot(single["baseline_bytes"] / 1e6, single["relative_error"], ":", color="black", linewidth=1.2)
        axes.set(title=title, xlabel="sent by all ranks [MB]", xscale="log", yscale="log")
    _rows(panels[2], summary)
    panels[0].set_ylabel(style.ERROR)
    for axes in panels:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16))
    handles = [style.prediction_line(), Line2D([], [], color="black", linestyle=":", linewidth=1.2)]
    labels = ["predicted, nothing fitted", "SGD, fp32, by all-reduce (model)"]
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def _colour(name: str) -> object:
    if name.startswith(("qsgd", _SINGLE)):
        return style.colour_of(name)
    return next((colour for known, colour in _OTHERS.items() if name.startswith(known)), "0.75")


def _last(curves: pd.DataFrame, name: str) -> float:
    return float(curves.loc[curves["setting"] == name, "uplink_bytes"].max())


def _label(name: str) -> str:
    """Return the legend of a setting without its coding, the cheapest, and with its mini-batch where it has another."""
    kind, value, *more = name.split("-")
    if value == "max":
        return style.name("-".join([kind, value, more[0]]))
    batch = [f"$m$ = {word[1:]}" for word in more if kind == "sgd" and word.startswith("m")]
    return ", ".join([style.name(f"{kind}-{value}"), *batch])


def _rows(axes: Axes, summary: pd.DataFrame) -> None:
    """Draw what is sent and reached where rows are sent once."""
    sent = summary[summary["setting"].str.startswith("rows-")].pivot(index="setting", columns="quantity", values="mean")
    for (name, row), mark in zip(sent.iterrows(), _ROW_MARKS * len(sent), strict=False):
        label = "all active rows" if name == "rows-all" else f"{row['rows']:.0f} active rows"
        axes.plot(row["bytes"] / 1e6, row["relative_error"], mark, color=_ROWS, markersize=7, label=label)
