"""Measured over predicted, as a strip below a panel: deviations that a logarithmic axis hides."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from relufit.figures import style


def points(axes: Axes, x: pd.Series, rows: pd.DataFrame, **look: Any) -> None:  # noqa: ANN401 - matplotlib's own
    """Draw means with their intervals, of a table with ``mean``, ``low`` and ``high``."""
    bars = [rows["mean"] - rows["low"], rows["high"] - rows["mean"]]
    look = {"linestyle": "none", "markersize": 4, "elinewidth": 1, "capsize": 2, **look}
    axes.errorbar(x, rows["mean"], bars, **look)


def strip(axes: Axes, x: pd.Series, rows: pd.DataFrame, **look: Any) -> None:  # noqa: ANN401
    """Draw means over their ``predicted``, with their intervals."""
    points(axes, x, rows[["mean", "low", "high"]].div(rows["predicted"], axis=0), **look)


def label(axes: Axes, reach: float) -> None:
    """Draw the line of agreement, and let the axis reach as far from it on both sides."""
    ends = axes.get_xlim()
    style.predicted(axes, pd.Series(ends), pd.Series([1.0, 1.0]))
    axes.set_xlim(*ends)
    axes.set(ylim=(1 - reach, 1 + reach))


def reach(*tables: pd.DataFrame) -> float:
    """Return how far the intervals of some tables reach from agreement, and a little more."""
    ends = [table[end] / table["predicted"] - 1 for table in tables for end in ("low", "high")]
    return 1.15 * float(pd.concat(ends).abs().max())
