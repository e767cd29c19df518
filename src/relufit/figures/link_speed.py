"""How many times as fast an iteration of QSGD is as one of SGD in fp32, against the rate of the links."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from relufit.exchange import EXCHANGES
from relufit.figures import style

_CODINGS = ("packed", "rans")
_DASHES = {"packed": "-", "rans": "--"}
_BYTES: dict[str, Any] = {"color": "0.45", "linestyle": ":", "linewidth": 1.0, "zorder": 0}
#: Labels of the vertical axis: where it is long, and where it ends below so many times its beginning.
_TICKS, _FINE_TICKS, _SHORT = (0.5, 1, 2, 5, 10, 20, 50), (0.5, 0.7, 1, 1.1, 1.2, 1.3, 1.4, 1.5, 1.7, 2), 2.5
#: Points further above the ratio of the bytes than that are open.
_ABOVE = 1.02


def draw(tables: list[pd.DataFrame]) -> Figure:
    """Draw the figure from the table of timed iterations and that of the model: a row an exchange, a column a cell."""
    measured, model = tables
    model = model[model["against"] == model["exchange"]]
    cells = list(dict.fromkeys(model["cell"]))
    exchanges = [exchange for exchange in style.EXCHANGES if (model["exchange"] == exchange).any()]
    size = (max(5.6, 0.8 + 1.7 * len(cells)), 1.3 + 1.5 * len(exchanges))
    figure, panels = style.canvas(len(exchanges), len(cells), figsize=size, sharex=True, sharey="row", squeeze=False)
    open_points = False
    for row, exchange in zip(panels, exchanges, strict=True):
        for axes, cell in zip(row, cells, strict=True):
            timed, lines = (
                table[(table["cell"] == cell) & (table["exchange"] == exchange)] for table in (measured, model)
            )
            axes.set_visible(not lines.empty)
            if not lines.empty:
                open_points |= _panel(axes, timed, lines, _ratios(model[model["cell"] == cell], exchange))
        first = _shown(row)[0]
        first.set_ylabel(style.EXCHANGES[exchange].replace(", ", ",\n"))
        first.tick_params(labelleft=True)
    for column, cell in zip(panels.T, cells, strict=True):
        d, ranks = cell.removeprefix("d").split("-K")
        shown = _shown(column)
        shown[0].set_title(f"$d$ = {style.thousands(int(d))}, $K$ = {ranks}")
        shown[-1].set_xlabel("link rate, Mbit/s")
        shown[-1].tick_params(labelbottom=True)
    figure.supylabel("iteration of SGD in fp32 over one of QSGD, seconds over seconds", fontsize="medium")
    _legend(figure, timed=not measured.empty, open_points=open_points)
    return figure


def _shown(panels: Iterable[Axes]) -> list[Axes]:
    """Return the panels of exchanges that a cell has."""
    return [axes for axes in panels if axes.get_visible()]


def _ratios(model: pd.DataFrame, exchange: str) -> dict[str, float]:
    """Return the bytes of SGD in fp32 over those of QSGD in an exchange, by coding, from the model of a cell.

    No iteration is shorter than the busiest link needs for its bytes, whatever passes in a burst. So the ratio of the
    lower bounds, where gradients alone travel and the rate is the lowest, is that of the payloads. A master sends the
    weights in fp64, twice the bytes of a gradient in fp32, to every rank.
    """
    gradients_alone = [name for name, scheme in EXCHANGES.items() if scheme.replicas]
    slowest = model[(model["rate"] == model["rate"].min()) & model["exchange"].isin(gradients_alone)]
    payloads = {coding: slowest.loc[slowest["compressor"] == _best(model, coding), "low"].max() for coding in _CODINGS}
    return {coding: ratio if exchange in gradients_alone else 3 / (2 + 1 / ratio) for coding, ratio in payloads.items()}


def _panel(axes: Axes, measured: pd.DataFrame, model: pd.DataFrame, ratios: dict[str, float]) -> bool:
    """Draw an exchange in a cell; return whether points are open."""
    plain = measured[measured["compressor"] == "sgd-fp32"].set_index(["rate", "trial"])["seconds"]
    timed = above = False
    for coding in _CODINGS:
        colour, mark = style.CODINGS[coding]
        if not model["compressor"].str.endswith(f"-{coding}").any():  # not timed in this exchange
            continue
        name = _best(model, coding)
        curve = model[model["compressor"] == name].sort_values("rate")
        axes.plot(curve["rate"] / 1e6, curve["gain"], linestyle=_DASHES[coding], linewidth=1.2, color=colour)
        bound = ratios[coding]
        axes.axhline(bound, **_BYTES)
        quantized = measured[measured["compressor"] == name].set_index(["rate", "trial"])["seconds"]
        each = (plain / quantized).dropna().groupby("rate").agg(["mean", "min", "max"])
        for inside, rows in each.groupby(each["mean"] <= _ABOVE * bound):
            error = [rows["mean"] - rows["min"], rows["max"] - rows["mean"]]
            face = colour if inside else "white"
            look: dict[str, Any] = {"fmt": mark, "markersize": 4.5, "capsize": 2, "color": colour, "mfc": face}
            axes.errorbar(rows.index / 1e6, rows["mean"], error, **look)
            timed, above = True, above or not inside
    axes.axhline(1, color="0.75", linewidth=0.8, zorder=0)
    axes.set(xscale="log", yscale="log")
    low, high = axes.get_ylim()
    ticks = _TICKS if high > _SHORT * low else _FINE_TICKS
    style.thin_ticks(axes, [tick for tick in ticks if low <= tick <= high], axis="y")
    if not timed:
        axes.text(0.04, 0.06, "not timed", transform=axes.transAxes, fontsize="small", color="0.35", gid=style.NOTICE)
    return above


def _legend(figure: Figure, *, timed: bool, open_points: bool) -> None:
    handles = []
    for coding in _CODINGS:
        colour, mark = style.CODINGS[coding]
        line: dict[str, Any] = {"color": colour, "linestyle": _DASHES[coding], "linewidth": 1.2}
        handles.append(Line2D([], [], **line, label=f"{coding}, model"))
        if timed:
            handles.append(Line2D([], [], color=colour, marker=mark, linestyle="none", label=f"{coding}, measured"))
    handles.append(Line2D([], [], **_BYTES, label="ratio of the bytes"))
    if open_points:
        open_mark: dict[str, Any] = {"color": "0.35", "marker": "o", "mfc": "white", "linestyle": "none"}
        handles.append(Line2D([], [], **open_mark, label="open: above that ratio"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3)


def _best(model: pd.DataFrame, coding: str) -> str:
    """Return the compressor with that coding, and the most levels of those that have it."""
    names: list[str] = [name for name in dict.fromkeys(model["compressor"]) if name.endswith(f"-{coding}")]
    return max(names, key=lambda name: int(str(name).split("-")[1][1:]))
