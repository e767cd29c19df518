"""Where the time of an iteration goes, part by part: the parts as a sum, and each by itself with its interval."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from relufit.figures import style

#: Okabe and Ito's palette, in the order of the parts of an iteration, with the marks of the parts.
_LOOKS = {
    "compute": ("#0072B2", "o"),
    "encode": ("#56B4E9", "s"),
    "exchange": ("#D55E00", "D"),
    "wait": ("#E69F00", "^"),
    "decode": ("#009E73", "v"),
    "update": ("#CC79A7", "P"),
    "other": ("#999999", "X"),
}
#: Parts of one setting lie above each other, over so much of its row.
_SPREAD = 0.6


def draw(tables: list[pd.DataFrame]) -> Figure:
    """Draw the figure from the table of parts."""
    (parts,) = tables
    settings = list(dict.fromkeys(parts["setting"]))
    figure, (left, right) = style.canvas(1, 2, figsize=(7.4, 1.2 + 0.5 * len(settings)), sharey=True)
    ends = np.zeros(len(settings))
    for k, (part, (colour, mark)) in enumerate(_LOOKS.items()):
        times = 1e3 * parts[parts["part"] == part].set_index("setting")[["mean", "low", "high"]].reindex(settings)
        left.barh(range(len(settings)), times["mean"], left=ends, color=colour, height=0.65)
        ends = ends + times["mean"].fillna(0).to_numpy()
        _dots(right, times, _SPREAD * (k / (len(_LOOKS) - 1) - 0.5), colour, mark, part)
    left.set_yticks(range(len(settings)), [style.name(setting) for setting in settings])
    left.invert_yaxis()
    left.set(title="sum of the mean parts", xlabel="ms an iteration, loopback of one machine")
    right.set(
        title="each part, mean and 90 % interval", xlabel="ms an iteration, loopback of one machine", xscale="log"
    )
    for row in range(1, len(settings)):
        right.axhline(row - 0.5, color="0.88", linewidth=0.8, zorder=0)
    style.legend_below(figure, right, prediction=False, ncols=len(_LOOKS), columnspacing=1.0, handletextpad=0.3)
    return figure


def _dots(axes: Axes, times: pd.DataFrame, shift: float, colour: str, mark: str, label: str) -> None:
    """Draw the means of a part with their intervals, as far as they are above zero, on a logarithmic axis."""
    shown = times[times["mean"] > 0]
    places = np.flatnonzero(times["mean"] > 0) + shift
    # An interval of few trials can reach below zero, which a logarithm does not show: it ends at a tenth of the mean.
    low = shown["low"].clip(lower=shown["mean"] / 10)
    bars = [shown["mean"] - low, shown["high"] - shown["mean"]]
    axes.errorbar(
        shown["mean"], places, xerr=bars, fmt=mark, color=colour, markersize=4, elinewidth=1, capsize=2, label=label
    )
