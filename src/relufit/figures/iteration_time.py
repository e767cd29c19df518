"""Where the time of an iteration goes, part by part."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from relufit.figures import style

#: Okabe and Ito's palette, in the order of the parts of an iteration.
_COLOURS = {
    "compute": "#0072B2",
    "encode": "#56B4E9",
    "exchange": "#D55E00",
    "wait": "#E69F00",
    "decode": "#009E73",
    "update": "#CC79A7",
    "other": "#BBBBBB",
}


def draw(tables: list[pd.DataFrame]) -> Figure:
    """Draw the figure from the table of parts."""
    (parts,) = tables
    settings = list(dict.fromkeys(parts["setting"]))
    figure, axes = plt.subplots(figsize=(6.4, 0.8 + 0.45 * len(settings)))
    left = np.zeros(len(settings))
    for part, colour in _COLOURS.items():
        width = parts[parts["part"] == part].set_index("setting").loc[settings, "mean"].to_numpy() * 1e3
        axes.barh(range(len(settings)), width, left=left, color=colour, label=part, height=0.65)
        left += width
    axes.set_yticks(range(len(settings)), [style.name(setting) for setting in settings])
    axes.invert_yaxis()
    axes.set(xlabel="milliseconds an iteration, loopback of one machine")
    style.legend(axes, prediction=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
