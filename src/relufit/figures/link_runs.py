"""Relative error against seconds between hosts, a panel for each rate."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from relufit.figures import style

#: Okabe and Ito's, by the kind of the compressor: its first word and its last.
_COLOURS = {
    ("sgd", "fp64"): "black",
    ("sgd", "fp32"): "0.6",
    ("qsgd", "packed"): "#0072B2",
    ("qsgd", "rans"): "#D55E00",
    ("few", "packed"): "#56B4E9",
    ("few", "rans"): "#CC79A7",
}
_FEW = "s4"
_LINES: dict[str, Any] = {"all_to_all": "-", "relay": (0, (5, 1.5)), "master": (0, (1.5, 1.5))}
_EXCHANGES = {"all_to_all": "all to all", "relay": "relay", "master": "master, fp64 back"}


def draw(tables: list[pd.DataFrame]) -> Figure:
    """Draw the figure from the table of curves."""
    (curves,) = tables
    rates = sorted(curves["rate"].unique())
    figure, panels = plt.subplots(1, len(rates), figsize=(3.4 * len(rates) + 0.6, 3.4), sharey=True, squeeze=False)
    for axes, rate in zip(panels[0], rates, strict=True):
        _panel(axes, curves[curves["rate"] == rate])
        axes.set_title(f"links of {rate / 1e6:g} Mbit/s")
    panels[0][0].set_ylabel(r"relative error $\|w - w^*\| / \|w^*\|$")
    names = list(dict.fromkeys(curves["compressor"]))
    handles = [Line2D([], [], color=_colour(name), label=style.name(name)) for name in names]
    used = [exchange for exchange in _EXCHANGES if exchange in set(curves["exchange"])]
    handles += [Line2D([], [], color="0.3", linestyle=_LINES[its], label=_EXCHANGES[its]) for its in used]
    if (curves["source"] == "extended").any():
        handles.append(Line2D([], [], color="0.3", alpha=0.35, linewidth=3, label="beyond what was run, at its pace"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def _panel(axes: Axes, curves: pd.DataFrame) -> None:
    for (name, exchange), its in curves.groupby(["compressor", "exchange"], sort=False):
        colour, line = _colour(str(name)), _LINES[str(exchange)]
        run = its[its["source"] != "extended"]
        axes.plot(run["elapsed"], run["relative_error"], color=colour, linestyle=line, linewidth=1.4)
        beyond = its[its["source"] == "extended"]
        axes.plot(beyond["elapsed"], beyond["relative_error"], color=colour, alpha=0.35, linewidth=2.5, zorder=1)
        if not its["complete"].iloc[0]:
            axes.plot(run["elapsed"].iloc[-1:], run["relative_error"].iloc[-1:], "|", color=colour, markersize=6)
    kind = "modelled" if (curves["source"] == "modelled").any() else "emulated links"
    axes.set(xlabel=f"seconds, {kind}", xscale="log", yscale="log")
    axes.set_xlim(left=curves["elapsed"].max() / 100)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def _colour(compressor: str) -> str:
    kind, value, *coding = compressor.split("-")
    return _COLOURS["few" if value == _FEW else kind, coding[-1] if coding else value]
