"""Relative error against seconds between hosts: a row of panels a rate, a column an exchange."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from relufit.figures import style

#: Runs with fewer levels than the others of their coding are dashed.
_DASHES = "--"
_BEYOND: dict[str, Any] = {"linestyle": ":", "linewidth": 1.4}
_END: dict[str, Any] = {"marker": "o", "markersize": 4, "linestyle": "none"}
_LEADER: dict[str, Any] = {
    "arrowstyle": "-",
    "linewidth": 0.6,
    "alpha": 0.6,
    "shrinkA": 0,
    "shrinkB": 2,
    "relpos": (0.5, 1.0),
}
#: Labels stand below the ends of their lines, in this part of a panel, and as far apart as this part of its width.
_ROOM, _APART = 0.42, 0.085


def draw(tables: list[pd.DataFrame]) -> Figure:
    """Draw the figure from the table of curves."""
    (curves,) = tables
    rates = sorted(curves["rate"].unique())
    exchanges = [exchange for exchange in style.EXCHANGES if (curves["exchange"] == exchange).any()]
    size = (0.8 + 2.3 * len(exchanges), 0.8 + 2.9 * len(rates))
    figure, panels = style.canvas(len(rates), len(exchanges), figsize=size, sharey=True, squeeze=False)
    modelled = (curves["source"] == "modelled").any()
    for row, rate in zip(panels, rates, strict=True):
        for axes, exchange in zip(row, exchanges, strict=True):
            subset = curves[(curves["rate"] == rate) & (curves["exchange"] == exchange)]
            axes.set_title(f"{style.EXCHANGES[exchange]}\n{rate / 1e6:g} Mbit/s")
            axes.set(xlabel="seconds, modelled" if modelled else "seconds, emulated links", yscale="log")
            if subset.empty:
                style.notice(axes, "not run at this rate")
            else:
                _panel(axes, subset, _levels(curves))
        row[0].set_ylabel(style.ERROR)
    least = curves["relative_error"].min()
    bottom = least ** (1 / (1 - _ROOM))
    panels[0][0].set_ylim(bottom, 2)
    powers = range(0, math.floor(math.log10(least)) - 1, -2)
    style.thin_ticks(panels[0][0], [10.0**power for power in powers], axis="y")
    panels[0][0].yaxis.set_major_formatter(lambda value, _: f"$10^{{{math.log10(value):.0f}}}$")
    handles = [
        Line2D([], [], color="0.3", linewidth=1.5, label="run; s: QSGD with s levels"),
        Line2D([], [], color="0.3", **_END, label="end of a run that was cut short"),
    ]
    if (curves["source"] == "extended").any():
        handles.append(Line2D([], [], color="0.3", **_BEYOND, label="beyond it, at its pace"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def _levels(curves: pd.DataFrame) -> int:
    """Return the most levels of all runs."""
    levels = curves["compressor"].str.extract(r"-s(\d+)", expand=False).dropna().astype(int)
    return int(levels.max()) if len(levels) else 0


def _panel(axes: Axes, curves: pd.DataFrame, most: int) -> None:
    ends: list[tuple[float, float, str, object]] = []
    for name, curve in curves.groupby("compressor", sort=False):
        compressor = str(name)
        colour, dashes = _colour(compressor), "-"
        if compressor.startswith("qsgd") and f"-s{most}-" not in compressor:
            dashes = _DASHES
        run, beyond = curve[curve["source"] != "extended"], curve[curve["source"] == "extended"]
        axes.plot(run["elapsed"], run["relative_error"], color=colour, linestyle=dashes, linewidth=1.5)
        if len(beyond):
            axes.plot(beyond["elapsed"], beyond["relative_error"], color=colour, **_BEYOND)
        last = curve.iloc[-1]
        if not curve["complete"].iloc[0]:
            axes.plot(run["elapsed"].iloc[-1:], run["relative_error"].iloc[-1:], color=colour, **_END)
        ends.append((last["elapsed"], last["relative_error"], _words(compressor), colour))
    most_seconds = curves["elapsed"].max()
    axes.set_xlim(-0.06 * most_seconds, 1.06 * most_seconds)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    _label(axes, sorted(ends), most_seconds)


def _label(axes: Axes, ends: list[tuple[float, float, str, object]], width: float) -> None:
    """Write the names of the lines below their ends, upright, from left to right and not over each other."""
    places = _spread([end[0] for end in ends], _APART * width, width)
    for place, (x, y, words, colour) in zip(places, ends, strict=True):
        axes.annotate(
            words,
            (x, y),
            (place, _ROOM - 0.05),
            textcoords=axes.get_xaxis_transform(),
            rotation=90,
            ha="center",
            va="top",
            fontsize="small",
            color=colour,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "linewidth": 0.6,
                "alpha": 0.6,
                "shrinkA": 0,
                "shrinkB": 2,
                "relpos": (0.5, 1.0),
            },
        )


def _spread(values: list[float], gap: float, most: float) -> list[float]:
    """Return places near some ascending values, at least so far apart and not beyond the most."""
    places: list[float] = []
    for value in values:
        places.append(max(value, places[-1] + gap) if places else value)
    for k in reversed(range(len(places))):
        places[k] = min(places[k], most if k == len(places) - 1 else places[k + 1] - gap)
    return places


def _words(compressor: str) -> str:
    """Return a name that is short enough to stand upright: ``SGD, fp32``, ``signs``, and ``s = 16, rans`` of QSGD."""
    return "signs" if compressor.startswith("sgd-sign") else style.name(compressor).removeprefix("QSGD, ")


def _colour(compressor: str) -> str:
    kind, value, *coding = compressor.split("-")
    return style.CODINGS[coding[-1]][0] if kind == "qsgd" else style.PLAIN[value]
