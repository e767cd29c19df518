"""Iterations against bytes that a rank sends, of every compressor, with and without error feedback."""

from __future__ import annotations

import itertools
import re
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from relufit.figures import style

#: Room around the points, as factors of the least and the most value of each axis.
_ROOM = (2.2, 1.35)
_CROSS: dict[str, Any] = {"markersize": 8, "markeredgewidth": 0.8}
#: Groups of methods: their legend, colour and mark.
_GROUPS = {
    "casts": ("a cast, without error feedback", "black", "o"),
    "unbiased": ("an unbiased code, without error feedback", "#0072B2", "o"),
    "feedback": ("a code with error feedback", "#D55E00", "s"),
    "searched": ("with error feedback, best of several steps, no prediction", "#CC79A7", "D"),
}
#: Where a label may stand beside its point, in points: right, left, above and below, near and far.
_PLACES = [
    (x * (4 + far), y * (4 + far))
    for far in (0, 5, 10, 16, 24, 34, 46, 60)
    for x, y in ((1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1), (0, 1), (0, -1), (1, 0.5), (-1, 0.5), (0.5, -1))
]
_FONT = 7.0
#: In points; names that are farther away have a line to their point.
_NEAR = 8.0


def draw(tables: list[pd.DataFrame]) -> Figure:
    """Draw the figure from the tables of methods and of the limit."""
    methods, limit = tables
    exchanges, batches = list(dict.fromkeys(methods["exchange"])), sorted(methods["mini_batch"].unique())
    shown = methods.groupby("exchange").size()
    exchanges = [exchange for exchange in exchanges if shown[exchange] > len(batches)]
    figure, panels = style.canvas(
        len(batches), len(exchanges), figsize=(3.9 * len(exchanges), 3.4 * len(batches) + 0.6), squeeze=False
    )
    for (row, m), (column, exchange) in itertools.product(enumerate(batches), enumerate(exchanges)):
        axes = panels[row][column]
        here = methods[(methods["exchange"] == exchange) & (methods["mini_batch"] == m)]
        bound = limit[(limit["exchange"] == exchange) & (limit["mini_batch"] == m)]
        axes.set(xscale="log", yscale="log", title=f"{style.EXCHANGES[exchange]}, $m$ = {m}")
        axes.set_xlim(here["sent"].min() / 1000 / _ROOM[0], here["sent"].max() / 1000 * _ROOM[0])
        axes.set_ylim(here["iterations"].min() / _ROOM[1], here["iterations"].max() * _ROOM[1])
        _draw(axes, here, bound)
        if row == len(batches) - 1:
            axes.set_xlabel("kilobytes that a rank sends")
        if column == 0:
            axes.set_ylabel("iterations to the tolerance")
        style.plain_ticks(axes)
    style.legend_below(figure, *panels.flat, prediction=False, ncols=2)
    _label(figure, panels, methods)
    return figure


def _draw(axes: Axes, methods: pd.DataFrame, limit: pd.DataFrame) -> None:
    """Draw the points of a panel, their predictions and the limit."""
    for group, (label, colour, mark) in _GROUPS.items():
        rows = methods[[_group(row) == group for row in methods.to_dict("records")]]
        if rows.empty:
            continue
        kilobytes, iterations = rows["sent"] / 1000, rows["iterations"]
        axes.errorbar(
            kilobytes,
            iterations,
            xerr=[kilobytes - rows["sent_low"] / 1000, rows["sent_high"] / 1000 - kilobytes],
            yerr=[iterations - rows["iterations_low"], rows["iterations_high"] - iterations],
            color=colour,
            marker=mark,
            markersize=4.5,
            markerfacecolor="white" if group == "searched" else colour,
            linestyle="",
            linewidth=0.8,
            label=label,
        )
        axes.plot(rows["sent_predicted"] / 1000, rows["iterations_predicted"], "+", color="0.25", **_CROSS)
    if not limit.empty:
        words = "least bytes of an unbiased code without memory"
        limit = limit[limit["iterations"].between(*axes.get_ylim()) & (limit["sent"] / 1000).between(*axes.get_xlim())]
        axes.plot(limit["sent"] / 1000, limit["iterations"], color="0.6", linewidth=1, label=words)
    axes.plot([], [], "+", color="0.25", label="predicted, nothing fitted", **_CROSS)


