"""Seconds to the tolerance, and speed-up over one host, against the number of ranks: strong and weak scaling."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from relufit.figures import style

#: Okabe and Ito's colours, with marks that can be told apart without colour.
_LOOKS = (("0.45", "s"), ("#0072B2", "o"), ("#D55E00", "D"), ("#009E73", "^"), ("#CC79A7", "v"))


def draw(tables: list[pd.DataFrame]) -> Figure:
    """Draw the figure from the table of scaling: seconds above, speed-ups below, a column a kind of mini-batch."""
    (points,) = tables
    batches = list(dict.fromkeys(points["batch"]))
    runs = [run for run in dict.fromkeys(points["run"]) if run != "one host"]
    looks = dict(zip(runs, _LOOKS, strict=False))
    figure, panels = style.canvas(2, len(batches), figsize=(7.0, 5.4), sharex=True, sharey="row", squeeze=False)
    for (above, below), batch in zip(panels.T, batches, strict=True):
        rows = points[points["batch"] == batch]
        for axes, column in ((above, "seconds"), (below, "speed_up")):
            _panel(axes, rows, column, looks)
        below.axhline(1, color="0.55", linewidth=0.8, linestyle=":")
        same = rows["mini_batch"].nunique() == 1
        samples = int(rows["mini_batch"].min()) if same else int((rows["mini_batch"] / rows["workers"]).min())
        above.set_title(f"{batch}: {samples} samples" + ("" if same else " a rank"))
        below.set_xlabel("ranks $K$")
        style.thin_ticks(below, points["workers"])
    panels[0][0].set_ylabel("seconds to the tolerance")
    panels[1][0].set_ylabel("speed-up over SGD on one host")
    handles = [
        Line2D([], [], color=colour, marker=mark, markersize=4, linewidth=1.2, label=style.name(run))
        for run, (colour, mark) in looks.items()
    ]
    handles.append(Line2D([], [], color="0.2", linewidth=1.2, label="planned, hosts of their own"))
    if (points["source"] == "measured").any():
        words = "planned, hosts that share this machine"
        handles.append(Line2D([], [], color="0.2", linewidth=1.2, linestyle=":", label=words))
        words = "iterations timed, emulated hosts"
        handles.append(Line2D([], [], color="0.2", marker="o", markersize=4, linestyle="none", label=words))
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def _panel(axes: Axes, rows: pd.DataFrame, column: str, looks: dict[str, tuple[str, str]]) -> None:
    one = rows[rows["run"] == "one host"]
    for run, (colour, mark) in looks.items():
        each = {source: rows[(rows["run"] == run) & (rows["source"] == source)] for source in rows["source"].unique()}
        planned = pd.concat([one, each["planned"]])
        axes.plot(planned["workers"], planned[column], color=colour, linewidth=1.2)
        if "measured" in each:
            shared = each["shared"]
            axes.plot(shared["workers"], shared[column], color=colour, linewidth=1.2, linestyle=":")
            timed = each["measured"]
            most, least = timed["high"] / timed["speed_up"], timed["low"] / timed["speed_up"]
            middle = timed[column]
            low, high = (middle * least, middle * most) if column == "speed_up" else (middle / most, middle / least)
            axes.errorbar(
                timed["workers"], middle, [middle - low, high - middle], fmt=mark, color=colour, markersize=4,
                elinewidth=0.8, capsize=2,
            )  # fmt: skip
    axes.plot(one["workers"], one[column], marker="*", color="black", markersize=6, linestyle="none")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    style.plain_ticks(axes)
