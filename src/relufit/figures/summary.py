"""The reproduction on one page: what each claim of the abstract rests on, measured and predicted."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from relufit.figures import style

_BLUE, _GREY = "#0072B2", "0.55"
_BESIDE: dict[str, Any] = {"textcoords": "offset points"}
_ERROR = "relative error"


def draw(tables: list[pd.DataFrame]) -> Figure:
    """Draw the figure: the tables are those that `relufit.figures.FIGURES` names, in that order."""
    curves, batches, batch_line, cells, chances, summary, due, codings, saved, ranks = tables
    figure, panels = plt.subplots(2, 3, figsize=(7.0, 4.9))
    _geometric(panels[0][0], curves)
    _samples(panels[0][1], cells, chances)
    _batches(panels[0][2], batches, batch_line)
    _ranks(panels[1][0], ranks)
    _levels(panels[1][1], summary, due)
    _bytes(panels[1][2], codings, saved)
    for axes, letter in zip(panels.flat, "abcdef", strict=True):
        axes.set_title(f"{letter}  {axes.get_title()}", loc="left", fontsize="small")
        axes.set_title("")
    handles = [Line2D([], [], color=_BLUE, marker="o", markersize=4, linewidth=1.6), style.prediction_line()]
    figure.legend(
        handles, ["measured, 90 % interval", "predicted, nothing fitted"], loc="outside lower center", ncols=2
    )
    return figure


def _geometric(axes: Axes, curves: pd.DataFrame) -> None:
    curves = curves[curves["sampling"] == curves["sampling"].iloc[0]]
    ratios = sorted(curves["ratio"].unique())
    for ratio, colour in zip(ratios, style.colours(len(ratios)), strict=True):
        curve = curves[curves["ratio"] == ratio]
        style.band(axes, curve["iteration"] / 1e3, curve, colour, f"{ratio:g}")
        style.predicted(axes, curve["iteration"] / 1e3, curve["predicted"])
    axes.set(title="SGD is geometric", xlabel=r"iterations / $10^3$", ylabel=_ERROR, yscale="log")
    axes.set_xlim(left=0)
    axes.legend(title=r"$n/d$", fontsize="x-small", title_fontsize="x-small", loc="upper right", handlelength=1.2)


def _samples(axes: Axes, cells: pd.DataFrame, chances: pd.DataFrame) -> None:
    cells = cells[cells["method"] == "least_squares"]
    dimensions = sorted(cells["dimension"].unique())
    for dimension, colour, mark in zip(dimensions, style.colours(len(dimensions)), "osD^vP", strict=False):
        its = cells[cells["dimension"] == dimension]
        bars = [its["share"] - its["low"], its["high"] - its["share"]]
        axes.errorbar(its["ratio"], its["share"], bars, fmt=mark, color=colour, markersize=3, label=f"{dimension:g}")
        line = chances[chances["dimension"] == dimension]
        style.predicted(axes, line["ratio"], line["probability"])
    axes.set(title="2d samples suffice", xlabel="samples $n/d$", ylabel="share of exact recovery", xlim=(1.75, 2.6))
    axes.legend(title="$d$", fontsize="x-small", title_fontsize="x-small", loc="lower right", handlelength=1.0)


def _batches(axes: Axes, summary: pd.DataFrame, predictions: pd.DataFrame) -> None:
    _points(axes, summary[summary["quantity"] == "iterations"], "mini_batch")
    style.predicted(axes, predictions["mini_batch"], predictions["iterations"])
    critical = predictions["critical"].iloc[0]
    axes.axvline(critical, color=_GREY, linestyle=":", linewidth=1.2)
    across = axes.get_xaxis_transform()
    axes.annotate("$2d+3$", (critical, 0.97), (-3, 0), xycoords=across, ha="right", va="top", **_BESIDE)
    axes.set(title="large batches saturate", xlabel="mini-batch $m$", ylabel="iterations", xscale="log", yscale="log")


def _ranks(axes: Axes, iterations: pd.DataFrame) -> None:
    iterations = iterations[iterations["given"] == "mini-batch"]
    kinds = sorted(iterations["levels"].dropna().unique())
    colours: list[Any] = [*style.colours(len(kinds)), "black"]
    for levels, colour, mark in zip([*kinds, None], colours, "osD^vP", strict=False):
        its = iterations[iterations["levels"].isna() if levels is None else iterations["levels"] == levels]
        _points(axes, its, "workers", colour, mark)
        style.predicted(axes, its["workers"], its["predicted"])
        label = "SGD" if levels is None else f"$s$ = {levels:g}"
        place = (its["workers"].iloc[-1], its["mean"].iloc[-1])
        axes.annotate(label, place, (0, 6 if levels else -13), ha="right", **_BESIDE)
    axes.set(title="any number of ranks", xlabel="ranks $K$, same $m$", ylabel="iterations", ylim=(0, None))
    _powers(axes, iterations["workers"])


def _levels(axes: Axes, summary: pd.DataFrame, predictions: pd.DataFrame) -> None:
    its = summary[summary["quantity"] == "iterations"]
    _points(axes, its[its["levels"].notna()], "levels")
    style.predicted(axes, predictions["levels"], predictions["iterations"])
    base = its[its["setting"] == "sgd-fp64"].iloc[0]["mean"]
    axes.axhline(base, color=_GREY, linewidth=1.2)
    axes.annotate("SGD", (its["levels"].min(), base), (0, 3), **_BESIDE)
    axes.set(title="QSGD keeps the speed", xlabel="levels $s$", ylabel="iterations", yscale="log")
    _powers(axes, its["levels"].dropna())


def _bytes(axes: Axes, codings: pd.DataFrame, predictions: pd.DataFrame) -> None:
    looks = {"packed": ("#009E73", "^"), "elias": ("#D55E00", "s"), "rans": (_BLUE, "o")}
    for coding, (colour, mark) in looks.items():
        its = codings[codings["coding"] == coding].rename(columns={"saving": "mean"})
        if len(its):
            _points(axes, its, "levels", colour, mark, coding)
            line = predictions[predictions["coding"] == coding]
            style.predicted(axes, line["levels"], line["uplink_saving"])
    axes.axhline(1, color=_GREY, linewidth=1.2)
    axes.annotate("SGD, fp32", (codings["levels"].max(), 1), (0, 3), ha="right", **_BESIDE)
    axes.set(title="at fewer bytes", xlabel="levels $s$", ylabel="bytes of fp32 over\nthose of QSGD", ylim=(0, None))
    axes.legend(fontsize="x-small", loc="upper left", handlelength=1.0)
    _powers(axes, codings["levels"])


def _powers(axes: Axes, levels: pd.Series) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(sorted(levels.unique()), [f"{level:g}" for level in sorted(levels.unique())])
    axes.minorticks_off()


def _points(
    axes: Axes, rows: pd.DataFrame, x: str, colour: str = _BLUE, mark: str = "o", label: str | None = None
) -> None:
    bars = [rows["mean"] - rows["low"], rows["high"] - rows["mean"]]
    axes.errorbar(rows[x], rows["mean"], bars, fmt=mark, color=colour, markersize=4, capsize=2, label=label)