def _group(row: dict[Any, Any]) -> str:
    if row["error_feedback"]:
        return "searched" if pd.isna(row["iterations_predicted"]) else "feedback"
    return "casts" if re.fullmatch(r"fp\d+", row["method"]) else "unbiased"


def _name(row: dict[Any, Any]) -> str:
    """Return a method as readers know it."""
    words = [row["compressor"].replace("qsgd", "QSGD").replace("_", " ")]
    for part in str(row["method"]).removesuffix("-feedback").split("-")[1:]:
        key, equals, value = part.partition("=")
        if key == "bits":
            words.append(f"{value} bit" + "s" * (value != "1"))
        elif key == "fraction":
            words.append(f"{100 * float(value):g} %")
        elif equals and value not in ("False", "fp16"):
            words.append(f"{value}" if key != "norm" else f"{value} norm")
        elif re.fullmatch(r"s\d+", part):
            words.append(f"s={part[1:]}")
    factor = row["step_factor"]
    own = row["error_feedback"] and abs(factor - 1) < 1e-9
    return " ".join(words) + (", SGD's step" if own else "")


def _label(figure: Figure, panels: Any, methods: pd.DataFrame) -> None:  # noqa: ANN401 - an array of axes
    """Write the names beside the points, each where it lies over no other name and no other point."""
    renderer: Any = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    # The layout is settled first: labels take no part in it.
    figure.draw_without_rendering()
    for axes in panels.flat:
        title = axes.get_title()
        here = [
            row
            for row in methods.to_dict("records")
            if f"{style.EXCHANGES[row['exchange']]}, $m$ = {row['mini_batch']}" == title
        ]
        points = [axes.transData.transform((row["sent"] / 1000, row["iterations"])) for row in here]
        size = figure.dpi / 72 * 4
        taken = [Bbox.from_bounds(x - size, y - size, 2 * size, 2 * size) for x, y in points]
        inside = axes.get_window_extent(renderer)
        for nth, row in enumerate(here):
            best, fewest = None, None
            for place in _PLACES:
                text = _annotate(axes, row, place)
                box = text.get_window_extent(renderer)
                text.remove()
                others = [other for number, other in enumerate(taken) if number != nth]
                lies_over = sum(box.overlaps(other) for other in others)
                lies_over += 5 * (not (inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 <= box.y1))
                if fewest is None or lies_over < fewest:
                    best, fewest = (place, box), lies_over
                if not lies_over:
                    break
            assert best
            taken.append(best[1])
            _annotate(axes, row, best[0])
            _lead(axes, row, best[0])


def _annotate(axes: Axes, row: dict[Any, Any], place: tuple[float, float]) -> mpl.text.Annotation:
    """Write a name at a place beside its point."""
    x, y = place
    return axes.annotate(
        _name(row),
        (row["sent"] / 1000, row["iterations"]),
        place,
        textcoords="offset points",
        size=_FONT,
        ha="left" if x > 2 else "right" if x < -2 else "center",
        va="bottom" if y > 1 else "top" if y < -1 else "center",
    )


def _lead(axes: Axes, row: dict[Any, Any], place: tuple[float, float]) -> None:
    """Draw a line from a point to a name that is not right beside it."""
    if max(map(abs, place)) > _NEAR:
        look = {"arrowstyle": "-", "linewidth": 0.6, "color": "0.5", "shrinkA": 0, "shrinkB": 2}
        point = (row["sent"] / 1000, row["iterations"])
        axes.annotate("", point, place, textcoords="offset points", arrowprops=look)
