"""Relative error of SGD and QSGD against the bytes that the ranks send."""

from __future__ import annotations

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from relufit.figures import style


def draw(tables: list[pd.DataFrame]) -> Figure:
    """Draw the figure from the table of curves."""
    (curves,) = tables
    plain = [setting for setting in dict.fromkeys(curves["setting"]) if setting.startswith("sgd")]
    coded = [setting for setting in dict.fromkeys(curves["setting"]) if not setting.startswith("sgd")]
    figure, axes = plt.subplots(figsize=(5.2, 3.4))
    for setting, colour in zip(plain + coded, ["black", "0.55", *style.colours(len(coded))], strict=True):
        curve = curves[curves["setting"] == setting]
        style.band(axes, curve["uplink_bytes"] / 1e6, curve, colour, style.name(setting))
    axes.set(
        xlabel="payload sent by all ranks to the master [MB]",
        ylabel=r"relative error $\|w - w^*\| / \|w^*\|$",
        xscale="log",
        yscale="log",
    )
    style.legend(axes, prediction=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
