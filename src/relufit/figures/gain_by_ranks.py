"""What QSGD is expected to save in bytes against two baselines, by exchange and number of ranks."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from relufit.figures import style


def draw(tables: list[pd.DataFrame]) -> Figure:
    """Draw the figure from the table of ranks."""
    (ranks,) = tables
    figure, panels = style.canvas(1, 2, figsize=(7.0, 3.6), sharey=True)
    shown = {"saving": "against fp32 in the same exchange", "baseline_saving": "against fp32 by all-reduce"}
    for axes, (column, title) in zip(panels, shown.items(), strict=True):
        for name, label in style.EXCHANGES.items():
            rows = ranks[ranks["exchange"] == name]
            if len(rows):
                colour, mark = style.EXCHANGE_LOOKS[name]
                axes.plot(
                    rows["workers"], rows[column], mark, linestyle="-", linewidth=1, color=colour, markersize=4,
                    markerfacecolor="white", label=label,
                )  # fmt: skip
        axes.axhline(1, color="0.55", linewidth=0.8, linestyle=":")
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set(title=title, xlabel="ranks $K$")
        style.thin_ticks(axes, ranks["workers"])
    panels[0].set_ylabel("bytes of SGD in fp32\nover those of QSGD, model")
    style.plain_ticks(panels[0])
    style.legend_below(figure, panels[0], prediction=False, ncols=3)
    return figure
