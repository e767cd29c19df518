"""How all figures look: one palette that colour-blind readers can tell apart, one size, the same bits each time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
import seaborn as sns

mpl.use("Agg")

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from relufit.errors import DataError
from relufit.files import replacing

_SETTINGS: Any = {
    "svg.hashsalt": "relufit",
    "svg.fonttype": "none",
    "figure.constrained_layout.use": True,
    "figure.dpi": 150,
    "axes.titlesize": "medium",
    "legend.frameon": False,
    "font.size": 9,
}
_PREDICTED: dict[str, Any] = {"color": "black", "linestyle": (0, (4, 2)), "linewidth": 1.0}


@contextmanager
def in_house() -> Iterator[None]:
    """Apply the style within the block."""
    with sns.axes_style("ticks"), sns.plotting_context("paper"), mpl.rc_context(_SETTINGS):
        yield


def read(path: Path) -> pd.DataFrame:
    """Return a table.

    Raises
    ------
    DataError
        If it is missing.
    """
    if not path.is_file():
        raise DataError("there is no table", where=str(path), remedy="make it with `relufit claims`")
    return pd.read_csv(path)


def colours(count: int) -> Sequence[tuple[float, float, float]]:
    """Return colours for an ordered series: they differ in lightness, so also without colour."""
    palette: Sequence[tuple[float, float, float]] = sns.color_palette("viridis", count + 1)[:count]
    return palette


def name(setting: str) -> str:
    """Return the legend of a setting: ``qsgd-s16-packed`` is QSGD with s = 16, packed."""
    kind, value, *coding = setting.split("-")
    more = [word.replace("_", " ") for word in coding]
    return ", ".join([f"QSGD, s = {value[1:]}" if kind == "qsgd" else f"SGD, {value}", *more])


def band(axes: Axes, x: pd.Series, curve: pd.DataFrame, colour: object, label: str) -> None:
    """Draw a measured curve with its interval."""
    axes.plot(x, curve["relative_error"], color=colour, linewidth=1.6, label=label)
    axes.fill_between(x, curve["low"], curve["high"], color=colour, alpha=0.25, linewidth=0)


def predicted(axes: Axes, x: pd.Series, y: pd.Series) -> None:
    """Draw a predicted curve."""
    axes.plot(x, y, **_PREDICTED)


def prediction_line() -> Line2D:
    """Return a line as predictions are drawn, for a legend."""
    return Line2D([], [], **_PREDICTED)


def legend(axes: Axes, *, title: str | None = None, prediction: bool = True, **options: Any) -> None:  # noqa: ANN401 - matplotlib's own
    """Add a legend that explains the prediction too."""
    handles: list[Any]
    handles, labels = axes.get_legend_handles_labels()
    if prediction:
        handles.append(prediction_line())
        labels.append("predicted, nothing fitted")
    axes.legend(handles, labels, title=title, **options)


def save(figure: Figure, stem: Path) -> None:
    """Write ``{stem}.svg`` and ``{stem}.png``; the same figure gives the same bytes."""
    sns.despine(figure)
    for ending, metadata in (("svg", {"Date": None}), ("png", {"Software": None})):
        with replacing(stem.with_name(f"{stem.name}.{ending}")) as path:
            figure.savefig(path, format=ending, dpi=200, metadata=metadata)
