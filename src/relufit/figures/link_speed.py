"""What compression gains in seconds, against the rate of the links: measured, and by the model."""

from __future__ import annotations

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

_EXCHANGES = {"all_to_all": "all to all", "relay": "relay", "master": "master, fp64 back"}
#: Okabe and Ito's.
_COLOURS = {"all_to_all": "#0072B2", "relay": "#D55E00", "master": "#000000"}
_CODINGS = {"packed": ("o", "-"), "rans": ("^", "--")}


def draw(tables: list[pd.DataFrame]) -> Figure:
    """Draw the figure from the table of timed iterations and that of the model."""
    measured, model = tables
    cells = list(dict.fromkeys(model["cell"]))
    figure, panels = plt.subplots(1, len(cells), figsize=(2.2 * len(cells) + 0.6, 3.4), sharey=True, squeeze=False)
    for axes, cell in zip(panels[0], cells, strict=True):
        _panel(axes, measured[measured["cell"] == cell], model[model["cell"] == cell])
        d, ranks = cell.removeprefix("d").split("-K")
        thousands = f"{int(d):,}".replace(",", "\u2009")
        axes.set_title(f"$d$ = {thousands}, $K$ = {ranks}")
    panels[0][0].set_ylabel("times as fast as SGD with fp32")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def _panel(axes: Axes, measured: pd.DataFrame, model: pd.DataFrame) -> None:
    plain = measured[measured["compressor"] == "sgd-fp32"].set_index(["exchange", "rate", "trial"])["seconds"]
    for exchange, words in _EXCHANGES.items():
        for coding, (mark, line) in _CODINGS.items():
            name = _best(model, coding)
            colour = _COLOURS[exchange]
            curve = model[(model["exchange"] == exchange) & (model["compressor"] == name)]
            axes.plot(curve["rate"] / 1e6, curve["gain"], linestyle=line, linewidth=1.0, color=colour)
            its = measured[(measured["exchange"] == exchange) & (measured["compressor"] == name)]
            gain = (plain / its.set_index(["exchange", "rate", "trial"])["seconds"]).dropna()
            label = f"{words}, {coding}"
            if gain.empty:
                axes.plot([], [], linestyle=line, marker=mark, label=label, color=colour)
                continue
            each = gain.groupby("rate").agg(["mean", "min", "max"])
            error = [each["mean"] - each["min"], each["max"] - each["mean"]]
            axes.errorbar(each.index / 1e6, each["mean"], error, fmt=mark, markersize=4.5, capsize=2, color=colour)
            axes.plot([], [], linestyle=line, marker=mark, label=label, color=colour)
    axes.axhline(1, color="0.7", linewidth=0.8, zorder=0)
    axes.set(xscale="log", yscale="log", xlabel="link, Mbit/s")


def _best(model: pd.DataFrame, coding: str) -> str:
    """Return the compressor with that coding, and the most levels of those that have it."""
    names: list[str] = [name for name in dict.fromkeys(model["compressor"]) if name.endswith(f"-{coding}")]
    return max(names, key=lambda name: int(str(name).split("-")[1][1:]))
