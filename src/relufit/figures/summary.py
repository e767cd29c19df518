"""The reproduction on one page: what each claim of the abstract rests on, measured and predicted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from relufit.figures import style
from relufit.figures.sample_complexity import until_all_succeed

_BLUE, _GREY = "#0072B2", "0.55"
_BESIDE: dict[str, Any] = {"textcoords": "offset points"}
_ERROR = "relative error"


def draw(tables: list[pd.DataFrame]) -> Figure:
    """Draw the figure: the tables are those that `relufit.figures.FIGURES` names, in that order."""
    curves, batches, batch_line, cells, chances, summary, due, codings, saved, ranks = tables
    figure, panels = style.canvas(2, 3, figsize=(7.6, 5.6))
    parts: list[tuple[Callable[..., None], tuple[pd.DataFrame, ...]]] = [
        (_geometric, (curves,)),
        (_samples, (cells, chances)),
        (_batches, (batches, batch_line)),
        (_ranks, (ranks,)),
        (_levels, (summary, due)),
        (_bytes, (codings, saved)),
    ]
    for axes, letter, (panel, inputs) in zip(panels.flat, "abcdef", parts, strict=True):
        if any(table.empty for table in inputs):
            style.notice(axes, "no data: a table of this panel has no rows")
        else:
            panel(axes, *inputs)
        axes.set_title(f"{letter}  {axes.get_title()}", loc="left", fontsize="small")
        axes.set_title("")
    figure.legend(
        [style.prediction_line()],
        ["predicted, nothing fitted; marks and bands: measured, 90 % interval"],
        loc="outside lower center",
    )
    return figure


def _geometric(axes: Axes, curves: pd.DataFrame) -> None:
    curves = curves[curves["sampling"] == curves["sampling"].iloc[0]]
    ratios = sorted(curves["ratio"].unique())
    for ratio, mark in zip(ratios, style.MARKS * len(ratios), strict=False):
        curve = curves[curves["ratio"] == ratio]
        style.band(axes, curve["iteration"] / 1e3, curve, style.ratio_colour(ratio), f"{ratio:g}", mark=mark)
        style.predicted(axes, curve["iteration"] / 1e3, curve["predicted"])
    axes.set(title="SGD, drawn with replacement", xlabel="iterations, thousands", ylabel=_ERROR, yscale="log")
    axes.set_xlim(left=0)
    axes.yaxis.minorticks_off()
    axes.legend(title=r"$n/d$", loc="upper right", handlelength=1.2, labelspacing=0.2)


def _samples(axes: Axes, cells: pd.DataFrame, chances: pd.DataFrame) -> None:
    cells = until_all_succeed(cells[cells["method"] == "least_squares"])
    dimensions, ends = sorted(cells["dimension"].unique()), (cells["ratio"].min(), cells["ratio"].max())
    for dimension, colour, mark in zip(dimensions, style.colours(len(dimensions)), style.MARKS, strict=False):
        rows = cells[cells["dimension"] == dimension]
        bars = [rows["share"] - rows["low"], rows["high"] - rows["share"]]
        axes.errorbar(rows["ratio"], rows["share"], bars, fmt=mark, color=colour, markersize=3, label=f"{dimension:g}")
        line = chances[(chances["dimension"] == dimension) & chances["ratio"].between(*ends)]
        style.predicted(axes, line["ratio"], line["probability"])
    axes.set(title="least squares, exact recovery", xlabel="samples $n/d$", ylabel="share of trials")
    axes.legend(title="$d$", loc="lower right", handlelength=1.0, labelspacing=0.2)


def _batches(axes: Axes, summary: pd.DataFrame, predictions: pd.DataFrame) -> None:
    _points(axes, summary[summary["quantity"] == "iterations"], "mini_batch")
    style.predicted(axes, predictions["mini_batch"], predictions["iterations"])
    critical = predictions["critical"].iloc[0]
    axes.axvline(critical, color=_GREY, linestyle=":", linewidth=1.2)
    across = axes.get_xaxis_transform()
    axes.annotate("$2d+3$", (critical, 0.97), (-3, 0), xycoords=across, ha="right", va="top", **_BESIDE)
    axes.set(title="SGD by mini-batch", xlabel="mini-batch $m$", ylabel="iterations", xscale="log", yscale="log")
    axes.minorticks_off()


def _ranks(axes: Axes, iterations: pd.DataFrame) -> None:
    iterations = iterations[iterations["given"] == "mini-batch"]
    kinds = sorted(iterations["levels"].dropna().unique())
    colours: list[Any] = [*(style.level_colour(levels) for levels in kinds), style.PLAIN["fp64"]]
    for levels, colour, mark in zip([*kinds, None], colours, style.MARKS, strict=False):
        rows = iterations[iterations["levels"].isna() if levels is None else iterations["levels"] == levels]
        _points(axes, rows, "workers", colour, mark)
        style.predicted(axes, rows["workers"], rows["predicted"])
        label = "SGD" if levels is None else f"$s$ = {levels:g}"
        end = (rows["workers"].iloc[-1], rows["mean"].iloc[-1])
        axes.annotate(label, end, (0, 6 if levels else -13), ha="right", **_BESIDE)
    axes.set(title="SGD and QSGD by ranks", xlabel="ranks $K$, same $m$", ylabel="iterations", ylim=(0, None))
    _powers(axes, iterations["workers"])


def _levels(axes: Axes, summary: pd.DataFrame, predictions: pd.DataFrame) -> None:
    iterations = summary[summary["quantity"] == "iterations"]
    _points(axes, iterations[iterations["levels"].notna()], "levels")
    style.predicted(axes, predictions["levels"], predictions["iterations"])
    base = iterations[iterations["setting"] == "sgd-fp64"].iloc[0]["mean"]
    axes.axhline(base, color=_GREY, linewidth=1.2)
    axes.annotate("SGD", (iterations["levels"].min(), base), (0, 3), **_BESIDE)
    axes.set(title="QSGD by levels", xlabel="levels $s$", ylabel="iterations", yscale="log")
    style.plain_ticks(axes)
    _powers(axes, iterations["levels"].dropna())


def _bytes(axes: Axes, codings: pd.DataFrame, predictions: pd.DataFrame) -> None:
    for coding, (colour, mark) in style.CODINGS.items():
        rows = codings[codings["coding"] == coding].rename(columns={"saving": "mean"})
        if len(rows):
            _points(axes, rows, "levels", colour, mark, coding)
            line = predictions[predictions["coding"] == coding]
            style.predicted(axes, line["levels"], line["uplink_saving"])
    axes.axhline(1, color=_GREY, linewidth=1.2)
    axes.annotate("SGD, fp32", (codings["levels"].max(), 1), (0, 3), ha="right", **_BESIDE)
    axes.set(
        title="QSGD uplink by coding",
        xlabel="levels $s$",
        ylabel="bytes of fp32, same\nexchange, over QSGD's",
        ylim=(0, None),
    )
    axes.legend(loc="upper left", handlelength=1.0, labelspacing=0.2)
    _powers(axes, codings["levels"])


def _powers(axes: Axes, levels: pd.Series) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(sorted(levels.unique()), [f"{level:g}" for level in sorted(levels.unique())])
    axes.xaxis.minorticks_off()


def _points(
    axes: Axes, rows: pd.DataFrame, x: str, colour: str = _BLUE, mark: str = "o", label: str | None = None
) -> None:
    bars = [rows["mean"] - rows["low"], rows["high"] - rows["mean"]]
    axes.errorbar(rows[x], rows["mean"], bars, fmt=mark, color=colour, markersize=4, capsize=2, label=label)
