"""Relative error against seconds between hosts."""

from __future__ import annotations

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from relufit.figures import style

_WORDS = {"master": "with a master", "relay": "with a relay", "all_to_all": "all to all"}


def draw(tables: list[pd.DataFrame]) -> Figure:
    """Draw the figure from the table of curves."""
    (curves,) = tables
    settings = list(dict.fromkeys(curves["setting"]))
    figure, axes = plt.subplots(figsize=(5.2, 3.2))
    for setting, colour in zip(settings, ["black", "0.55", "#D55E00", "#0072B2"], strict=False):
        curve = curves[curves["setting"] == setting]
        name, exchange = setting.removeprefix("run-").rsplit("-", 1)
        style.band(axes, curve["elapsed"], curve, colour, f"{style.name(name)}, {_WORDS[exchange]}")
    axes.set(
        xlabel="seconds since the initial weights, emulated links",
        ylabel=r"relative error $\|w - w^*\| / \|w^*\|$",
        yscale="log",
    )
    style.legend(axes, prediction=False, loc="upper right")
    return figure
