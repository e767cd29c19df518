"""Iterations against bytes that a rank sends, where sums are encoded again and for SGD in fp32 by all_reduce."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from relufit.figures import style

#: Room around the points, as factors of the least and the most value of each axis.
_ROOM = 1.5
#: Of the marks of predictions.
_CROSS: dict[str, Any] = {"markersize": 11, "markeredgewidth": 0.8}


def draw(tables: list[pd.DataFrame]) -> Figure:
    """Draw the figure from the table of runs."""
    (runs,) = tables
    figure, axes = style.canvas(figsize=(5.0, 3.6))
    # Labels are below and above the points by turns, in the order of the bytes, so that none lies over its neighbour.
    for nth, run in enumerate(runs.sort_values("sent").to_dict("records")):
        colour, mark = style.EXCHANGE_LOOKS[run["exchange"]]
        kilobytes, iterations = run["sent"] / 1000, run["iterations"]
        axes.errorbar(
            kilobytes,
            iterations,
            xerr=[[kilobytes - run["sent_low"] / 1000], [run["sent_high"] / 1000 - kilobytes]],
            yerr=[[iterations - run["iterations_low"]], [run["iterations_high"] - iterations]],
            color=colour,
            marker=mark,
            markersize=5,
            markerfacecolor="white" if pd.isna(run["levels"]) else colour,
            linestyle="",
            capsize=2,
        )
        axes.plot(run["sent_predicted"] / 1000, run["iterations_predicted"], "+", color="black", **_CROSS)
        words = f"{_name(run['levels'])}, {style.EXCHANGES[run['exchange']]}"
        side = "right" if nth and nth == len(runs) - 1 else "left"
        offset = (6 if side == "right" else -6, 10 if nth % 2 else -16)
        axes.annotate(words, (kilobytes, iterations), offset, textcoords="offset points", size="small", ha=side)
    axes.set(xscale="log", yscale="log", xlabel="kilobytes that a rank sends", ylabel="iterations")
    axes.set_xlim(runs["sent"].min() / 1000 / _ROOM, runs["sent"].max() / 1000 * _ROOM)
    axes.set_ylim(runs["iterations"].min() / _ROOM, runs["iterations"].max() * _ROOM)
    style.plain_ticks(axes)
    low, high = axes.get_xlim()
    ticks = [digit * 10**power for power in range(-3, 12) for digit in (1, 2, 5)]
    style.thin_ticks(axes, [tick for tick in ticks if low <= tick <= high])
    axes.plot([], [], "+", color="black", label="predicted, nothing fitted", **_CROSS)
    style.legend_below(figure, axes, prediction=False)
    return figure


def _name(levels: float) -> str:
    return "SGD, fp32" if pd.isna(levels) else f"QSGD, s = {levels:g}"
