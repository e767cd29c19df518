"""Relative error against the bytes that the ranks send: other compressors, larger batches, and the rows themselves."""

from __future__ import annotations

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from relufit.figures import style

_SINGLE, _PLAIN, _BEST = "sgd-fp32", "0.4", "#0072B2"
_OTHERS = ("0.7", "#D55E00", "#CC79A7", "#56B4E9")
_MARKS = "Dsv^"


def draw(tables: list[pd.DataFrame]) -> Figure:
    """Draw the figure from the tables of curves and of summaries."""
    curves, summary = tables
    names = list(dict.fromkeys(curves["setting"]))
    single = curves[curves["setting"] == _SINGLE]
    batches = [name for name in names if name.startswith(f"{_SINGLE}-m")]
    others = [name for name in names if name.startswith("sgd") and name not in (_SINGLE, *batches)]
    quantized = [name for name in names if name.startswith("qsgd")]
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.0, 3.8), sharex=True, sharey=True)
    for axes in (left, right):
        style.band(axes, single["uplink_bytes"] / 1e6, single, _PLAIN, "SGD, fp32")
    looks = [
        *zip(others, _OTHERS * len(others), strict=False),
        *zip(quantized, style.colours(len(quantized)), strict=True),
    ]
    for name, colour in looks:
        _curve(left, curves[curves["setting"] == name], colour, _label(name))
    best = min(quantized, key=lambda name: _last(curves, name))
    _curve(right, curves[curves["setting"] == best], _BEST, _label(best))
    for name, colour in zip(batches, _OTHERS[1:] * len(batches), strict=False):
        _curve(right, curves[curves["setting"] == name], colour, f"SGD, fp32, $m$ = {name.rsplit('-m', 1)[1]}")
    _rows(right, summary)
    style.predicted(left, single["predicted_bytes"] / 1e6, single["predicted"])
    style.predicted(right, single["predicted_bytes"] / 1e6, single["predicted"])
    left.set(title="compressors", ylabel=r"relative error $\|w - w^*\| / \|w^*\|$", xscale="log", yscale="log")
    right.set(title="larger batches, and rows sent once")
    for axes in (left, right):
        axes.set_xlabel("sent by all ranks [MB]")
        style.legend(axes, loc="lower left", fontsize="small")
    # Room for the legends.
    left.set_xlim(left=left.get_xlim()[0] / 4)
    return figure


def _curve(axes: Axes, curve: pd.DataFrame, colour: object, label: str) -> None:
    style.band(axes, curve["uplink_bytes"] / 1e6, curve, colour, label)
    style.predicted(axes, curve["predicted_bytes"] / 1e6, curve["predicted"])


def _last(curves: pd.DataFrame, name: str) -> float:
    return float(curves.loc[curves["setting"] == name, "uplink_bytes"].max())


def _label(name: str) -> str:
    """Return the legend of a setting without its coding, the cheapest."""
    kind, value, *_ = name.split("-")
    return style.name(f"{kind}-{value}")


def _rows(axes: Axes, summary: pd.DataFrame) -> None:
    """Draw what is sent and reached where rows are sent once."""
    sent = summary[summary["setting"].str.startswith("rows-")].pivot(index="setting", columns="quantity", values="mean")
    for (name, row), mark in zip(sent.iterrows(), _MARKS * len(sent), strict=False):
        label = "all active rows" if name == "rows-all" else f"{row['rows']:.0f} active rows"
        axes.plot(row["bytes"] / 1e6, row["relative_error"], mark, color="#009E73", markersize=5, label=label)
