"""Relative error against seconds, real ranks on a cluster."""

from __future__ import annotations

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from relufit.figures import style


def draw(tables: list[pd.DataFrame]) -> Figure:
    """Draw the figure from the table of curves."""
    (curves,) = tables
    settings = list(dict.fromkeys(curves["setting"]))
    coded = len([setting for setting in settings if setting.startswith("qsgd")])
    figure, axes = plt.subplots(figsize=(5.2, 3.2))
    for setting, colour in zip(settings, ["black", "0.55", *style.colours(coded)], strict=True):
        curve = curves[curves["setting"] == setting]
        style.band(axes, curve["elapsed"], curve, colour, style.name(setting))
    axes.set(
        xlabel="seconds since the initial weights, loopback of one machine",
        ylabel=r"relative error $\|w - w^*\| / \|w^*\|$",
        yscale="log",
    )
    style.legend(axes, prediction=False, loc="upper right")
    return figure
